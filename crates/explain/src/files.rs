//! From files alone: what a cluster would make of these objects.
//!
//! Deployments have their pods, pods run and have addresses in order, Services
//! have addresses and endpoints, and the injector has done its work. The same
//! files give the same world.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use weft_api::{Diagnostic, Key, Kind, kind::Effect, selector};
use weft_controllers::{addresses, expand, object, service};
use weft_inject::{Decision, Namespace, Owner, Policy, Settings};
use weft_manifest::Document;
use weft_translate::Installation;

use crate::{explanation::Ignored, sidecar_settings::ConfigMaps, workloads};

/// Whether pods get a sidecar in namespaces that the files do not describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlabelled {
    /// They do: a user who explains a file means to have it in the mesh.
    Inject,
    /// They do not, as in a cluster.
    Skip,
}

/// The installed gateway's name; it is in the control plane's namespace.
const GATEWAY: &str = "istio-ingressgateway";

/// What a cluster would make of files.
pub(crate) struct Settled {
    /// The objects that it would have.
    pub(crate) objects: Vec<Value>,
    /// What is wrong with those that are written.
    pub(crate) found: Vec<Diagnostic>,
    /// Those that decide nothing here, and would in a mesh of Istio.
    pub(crate) ignored: Vec<Ignored>,
}

/// The objects that a cluster would have, and what is to be told of those that are written.
pub(crate) fn settle(
    documents: &[Document],
    unlabelled: Unlabelled,
    installation: &Installation,
) -> Settled {
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    let (mut found, mut ignored, mut pods) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents {
        let Some(value) = &document.value else { continue };
        let checked = weft_api::check(value);
        found.extend(checked.diagnostics);
        let Some(key) = checked.key else {
            match workloads::pods(value) {
                Some(own) => pods.extend(own),
                None => ignored.extend(workloads::ignored(value, document)),
            }
            continue;
        };
        if key.kind.effect() == Effect::NotYet {
            let named = |one| Ignored { object: key.to_string(), ..one };
            ignored.extend(workloads::ignored(value, document).map(named));
            continue;
        }
        found.extend(stand_ins(value, &key));
        let Some(mut object) = whole(value, &key) else { continue };
        if key.kind.namespaced() {
            object["metadata"]["namespace"] = key.namespace.clone().into();
        }
        if objects.insert(key.to_string(), object).is_some() {
            found.push(Diagnostic::warning(&key, "", "written twice; the last one is used"));
        }
    }
    pods.extend(take(&mut objects, Kind::Pod));
    for set in take(&mut objects, Kind::ReplicaSet) {
        pods.extend(workloads::pods(&set).into_iter().flatten());
    }
    for deployment in take(&mut objects, Kind::Deployment) {
        pods.extend(expand::pods(&deployment));
    }
    let mut services = take(&mut objects, Kind::Service);
    add_gateway(&objects, &mut pods, &mut services, installation);
    let namespaces: BTreeMap<String, Value> = take(&mut objects, Kind::Namespace)
        .into_iter()
        .map(|namespace| (object::name(&namespace).to_owned(), namespace))
        .collect();
    let mut config_maps = ConfigMaps::default();
    objects.values().for_each(|object| config_maps.note(object, installation));
    let settings = config_maps.settings(installation);
    let described = Settings { unlabelled: Policy::Disabled, ..settings };
    let undescribed = match unlabelled {
        Unlabelled::Inject => Settings { unlabelled: Policy::Enabled, ..described.clone() },
        Unlabelled::Skip => described.clone(),
    };
    for pod in &mut pods {
        match namespaces.get(object::namespace(pod)) {
            Some(namespace) => inject(pod, Some(namespace), &described),
            None => inject(pod, None, &undescribed),
        }
    }
    run(&mut pods);
    expand::address(&mut services);
    let slices = take(&mut objects, Kind::EndpointSlice);
    let made = made_slices(&without_slices(&services, &slices), &pods);
    let all = objects.into_values().chain(namespaces.into_values());
    let objects = all.chain(pods).chain(services).chain(slices).chain(made).collect();
    Settled { objects, found, ignored }
}

