//! Keeping one container: start it, ask how it is, restart it, end it.
//!
//! It knows its own container and nothing of the pod's others. On a cluster the
//! pause before a restart grows from 10 s to 5 min; here from 1 s to 1 min, since
//! a user waits in front of it.

mod health;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use nix::sys::signal::Signal;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use weft_apiserver::Tone;

use crate::{
    begin::Task,
    launch,
    logs::Log,
    mounts::ContainerRoot,
    pod::Sandbox,
    probe::perform,
    reaper::{Ending, Process, is_deaf_to_term, signal_group},
    spec::{Container, RestartPolicy},
    state::{State, Terminated},
};
use health::Health;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a run of this length an end is not part of a loop.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// Whether a container is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DesiredState {
    Run,
    /// It is to end, and is killed at this time.
    EndBy(Instant),
}

/// What keeps one container.
pub(crate) struct ContainerRunner {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) container: Container,
    pub(crate) restart: RestartPolicy,
    pub(crate) desired: watch::Receiver<DesiredState>,
}

/// Everything that a run needs, or why it cannot begin.
type Prepared = Result<(Task, ContainerRoot), (&'static str, String)>;

impl ContainerRunner {
    /// Runs the container until it has ended for good.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some((task, root)) = self.prepared().await else { return };
            let began = Instant::now();
            let ended = self.run_once(task, root).await;
            let desired = *self.desired.borrow();
            let again = match self.restart {
                RestartPolicy::Always => true,
                RestartPolicy::OnFailure => ended.code != 0,
                RestartPolicy::Never => false,
            };
            if began.elapsed() >= GOOD_RUN {
                pause = FIRST_PAUSE;
            }
            let again = again && desired == DesiredState::Run;
            self.note_end(ended, again.then_some(pause));
            if !again || !self.pause(pause).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What the next run needs; `None` when it is not to run any more. What is
    /// missing may come with a change of another object.
    async fn prepared(&mut self) -> Option<(Task, ContainerRoot)> {
        let mut objects = self.sandbox.services.objects.clone();
        loop {
            let (reason, message) = match self.prepare() {
                Ok(prepared) => return Some(prepared),
                Err(why) => why,
            };
            self.record_waiting(reason, &message);
            self.update(|instance| instance.state = State::Waiting { reason, message });
            tokio::select! {
                _ = ended(&mut self.desired) => return None,
                changed = objects.changed() => changed.ok()?,
            }
        }
    }

    fn record_event(&self, tone: Tone, reason: &str, message: &str) {
        self.sandbox.record_event_of(&self.container.name, tone, (reason, message));
    }

    fn record_waiting(&self, reason: &str, message: &str) {
        let image = &self.container.image;
        let text = match reason {
            "ErrImagePull" => format!("Failed to pull image \"{image}\": {message}"),
            _ => format!("Error: {message}"),
        };
        self.record_event(Tone::Warning, "Failed", &text);
    }

    fn prepare(&self) -> Prepared {
        let unmapped = |error: crate::images::UnknownImage| ("ErrImagePull", error.to_string());
        let runtime = &self.sandbox.services.runtime;
        let is_here = |program: &str| runtime.finds(&self.container, program);
        let line = runtime.images.command_line(&self.container, is_here).map_err(unmapped)?;
        self.sandbox
            .task(&self.container, line)
            .map_err(|message| ("CreateContainerConfigError", message))
    }

    async fn run_once(&mut self, task: Task, root: ContainerRoot) -> Terminated {
        let started = SystemTime::now();
        let log = Log::new();
        self.update(|instance| {
            let before = std::mem::replace(&mut instance.log, log.clone());
            instance.previous_log = (instance.last.is_some()
                || matches!(instance.state, State::Terminated(_)))
            .then_some(before);
            let (reason, message) = ("ContainerCreating", String::new());
            instance.state = State::Waiting { reason, message };
        });
        let (name, image) = (&self.container.name, &self.container.image);
        let pulled = format!("Container image \"{image}\" already present on machine");
        self.record_event(Tone::Normal, "Pulled", &pulled);
        let spawned = self.spawn(task, root, log.clone()).await;
        let (ending, reason, message) = match spawned {
            Ok(mut process) => {
                let pid = process.pid;
                self.record_event(Tone::Normal, "Created", &format!("Created container: {name}"));
                self.record_event(Tone::Normal, "Started", &format!("Started container {name}"));
                self.update(|instance| {
                    instance.state = State::Running { since: started };
                    instance.pid = Some(pid);
                });
                let (ending, killed_for) = self.attend(&mut process).await;
                let reason = if ending.code == 0 { "Completed" } else { "Error" };
                (ending, reason, killed_for)
            }
            Err(error) => {
                self.record_event(Tone::Warning, "Failed", &format!("Error: {error}"));
                log.write(format!("{error}\n").as_bytes(), SystemTime::now());
                log.close(SystemTime::now());
                (Ending { code: 128, signal: None }, "StartError", error.to_string())
            }
        };
        Terminated {
            code: ending.code,
            signal: ending.signal,
            reason,
            message,
            started,
            finished: SystemTime::now(),
        }
    }

    async fn spawn(&self, task: Task, root: ContainerRoot, log: Log) -> io::Result<Process> {
        let network = self.sandbox.network.try_clone()?;
        launch::container(&self.sandbox.services.runtime, task, root, network, log).await
    }

    /// Stays with the process until its end; the text says why it was killed.
    async fn attend(&mut self, process: &mut Process) -> (Ending, String) {
        let health = Health::new(&self.sandbox, &self.container, process.pid);
        let why = tokio::select! {
            ending = &mut process.ended => return (known(ending), String::new()),
            why = health.watch() => why,
            deadline = ended(&mut self.desired) => {
                drop(health);
                let name = &self.container.name;
                self.record_event(Tone::Normal, "Killing", &format!("Stopping container {name}"));
                self.update(|instance| instance.ready = false);
                return (self.end(process, deadline).await, String::new());
            }
        };
        drop(health);
        let name = &self.container.name;
        let next = match self.restart {
            RestartPolicy::Never => "",
            RestartPolicy::Always | RestartPolicy::OnFailure => ", will be restarted",
        };
        let text = format!("Container {name} {why}{next}");
        self.record_event(Tone::Normal, "Killing", &text);
        tracing::info!(container = name, why, "restarting an unhealthy container");
        let patience = Instant::now() + Duration::from_secs(5);
        (self.end(process, patience).await, why)
    }

    /// Ends the process: its hook, a polite signal, and at last a kill.
    async fn end(&self, process: &mut Process, deadline: Instant) -> Ending {
        if let Some(action) = &self.container.lifecycle.pre_stop {
            let health = Health::new(&self.sandbox, &self.container, process.pid);
            let hook = async { perform(&health.target(), action).await };
            tokio::select! {
                // A hook that fails does not keep the container from ending.
                _ = timeout_at(deadline, hook) => {}
                ending = &mut process.ended => return known(ending),
            }
        }
        signal_group(process.pid, Signal::SIGTERM);
        if !is_deaf_to_term(process.pid)
            && let Ok(ending) = timeout_at(deadline, &mut process.ended).await
        {
            return known(ending);
        }
        signal_group(process.pid, Signal::SIGKILL);
        known((&mut process.ended).await)
    }

    /// Notes an end; one that is followed by another run after `pause` is never
    /// shown as the last.
    fn note_end(&self, ended: Terminated, pause: Option<Duration>) {
        self.update(|instance| {
            instance.begun = false;
            instance.started = false;
            instance.ready = false;
            instance.pid = None;
            let Some(pause) = pause else {
                instance.state = State::Terminated(ended);
                return;
            };
            let message = format!("back-off {}s restarting failed container", pause.as_secs());
            instance.last = Some(ended);
            instance.restarts += 1;
            instance.state = State::Waiting { reason: "CrashLoopBackOff", message };
        });
    }

    /// Waits before the next run; false when there is to be none.
    async fn pause(&mut self, pause: Duration) -> bool {
        let metadata = &self.sandbox.pod.metadata;
        let text = format!(
            "Back-off restarting failed container {} in pod {}_{}({})",
            self.container.name, metadata.name, metadata.namespace, metadata.uid
        );
        self.record_event(Tone::Warning, "BackOff", &text);
        tokio::select! {
            () = sleep(pause) => true,
            _ = ended(&mut self.desired) => {
                self.update(|instance| {
                    if let Some(last) = instance.last.clone() {
                        instance.state = State::Terminated(last);
                    }
                });
                false
            }
        }
    }

    fn update(&self, change: impl FnOnce(&mut crate::state::Instance)) {
        self.sandbox.instances.update(&self.container.name, change);
    }
}

fn known(ending: Result<Ending, tokio::sync::oneshot::error::RecvError>) -> Ending {
    // The reaper outlives every process; without it nothing would run at all.
    ending.unwrap_or(Ending { code: 255, signal: None })
}

/// Resolves when the container is to end, with the time when it is killed.
async fn ended(desired: &mut watch::Receiver<DesiredState>) -> Instant {
    loop {
        if let DesiredState::EndBy(deadline) = *desired.borrow_and_update() {
            return deadline;
        }
        if desired.changed().await.is_err() {
            return Instant::now();
        }
    }
}

/// Waits until `at`, which may have passed.
pub(crate) async fn until(at: std::time::Instant) {
    sleep_until(at.into()).await;
}
