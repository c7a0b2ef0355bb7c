//! How a pod's containers are, as the tasks that keep them note it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use nix::unistd::Pid;
use tokio::sync::watch;

use crate::logs::Log;

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: SystemTime },
    Terminated(Terminated),
}

/// How a run of a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terminated {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) started: SystemTime,
    pub(crate) finished: SystemTime,
}

/// A container, over all its runs.
#[derive(Clone)]
pub(crate) struct Instance {
    pub(crate) state: State,
    /// How the run before ended.
    pub(crate) last: Option<Terminated>,
    pub(crate) restarts: u32,
    /// It runs, and what is to be done after its start has been done.
    pub(crate) begun: bool,
    /// It runs, and its startup probe has succeeded.
    pub(crate) started: bool,
    /// It is started, and its readiness probe succeeds.
    pub(crate) ready: bool,
    /// Its own process, while it runs.
    pub(crate) pid: Option<Pid>,
    pub(crate) log: Log,
    pub(crate) previous_log: Option<Log>,
}

impl Instance {
    fn waiting() -> Self {
        Self {
            state: State::Waiting { reason: "PodInitializing", message: String::new() },
            last: None,
            restarts: 0,
            begun: false,
            started: false,
            ready: false,
            pid: None,
            log: Log::new(),
            previous_log: None,
        }
    }
}

/// The containers of one pod; clones are the same.
#[derive(Clone)]
pub(crate) struct Instances {
    shared: Arc<Mutex<BTreeMap<String, Instance>>>,
    changed: watch::Sender<u64>,
}

impl Instances {
    /// All waiting.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n String>) -> Self {
        let all = names.map(|name| (name.clone(), Instance::waiting())).collect();
        let (changed, _) = watch::channel(0);
        Self { shared: Arc::new(Mutex::new(all)), changed }
    }

    /// Changes one container and tells who watches.
    pub(crate) fn update(&self, name: &str, change: impl FnOnce(&mut Instance)) {
        if let Some(instance) = self.lock().get_mut(name) {
            change(instance);
        }
        self.touch();
    }

    /// Tells who watches that something about the pod has changed.
    pub(crate) fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// One container as it is now.
    pub(crate) fn get(&self, name: &str) -> Option<Instance> {
        self.lock().get(name).cloned()
    }

    /// All containers as they are now.
    pub(crate) fn all(&self) -> BTreeMap<String, Instance> {
        self.lock().clone()
    }

    /// Resolves when `condition` holds for the container.
    pub(crate) async fn until(&self, name: &str, condition: impl Fn(&Instance) -> bool) {
        let mut changes = self.changes();
        while !self.get(name).is_some_and(|instance| condition(&instance)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells of changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Instance>> {
        // Each change is one assignment after another of plain values.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