/// Says that a few pods stand for many.
fn stand_ins(value: &Value, key: &Key) -> Option<Diagnostic> {
    let replicas = value["spec"]["replicas"].as_u64()?;
    let is_workload = matches!(key.kind, Kind::Deployment | Kind::ReplicaSet);
    let text = format!("{} pods stand for all {replicas} here", expand::MOST_PODS);
    (is_workload && replicas > expand::MOST_PODS)
        .then(|| Diagnostic::info(key, "spec.replicas", text))
}

/// The EndpointSlices of Services in front of pods. Candidates are found by one label of
/// the selector, so that not every Service walks all pods.
fn made_slices(services: &[Value], pods: &[Value]) -> Vec<Value> {
    let mut labelled: HashMap<(&str, &str, &str), Vec<&Value>> = HashMap::new();
    for pod in pods {
        let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
        for (name, value) in labels.filter_map(|(name, value)| Some((name, value.as_str()?))) {
            labelled.entry((object::namespace(pod), name, value)).or_default().push(pod);
        }
    }
    let candidates = |service: &Value| {
        let (name, value) = service["spec"]["selector"].as_object()?.iter().next()?;
        labelled.get(&(object::namespace(service), name.as_str(), value.as_str()?)).cloned()
    };
    services
        .iter()
        .flat_map(|one| service::slices(one, &candidates(one).unwrap_or_default()))
        .collect()
}

/// An object of which pods, addresses and endpoints can be made: what is broken has been
/// told, and a cluster would not have taken it.
fn whole(written: &Value, key: &Key) -> Option<Value> {
    // The mesh's own objects are judged, and closed where they are broken, by translation.
    let mut object = match key.kind.group() {
        "networking.istio.io" => weft_api::normalised(written)?,
        _ => weft_api::usable(written)?,
    };
    let is_map = |field: &str| matches!(object[field], Value::Null | Value::Object(_));
    if !is_map("metadata") {
        return None;
    }
    if !is_map("status") {
        object["status"] = Value::Null;
    }
    Some(object)
}

/// Takes out all objects of a kind.
fn take(objects: &mut BTreeMap<String, Value>, kind: Kind) -> Vec<Value> {
    let of_kind = |key: &String| key.parse::<Key>().is_ok_and(|key| key.kind == kind);
    let keys: Vec<String> = objects.keys().filter(|key| of_kind(key)).cloned().collect();
    keys.iter().filter_map(|key| objects.remove(key)).collect()
}

/// Gives addresses to the pods that have none.
fn run(pods: &mut Vec<Value>) {
    let (written, mut new): (Vec<Value>, Vec<Value>) =
        pods.drain(..).partition(|pod| pod["status"]["podIP"].is_string());
    expand::run(&mut new);
    pods.extend(written);
    pods.extend(new);
}

/// The services with a selector and without hand-written endpoints.
fn without_slices(services: &[Value], slices: &[Value]) -> Vec<Value> {
    let served: BTreeSet<(&str, &str)> = slices
        .iter()
        .filter_map(|slice| {
            let service = object::label(slice, weft_api::kubernetes::SERVICE_NAME_LABEL)?;
            Some((object::namespace(slice), service))
        })
        .collect();
    let bare = |service: &&Value| {
        !served.contains(&(object::namespace(service), object::name(service)))
            && service["spec"]["selector"].is_object()
    };
    services.iter().filter(bare).cloned().collect()
}

/// Adds a sidecar to `pod`, if its namespace, as far as it is described, and `settings` say so.
fn inject(pod: &mut Value, described: Option<&Value>, settings: &Settings) {
    let name = object::namespace(pod).to_owned();
    let labels = described.map(|namespace| &namespace["metadata"]["labels"]);
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let namespace = Namespace {
        labels: labels
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        name: name.clone(),
    };
    if weft_inject::decide(pod, &namespace, settings) != Decision::Inject {
        return;
    }
    let patch = weft_inject::patch(pod, &Owner::of_pod(pod), &name, settings);
    json_patch::patch(pod, &patch).expect("the patch was made for this pod");
}

