//! One pod, from its address to its end.
//!
//! First the network and the volumes, then the init containers one after the
//! other (a sidecar is one that goes on), then the application; at the end the
//! same in reverse.

mod ending;
mod ground;

use std::{sync::Arc, time::SystemTime};

use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

pub(crate) use ground::{Ground, OUTSIDE_NAMES};

use crate::{
    container::{Keeper, Wish},
    node::Shared,
    spec::{Container, Pod, RestartPolicy},
    state::{Instance, State},
    status::{Facts, status},
};

/// Why a container is not there and will not be before something else changes.
const CANNOT_START: [&str; 2] = ["ErrImagePull", "CreateContainerConfigError"];

/// A pod as it was last seen in the store.
#[derive(Clone)]
pub(crate) struct Seen {
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
pub(crate) async fn run(node: Arc<Shared>, mut seen: watch::Receiver<Seen>) {
    let pod = Arc::clone(&seen.borrow().pod);
    let ground = match Ground::lay(&node, &pod).await {
        Ok(ground) => Arc::new(ground),
        Err(error) => return refuse(&node, &pod, &error, &mut seen).await,
    };
    node.adopt(&pod.metadata.uid, &ground);
    ground.tell_assigned();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(publish(Arc::clone(&ground), seen.clone()));
    tasks.spawn(Arc::clone(&ground).lend_sockets());
    let (sender, mut filled) = watch::channel(false);
    tasks.spawn(Arc::clone(&ground).keep_volumes(sender));
    let mut crew = Crew::default();
    let application = async {
        if filled.wait_for(|filled| *filled).await.is_ok() {
            live(&ground, &mut crew).await;
        }
    };
    tokio::select! {
        () = application => {}
        _ = seen.wait_for(|seen| seen.presence != Presence::Wanted) => {}
    }
    let all_done = seen.borrow().presence == Presence::Wanted;
    if all_done {
        // The application has ended by itself; its sidecars have no more to do.
        crew.end_sidecars(Instant::now() + ending::SIDECAR_GRACE).await;
        let _ = seen.wait_for(|seen| seen.presence != Presence::Wanted).await;
    }
    let last = seen.borrow().clone();
    crew.end(&ground, &last).await;
    tasks.shutdown().await;
    node.release(&ground).await;
}

/// The containers that have been started, in order.
#[derive(Default)]
struct Crew {
    sidecars: Vec<Member>,
    others: Vec<Member>,
}

struct Member {
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
}

impl Member {
    fn start(ground: &Arc<Ground>, container: &Container, restart: RestartPolicy) -> Self {
        let (wish, wished) = watch::channel(Wish::Run);
        let (ground, container) = (Arc::clone(ground), container.clone());
        let keeper = Keeper { ground, container, restart, wish: wished };
        Self { wish, task: tokio::spawn(keeper.run()) }
    }
}

/// Resolves when the application has ended for good.
async fn live(ground: &Arc<Ground>, crew: &mut Crew) {
    let pod = Arc::clone(&ground.pod);
    for container in &pod.spec.init_containers {
        if container.is_sidecar() {
            crew.sidecars.push(Member::start(ground, container, RestartPolicy::Always));
            ground.instances.until(&container.name, |instance| instance.started).await;
            continue;
        }
        let restart = match pod.spec.restart_policy {
            RestartPolicy::Never => RestartPolicy::Never,
            _ => RestartPolicy::OnFailure,
        };
        crew.others.push(Member::start(ground, container, restart));
        if let Some(member) = crew.others.last_mut() {
            let _ = (&mut member.task).await;
        }
        // Its handle has been awaited and must not be again.
        crew.others.pop();
        let ended = ground.instances.get(&container.name);
        let well = ended.is_some_and(
            |instance| matches!(instance.state, State::Terminated(ended) if ended.code == 0),
        );
        if !well {
            return;
        }
    }
    for container in &pod.spec.containers {
        crew.others.push(Member::start(ground, container, pod.spec.restart_policy));
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
            ground.instances.until(&container.name, has_begun).await;
        }
    }
    for member in &mut crew.others {
        let _ = (&mut member.task).await;
    }
    crew.others.clear();
}

/// Keeps the pod's status in the store as its containers are.
async fn publish(ground: Arc<Ground>, mut seen: watch::Receiver<Seen>) {
    let started = SystemTime::now();
    let mut changes = ground.instances.changes();
    loop {
        write_status(&ground, started);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

fn write_status(ground: &Ground, started: SystemTime) {
    let metadata = &ground.pod.metadata;
    let Some(current) = ground.node.stored_pod(metadata) else { return };
    let facts = Facts {
        address: Some(ground.address),
        started,
        before: &current["status"],
        now: SystemTime::now(),
    };
    let fresh = status(&ground.pod, &ground.instances.all(), facts);
    if fresh != current["status"] {
        ground.node.store_status(&current, fresh);
    }
}

/// A pod that cannot even begin says why, and waits for its end.
async fn refuse(node: &Arc<Shared>, pod: &Arc<Pod>, error: &str, seen: &mut watch::Receiver<Seen>) {
    tracing::warn!(pod = pod.metadata.name, error, "a pod cannot be started");
    let names = pod.spec.init_containers.iter().chain(&pod.spec.containers).map(|one| &one.name);
    let instances = crate::state::Instances::new(names.clone());
    for name in names {
        let message = error.to_owned();
        instances.update(name, |instance| {
            instance.state = State::Waiting { reason: "FailedCreatePodSandBox", message };
        });
    }
    if let Some(current) = node.stored_pod(&pod.metadata) {
        let now = SystemTime::now();
        let facts = Facts { address: None, started: now, before: &Value::Null, now };
        node.store_status(&current, status(pod, &instances.all(), facts));
        node.record_failure(&current, "FailedCreatePodSandBox", error);
    }
    let _ = seen.wait_for(|seen| seen.presence != Presence::Wanted).await;
    node.forget(&pod.metadata);
}
