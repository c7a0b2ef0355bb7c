//! One step for one object: read what it needs, let the pure step decide, write.

use std::sync::{Arc, PoisonError};

use serde_json::Value;
use weft_controllers::{
    Write, cron_job, daemon_set, deployment, endpoints, garbage, job, namespace, object,
    replica_set, service, stateful_set,
};

use super::{
    Key, Tools, Work,
    events::{self, Tone},
};
use crate::{
    access::User,
    patch::Validation,
    resource::Resource,
    status::Status,
    store::{Deletion, Mode, Part, suffix, timestamp},
    writer::Author,
};

/// Takes the step that a piece of work asks for.
pub async fn take(tools: &Tools, work: &Work) -> Result<(), Status> {
    let writes = match work {
        Work::Deployment(namespace, name)
        | Work::ReplicaSet(namespace, name)
        | Work::StatefulSet(namespace, name)
        | Work::DaemonSet(namespace, name)
        | Work::Job(namespace, name)
        | Work::CronJob(namespace, name) => of_maker(tools, work, (namespace, name)),
        Work::Service(namespace, name) => of_service(tools, namespace, name),
        Work::Namespace(name) => of_namespace(tools, name),
        Work::Place(namespace, name) => placed(tools, namespace, name).into_iter().collect(),
        Work::Owned(key) => owned(tools, key).into_iter().collect(),
        Work::Waiting(key) => waiting(tools, key),
    };
    carry_out(tools, work, writes).await
}

/// The object that a piece of work is about, where it makes others.
fn maker(tools: &Tools, work: &Work) -> Option<Arc<Value>> {
    let (resource, namespace, name) = match work {
        Work::Deployment(namespace, name) => (("apps", "deployments"), namespace, name),
        Work::ReplicaSet(namespace, name) => (("apps", "replicasets"), namespace, name),
        Work::StatefulSet(namespace, name) => (("apps", "statefulsets"), namespace, name),
        Work::DaemonSet(namespace, name) => (("apps", "daemonsets"), namespace, name),
        Work::Job(namespace, name) => (("batch", "jobs"), namespace, name),
        Work::CronJob(namespace, name) => (("batch", "cronjobs"), namespace, name),
        _ => return None,
    };
    find(tools, resource, namespace, name)
}

fn of_maker(tools: &Tools, work: &Work, (namespace, _): (&str, &str)) -> Vec<Write> {
    let Some(found) = maker(tools, work) else { return Vec::new() };
    let now = timestamp();
    let below = match work {
        Work::Deployment(..) => ("apps", "replicasets"),
        Work::CronJob(..) => ("batch", "jobs"),
        _ => ("", "pods"),
    };
    let below = all(tools, below, namespace);
    let below = views(&below);
    match work {
        Work::Deployment(..) => deployment::step(&found, &below, &now),
        Work::ReplicaSet(..) => replica_set::step(&found, &below, &now, &mut suffix),
        Work::StatefulSet(..) => stateful_set::step(&found, &below, &now),
        Work::DaemonSet(..) => {
            let nodes = all_of_cluster(tools, "nodes");
            daemon_set::step(&found, (&below, &views(&nodes)), &now, &mut suffix)
        }
        Work::Job(..) => job::step(&found, &below, &now, &mut suffix),
        _ => cron_job::step(&found, &below, &now),
    }
}

fn of_service(tools: &Tools, namespace: &str, name: &str) -> Vec<Write> {
    let known = find(tools, ("", "endpoints"), namespace, name);
    let Some(found) = find(tools, ("", "services"), namespace, name) else {
        // As on a cluster, Endpoints go with the Service of their name.
        return known.into_iter().map(|known| Write::Delete(Value::clone(&known))).collect();
    };
    let pods = all(tools, ("", "pods"), namespace);
    let slices = tools.store.resource("discovery.k8s.io", "endpointslices");
    let slices = slices.map(|slices| tools.store.begun(&slices, namespace, name));
    let slices = slices.unwrap_or_default();
    let (pods, slices) = (views(&pods), views(&slices));
    let mut writes = service::step(&found, &pods, &slices);
    writes.extend(endpoints::step(&found, &pods, known.as_deref(), &slices));
    writes
}

