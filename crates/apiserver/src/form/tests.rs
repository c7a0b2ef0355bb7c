//! What decoding refuses, drops and keeps.

use super::*;
use crate::registry::Registry;
use serde_json::json;

fn decoded(group: &str, plural: &str, mut object: Value) -> Result<(Value, Vec<String>), String> {
    let resource = Registry::built_in().find(group, plural).unwrap();
    let unknown = decode(&resource, &mut object).map_err(|refused| refused.message)?;
    Ok((object, unknown))
}

#[track_caller]
fn refused(group: &str, plural: &str, object: Value, expected: &str) {
    let message = decoded(group, plural, object.clone()).expect_err(&object.to_string());
    let (_, why) = message.split_once(": ").unwrap();
    assert_eq!(why, expected, "{object}");
}

fn deployment(pod: Value) -> Value {
    json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": pod}}})
}

#[test]
fn nulls_and_unknown_fields_are_dropped_wherever_they_stand() {
    let container = json!({"name": "c", "image": "i", "env": null, "command": null, "imagee": 1,
        "resources": {"limits": null, "requests": {"cpu": null}}, "args": ["a", null],
        "livenessProbe": {"httpGet": {"port": 80, "httpHeaders": null}}});
    let object = json!({"metadata": {"name": "p", "labels": {"a": null}, "creationTimestamp": null,
        "nonsense": {}}, "spec": {"containers": [container, null], "volumes": null}, "status": null, "specc": 1});
    let (object, unknown) = decoded("", "pods", object).unwrap();
    let expected = json!({"metadata": {"name": "p", "labels": {"a": ""}}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "0"}}, "args": ["a", ""],
         "livenessProbe": {"httpGet": {"port": 80}}}, {}]}});
    assert_eq!(object, expected);
    assert_eq!(unknown, ["metadata.nonsense", "spec.containers[0].imagee", "specc"]);
}

#[test]
fn values_of_a_wrong_type_are_refused_with_their_field() {
    for (pod, expected) in [
        (
            json!({"hostname": 123}),
            "json: cannot unmarshal number into Go struct field \
             PodSpec.spec.template.spec.hostname of type string",
        ),
        (
            json!({"containers": [{"name": "c", "env": [{"name": "A"}, {"name": "B", "value": 1}]}]}),
            "json: cannot unmarshal number into Go struct field \
             EnvVar.spec.template.spec.containers[0].env[1].value of type string",
        ),
        (
            json!({"containers": [{"name": "c", "ports": [{"containerPort": "80"}]}]}),
            "json: cannot unmarshal string into Go struct field \
             ContainerPort.spec.template.spec.containers[0].ports[0].containerPort of type int32",
        ),
        (
            json!({"containers": {"name": "c"}}),
            "json: cannot unmarshal object into Go struct field \
             PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"terminationGracePeriodSeconds": 1.5}),
            "json: cannot unmarshal number 1.5 into Go struct field \
             PodSpec.spec.template.spec.terminationGracePeriodSeconds of type int64",
        ),
        (
            json!({"hostNetwork": "yes"}),
            "json: cannot unmarshal string into Go struct field \
             PodSpec.spec.template.spec.hostNetwork of type bool",
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "much"}}]}),
            "spec.template.spec.volumes[0].emptyDir.sizeLimit: quantities must match the regular \
             expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"priority": 3_000_000_000_i64}),
            "json: cannot unmarshal number 3000000000 into Go struct field \
             PodSpec.spec.template.spec.priority of type int32",
        ),
    ] {
        refused("apps", "deployments", deployment(pod), expected);
    }
    refused(
        "",
        "configmaps",
        json!({"metadata": {}, "data": {"port": 80}}),
        "json: cannot unmarshal number into Go struct field ConfigMap.data.port of type string",
    );
    refused(
        "",
        "secrets",
        json!({"metadata": [], "data": {}}),
        "json: cannot unmarshal array into Go struct field Secret.metadata of type v1.ObjectMeta",
    );
    let message = decoded("", "secrets", json!({"data": {"a": "not base64!"}})).unwrap_err();
    assert!(message.contains("data.a: illegal base64 data"), "{message}");
}

#[test]
fn amounts_are_those_of_kubernetes() {
    for fine in ["1", "0.5", ".5", "1.", "-1", "+100m", "1Ki", "2Gi", "1e3", "1E-3", "12E"] {
        assert!(is_quantity(fine), "{fine}");
    }
    for bad in ["", "m", "1.2.3", "1mi", "1 Gi", "1e", "GB", "10GB", "1e+"] {
        assert!(!is_quantity(bad), "{bad}");
    }
}

#[test]
fn definitions_keep_their_schemas_as_they_are() {
    let schema = json!({"properties": {"labels": {"maxItems": 3}, "ports": {"default": null}}});
    let object =
        json!({"metadata": {}, "spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
    let (object, unknown) =
        decoded("apiextensions.k8s.io", "customresourcedefinitions", object).unwrap();
    assert_eq!(object["spec"]["versions"][0]["schema"]["openAPIV3Schema"], schema);
    assert_eq!(unknown, Vec::<String>::new());
}
