//! One pod, from its address to its end.
//!
//! First the network and the volumes, then the init containers one after the
//! other (a sidecar is one that goes on), then the application; at the end the
//! same in reverse.

mod ending;
mod folder;
mod sandbox;

use std::{sync::Arc, time::SystemTime};

use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

pub(crate) use sandbox::Sandbox;

use crate::{
    container::{ContainerRunner, DesiredState},
    endpoint_removal::EndpointRemoval,
    node::{PodServices, Sandboxes},
    pod_store::PodStore,
    spec::{Container, Pod, RestartPolicy},
    state::{Instance, State},
    status::{Facts, status},
};

/// Why a container is not there and will not be before something else changes.
const CANNOT_START: [&str; 2] = ["ErrImagePull", "CreateContainerConfigError"];

/// A pod as it was last seen in the store.
#[derive(Clone)]
pub(crate) struct ObservedPod {
    pub(crate) pod: Arc<Pod>,
    pub(crate) presence: Presence,
}

/// Whether the pod is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Wanted,
    /// It is to end in order.
    Ending,
    /// The object is gone.
    Gone,
}

/// Runs a pod until it is gone.
pub(crate) async fn run(
    (services, removal): (PodServices, EndpointRemoval),
    sandboxes: Arc<Sandboxes>,
    mut seen: watch::Receiver<ObservedPod>,
) {
    let pod = Arc::clone(&seen.borrow().pod);
    let sandbox = match Sandbox::create(&services, &pod).await {
        Ok(sandbox) => Arc::new(sandbox),
        Err(error) => return refuse(&services.store, &pod, &error, &mut seen).await,
    };
    sandboxes.insert(&sandbox);
    sandbox.record_assignment();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(publish(Arc::clone(&sandbox), seen.clone()));
    tasks.spawn(Arc::clone(&sandbox).lend_sockets());
    let (sender, mut filled) = watch::channel(false);
    tasks.spawn(Arc::clone(&sandbox).keep_volumes(sender));
    let mut processes = Processes::default();
    let application = async {
        if filled.wait_for(|filled| *filled).await.is_ok() {
            live(&sandbox, &mut processes).await;
        }
    };
    tokio::select! {
        () = application => {}
        _ = seen.wait_for(|seen| seen.presence != Presence::Wanted) => {}
    }
    let all_done = seen.borrow().presence == Presence::Wanted;
    if all_done {
        // The application has ended on its own; its sidecars have no more to do.
        processes.end_sidecars(Instant::now() + ending::SIDECAR_GRACE).await;
        let _ = seen.wait_for(|seen| seen.presence != Presence::Wanted).await;
    }
    let last = seen.borrow().clone();
    processes.end(&last, removal.wait(sandbox.reference())).await;
    tasks.shutdown().await;
    sandboxes.remove(&sandbox);
    sandbox.remove().await;
}

/// The containers that have been started, in order.
#[derive(Default)]
struct Processes {
    sidecars: Vec<Member>,
    others: Vec<Member>,
}

struct Member {
    desired: watch::Sender<DesiredState>,
    task: JoinHandle<()>,
}

impl Member {
    fn start(sandbox: &Arc<Sandbox>, container: &Container, restart: RestartPolicy) -> Self {
        let (desired, receiver) = watch::channel(DesiredState::Run);
        let (sandbox, container) = (Arc::clone(sandbox), container.clone());
        let runner = ContainerRunner { sandbox, container, restart, desired: receiver };
        Self { desired, task: tokio::spawn(runner.run()) }
    }
}

/// Resolves when the application has ended for good.
async fn live(sandbox: &Arc<Sandbox>, processes: &mut Processes) {
    let pod = Arc::clone(&sandbox.pod);
    for container in &pod.spec.init_containers {
        if container.is_sidecar() {
            processes.sidecars.push(Member::start(sandbox, container, RestartPolicy::Always));
            sandbox.instances.until(&container.name, |instance| instance.started).await;
            continue;
        }
        let restart = match pod.spec.restart_policy {
            RestartPolicy::Never => RestartPolicy::Never,
            _ => RestartPolicy::OnFailure,
        };
        processes.others.push(Member::start(sandbox, container, restart));
        if let Some(member) = processes.others.last_mut() {
            let _ = (&mut member.task).await;
        }
        // Its handle has been awaited and must not be again.
        processes.others.pop();
        let ended = sandbox.instances.get(&container.name);
        let well = ended.is_some_and(
            |instance| matches!(instance.state, State::Terminated(ended) if ended.code == 0),
        );
        if !well {
            return;
        }
    }
    for container in &pod.spec.containers {
        processes.others.push(Member::start(sandbox, container, pod.spec.restart_policy));
        if container.lifecycle.post_start.is_some() {
            // As on a cluster, the next one waits for what is done after the start.
            let has_begun = |instance: &Instance| {
                let goes_on = match &instance.state {
                    State::Terminated(_) => true,
                    // What cannot start now is not waited for.
                    State::Waiting { reason, .. } => CANNOT_START.contains(reason),
                    State::Running { .. } => false,
                };
                instance.begun || instance.last.is_some() || goes_on
            };
            sandbox.instances.until(&container.name, has_begun).await;
        }
    }
    for member in &mut processes.others {
        let _ = (&mut member.task).await;
    }
    processes.others.clear();
}

/// Keeps the pod's status in the store as its containers are.
async fn publish(sandbox: Arc<Sandbox>, mut seen: watch::Receiver<ObservedPod>) {
    let started = SystemTime::now();
    let mut changes = sandbox.instances.changes();
    loop {
        write_status(&sandbox, started);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

fn write_status(sandbox: &Sandbox, started: SystemTime) {
    let metadata = &sandbox.pod.metadata;
    let Some(current) = sandbox.services.store.pod(metadata) else { return };
    let facts = Facts {
        address: Some(sandbox.address),
        started,
        before: &current["status"],
        now: SystemTime::now(),
    };
    let fresh = status(&sandbox.pod, &sandbox.instances.all(), facts);
    if fresh != current["status"] {
        sandbox.services.store.store_status(&current, fresh);
    }
}

/// A pod that cannot even begin says why, and waits for its end.
async fn refuse(
    store: &PodStore,
    pod: &Arc<Pod>,
    error: &str,
    seen: &mut watch::Receiver<ObservedPod>,
) {
    tracing::warn!(pod = pod.metadata.name, error, "a pod cannot be started");
    let names = pod.spec.init_containers.iter().chain(&pod.spec.containers).map(|one| &one.name);
    let instances = crate::state::Instances::new(names.clone());
    for name in names {
        let message = error.to_owned();
        instances.update(name, |instance| {
            instance.state = State::Waiting { reason: "FailedCreatePodSandBox", message };
        });
    }
    if let Some(current) = store.pod(&pod.metadata) {
        let now = SystemTime::now();
        let facts = Facts { address: None, started: now, before: &Value::Null, now };
        store.store_status(&current, status(pod, &instances.all(), facts));
        store.record_failure(&pod.metadata, "FailedCreatePodSandBox", error);
    }
    let _ = seen.wait_for(|seen| seen.presence != Presence::Wanted).await;
    store.remove(&pod.metadata);
}