/// Tries all writes; gives the first refusal. Once an object is refused, or its maker is
/// gone, no further ones are made in this step.
pub(super) async fn carry_out(
    tools: &Tools,
    work: &Work,
    writes: Vec<Write>,
) -> Result<(), Status> {
    let mut outcome = Ok(());
    for write in writes {
        if let Write::Create(object) = &write
            && (outcome.is_err() || !is_wanted(tools, object))
        {
            continue;
        }
        let told = write.clone();
        let done = perform(tools, write).await;
        tell(tools, work, &told, &done);
        if outcome.is_ok() {
            outcome = done;
        }
    }
    outcome
}

/// Whether the maker that an object names is there and stays.
fn is_wanted(tools: &Tools, object: &Value) -> bool {
    let Some(reference) = object::controller(object) else { return true };
    let maker = owner(tools, object, reference);
    maker.is_some_and(|maker| !object::is_terminating(&maker))
}

/// The object to which an owner reference of `object` points, if it is still that one.
fn owner(tools: &Tools, object: &Value, reference: &Value) -> Option<Arc<Value>> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let resource = tools.store.registry().kind(text("apiVersion"), text("kind"))?;
    let within = if resource.namespaced { object::namespace(object) } else { "" };
    let owner = tools.store.get(&resource, within, text("name"))?;
    (object::uid(&owner) == text("uid")).then_some(owner)
}

/// Makes Events of what people look for: scaling, and pods made, ended or refused.
fn tell(tools: &Tools, work: &Work, write: &Write, done: &Result<(), Status>) {
    let Some(owner) = maker(tools, work) else { return };
    let is_pod = |object: &Value| object::kind(object) == "Pod";
    let (tone, reason, message) = match (write, done) {
        (Write::Create(set) | Write::Update(set), Ok(()))
            if object::kind(set) == "ReplicaSet" && object::kind(&owner) == "Deployment" =>
        {
            let (name, size) = (object::name(set), &set["spec"]["replicas"]);
            (Tone::Normal, "ScalingReplicaSet", format!("Scaled replica set {name} to {size}"))
        }
        (Write::Create(job), Ok(())) if object::kind(job) == "Job" => {
            (Tone::Normal, "SuccessfulCreate", format!("Created job {}", object::name(job)))
        }
        (Write::Create(pod), Ok(())) if is_pod(pod) => {
            (Tone::Normal, "SuccessfulCreate", format!("Created pod: {}", object::name(pod)))
        }
        (Write::Delete(pod), Ok(())) if is_pod(pod) => {
            (Tone::Normal, "SuccessfulDelete", format!("Deleted pod: {}", object::name(pod)))
        }
        (Write::Create(pod), Err(refused)) if is_pod(pod) => {
            (Tone::Warning, "FailedCreate", format!("Error creating: {refused}"))
        }
        _ => return,
    };
    let component = format!("{}-controller", object::kind(&owner).to_lowercase());
    let happening =
        events::Happening { tone, reason, message: &message, component: &component, field: "" };
    events::record(&tools.store, &owner, happening);
}

async fn perform(tools: &Tools, write: Write) -> Result<(), Status> {
    let author = Author {
        user: User::controllers(),
        manager: "kube-controller-manager".to_owned(),
        mode: Mode::Commit,
        validation: Validation::Ignore,
    };
    let (Write::Create(object)
    | Write::Update(object)
    | Write::Status(object)
    | Write::Delete(object)
    | Write::Finalize(object)) = &write;
    let resource = resource_of(tools, object)?;
    match write {
        Write::Create(object) => tools.writer.create(&author, &resource, object).await.map(drop),
        Write::Update(object) => {
            tools.writer.update(&author, &resource, object, Part::Main).await.map(drop)
        }
        // A status is the controller's alone: it replaces whatever is there.
        Write::Status(mut object) => {
            object["metadata"]["resourceVersion"] = Value::Null;
            gone_is_fine(tools.store.update_status(&resource, object).map(drop))
        }
        Write::Finalize(mut object) => {
            object["metadata"]["resourceVersion"] = Value::Null;
            let done = tools.store.replace(&resource, object, Part::Finalizers, Mode::Commit);
            gone_is_fine(done.map(drop))
        }
        Write::Delete(object) => {
            let deletion =
                Deletion { uid: Some(object::uid(&object).to_owned()), ..Deletion::default() };
            let place = (object::namespace(&object), object::name(&object));
            gone_is_fine(tools.writer.delete(&author, &resource, place, &deletion).await.map(drop))
        }
    }
}

