//! Objects that the control plane restores when they are changed.

use serde_json::Value;

use crate::mesh::Mesh;

fn root(mesh: &Mesh) -> Option<String> {
    let maps = mesh.list("configmaps", "default");
    let map = maps.iter().find(|map| map["metadata"]["name"] == "istio-ca-root-cert")?;
    map["data"]["root-cert.pem"].as_str().map(str::to_owned)
}

#[test]
fn the_meshs_root_comes_back_when_it_is_deleted_or_changed() {
    let mesh = Mesh::empty("upkeep-root");
    let pem = mesh.eventually("the root is handed out", || root(&mesh));
    mesh.run(&["delete", "configmap", "istio-ca-root-cert"]);
    mesh.eventually("the root comes back", || root(&mesh).filter(|found| *found == pem));
    let changed = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: istio-ca-root-cert\n\
                   data:\n  root-cert.pem: nonsense\n";
    mesh.pipe(&["apply", "-f", "-"], changed);
    mesh.eventually("the root is corrected", || root(&mesh).filter(|found| *found == pem));
}

#[test]
fn the_webhooks_authority_comes_back_when_it_is_changed() {
    let mesh = Mesh::empty("upkeep-webhook");
    let read = || mesh.list("mutatingwebhookconfigurations/istio-sidecar-injector", "default");
    let bundle = |hooks: &[Value]| hooks[0]["webhooks"][0]["clientConfig"]["caBundle"].clone();
    let right = mesh.eventually("the authority is filled in", || {
        Some(bundle(&read())).filter(|found| found.as_str().is_some_and(|text| !text.is_empty()))
    });
    let mut configuration = read().remove(0);
    for hook in configuration["webhooks"].as_array_mut().expect("hooks") {
        hook["clientConfig"]["caBundle"] = "bm9uc2Vuc2U=".into();
    }
    configuration["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    configuration["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    mesh.pipe(&["apply", "-f", "-"], &configuration.to_string());
    mesh.eventually("the authority is corrected", || (bundle(&read()) == right).then_some(()));
}