/// Adds the gateway that the mesh installs, if the files' Gateways select it, or there are
/// Ingresses, and no pod of theirs is it.
fn add_gateway(
    objects: &BTreeMap<String, Value>,
    pods: &mut Vec<Value>,
    services: &mut Vec<Value>,
    installation: &Installation,
) {
    let name = GATEWAY;
    let labels = json!({"app": name, "istio": "ingressgateway"});
    let wanted = objects.iter().any(|(key, object)| match key.parse::<Key>().map(|key| key.kind) {
        Ok(Kind::Gateway) => selector::includes(&object["spec"]["selector"], &labels),
        Ok(kind) => kind == Kind::Ingress,
        Err(_) => false,
    });
    let there = pods.iter().any(|pod| {
        object::label(pod, "istio") == Some("ingressgateway")
            || object::label(pod, "app") == Some(name)
    });
    if !wanted || there {
        return;
    }
    let (pod, service) = installed_gateway(installation);
    pods.push(pod);
    services.push(service);
}

/// The gateway that the mesh installs: its pod and its Service.
fn installed_gateway(installation: &Installation) -> (Value, Value) {
    let (namespace, name) = (&installation.namespace, GATEWAY);
    let labels = json!({"app": name, "istio": "ingressgateway"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "istio-ingressgateway-service-account",
                    "containers": [{"name": "istio-proxy", "args": ["proxy", "router"]}],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "type": "LoadBalancer",
            "selector": labels,
            "ports": [
                {"name": "status-port", "port": 15021, "targetPort": 15021},
                {"name": "http2", "port": 80, "targetPort": 8080},
                {"name": "https", "port": 443, "targetPort": 8443},
            ],
        },
    });
    let mut pods = expand::pods(&deployment);
    (pods.pop().expect("a Deployment without replicas has one pod"), service)
}

/// The installed gateway for a world whose files have none: it runs, at an
/// address that no other pod has.
pub(crate) fn added_gateway(installation: &Installation) -> [Value; 2] {
    let (mut pod, service) = installed_gateway(installation);
    pod["status"] = json!({
        "phase": "Running",
        "podIP": addresses::pod(u16::MAX - 1).to_string(),
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    let mut services = [service];
    expand::address(&mut services);
    let [service] = services;
    [pod, service]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_where_a_map_belongs_is_told_and_the_rest_is_explained() {
        let broken = [
            ("kind: Service, apiVersion: v1, metadata: x", "metadata"),
            ("kind: Deployment, apiVersion: apps/v1, metadata: {name: d}, spec: x", "spec"),
            ("kind: Service, apiVersion: v1, metadata: {name: s}, spec: [x]", "spec"),
            ("kind: Gateway, apiVersion: networking.istio.io/v1, metadata: x", "metadata"),
            ("kind: Pod, apiVersion: v1, metadata: {name: p}, status: x", ""),
        ];
        for (object, field) in broken {
            let text = format!(
                "{{{object}}}\n---\n{{apiVersion: v1, kind: Service, metadata: {{name: a}}}}"
            );
            let Settled { objects, found, .. } = settle(
                &weft_manifest::read("a.yaml", &text),
                Unlabelled::Inject,
                &Default::default(),
            );
            assert!(objects.iter().any(|one| object::name(one) == "a"), "{object}");
            let told = found.iter().any(|one| one.field == field) || field.is_empty();
            assert!(told, "{object}: {found:?}");
        }
    }

    #[test]
    fn a_few_pods_stand_for_many_replicas_and_that_is_told() {
        let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: \
                    300000, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: \
                    c, image: i}]}}}}";
        let documents = weft_manifest::read("a.yaml", text);
        let settled = settle(&documents, Unlabelled::Inject, &Default::default());
        let pods = settled.objects.iter().filter(|one| object::kind(one) == "Pod");
        assert!(pods.count() <= 11, "the workload's and the gateway's");
        let told = settled.found.iter().find(|one| one.field == "spec.replicas");
        assert_eq!(told.unwrap().message, "10 pods stand for all 300000 here");
    }
}