fn gone_is_fine(done: Result<(), Status>) -> Result<(), Status> {
    done.or_else(|refused| if refused.code == 404 { Ok(()) } else { Err(refused) })
}

fn resource_of(tools: &Tools, object: &Value) -> Result<Arc<Resource>, Status> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object::kind(object);
    tools
        .store
        .registry()
        .kind(api_version, kind)
        .ok_or_else(|| Status::internal(format!("{kind} in {api_version} is no longer served")))
}

fn find(
    tools: &Tools,
    (group, plural): (&str, &str),
    namespace: &str,
    name: &str,
) -> Option<Arc<Value>> {
    let resource = tools.store.resource(group, plural)?;
    tools.store.get(&resource, namespace, name)
}

fn all(tools: &Tools, (group, plural): (&str, &str), namespace: &str) -> Vec<Arc<Value>> {
    let resource = tools.store.resource(group, plural);
    resource.map(|resource| tools.store.list(&resource, Some(namespace)).items).unwrap_or_default()
}

fn all_of_cluster(tools: &Tools, plural: &str) -> Vec<Arc<Value>> {
    let resource = tools.store.resource("", plural);
    resource.map(|resource| tools.store.list(&resource, None).items).unwrap_or_default()
}

fn views(objects: &[Arc<Value>]) -> Vec<&Value> {
    objects.iter().map(AsRef::as_ref).collect()
}

fn of_namespace(tools: &Tools, name: &str) -> Vec<Write> {
    let Some(found) = find(tools, ("", "namespaces"), "", name) else { return Vec::new() };
    if !object::is_terminating(&found) {
        let account = find(tools, ("", "serviceaccounts"), name, "default");
        let root = find(tools, ("", "configmaps"), name, namespace::ROOT_CA);
        return namespace::furnish(&found, account.as_deref(), root.as_deref(), &tools.authority);
    }
    let registry = tools.store.registry();
    let mut contents = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for resource in registry.all().filter(|one| one.namespaced && one.group != "extensions") {
        if seen.insert((resource.group.clone(), resource.plural.clone())) {
            contents.extend(tools.store.list(resource, Some(name)).items);
        }
    }
    namespace::end(&found, &views(&contents))
}

/// A pod without a place goes to the first node there is.
fn placed(tools: &Tools, namespace: &str, name: &str) -> Option<Write> {
    let pod = find(tools, ("", "pods"), namespace, name)?;
    if !pod["spec"]["nodeName"].is_null() || object::is_terminating(&pod) {
        return None;
    }
    let nodes = all(tools, ("", "nodes"), "");
    let node = nodes.iter().find(|node| node["spec"]["unschedulable"] != true)?;
    let mut placed = Value::clone(&pod);
    placed["spec"]["nodeName"] = object::name(node).into();
    Some(Write::Update(placed))
}

fn at(tools: &Tools, (group, plural, namespace, name): &Key) -> Option<Arc<Value>> {
    find(tools, (group, plural), namespace, name)
}

fn owned(tools: &Tools, key: &Key) -> Option<Write> {
    let found = at(tools, key)?;
    garbage::owned(&found, |reference| owner(tools, &found, reference).is_some())
}

fn waiting(tools: &Tools, key: &Key) -> Vec<Write> {
    let Some(owner) = at(tools, key).filter(|owner| garbage::waits(owner)) else {
        return Vec::new();
    };
    let keys = tools.index.lock().unwrap_or_else(PoisonError::into_inner).dependents(&owner);
    let dependents: Vec<Arc<Value>> = keys.iter().filter_map(|key| at(tools, key)).collect();
    garbage::finish(&owner, &views(&dependents))
}
