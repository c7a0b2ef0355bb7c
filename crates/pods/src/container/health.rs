//! Asking one run of a container how it is.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, FutureExt, pending};
use nix::unistd::Pid;
use tokio::time::sleep;
use weft_apiserver::Tone;

use super::until;
use crate::{
    pod::Sandbox,
    probe::{ProbeStatus, ProbeTarget, Schedule, attempt, perform},
    spec::{Container, Probe},
};

/// A container without a readiness probe counts as ready when it listens on the
/// ports that it declares, and after this time in any case: on a cluster it is
/// ready at once, the first requests fail, and one that ends at once is ready
/// between two crashes.
const LONGEST_LISTENING: Duration = Duration::from_millis(500);
const LISTENING_STEP: Duration = Duration::from_millis(5);

/// One run of a container, to be asked.
pub(super) struct Health<'a> {
    sandbox: &'a Sandbox,
    container: &'a Container,
    pid: Pid,
    exec: Box<dyn Fn(Vec<String>) -> BoxFuture<'static, io::Result<i32>> + Send + Sync + 'a>,
}

impl<'a> Health<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, container: &'a Container, pid: Pid) -> Self {
        let exec = Box::new(move |command| sandbox.quiet_exec(container, pid, command).boxed());
        Self { sandbox, container, pid, exec }
    }

    /// What probes and hooks act on.
    pub(super) fn target(&self) -> ProbeTarget<'_> {
        ProbeTarget { address: self.sandbox.address, container: self.container, exec: &*self.exec }
    }

    /// Notes how the container is; resolves, with the reason, when it is to be
    /// restarted.
    pub(super) async fn watch(&self) -> String {
        if let Some(action) = &self.container.lifecycle.post_start
            && let Err(error) = perform(&self.target(), action).await
        {
            let text = format!("PostStartHook failed: {error}");
            let name = &self.container.name;
            self.sandbox.record_event_of(name, Tone::Warning, ("FailedPostStartHook", &text));
            return "failed its postStart hook".into();
        }
        self.note(|instance| instance.begun = true);
        if let Some(probe) = &self.container.startup_probe
            && self.ask(("Startup", probe), |_| {}, ProbeStatus::Success).await
                == ProbeStatus::Failure
        {
            return "failed startup probe".into();
        }
        self.note(|instance| instance.started = true);
        tokio::select! {
            () = self.readiness() => unreachable!("readiness is asked for ever"),
            why = self.liveness() => why,
        }
    }

    async fn readiness(&self) {
        if let Some(probe) = &self.container.readiness_probe {
            let note =
                |verdict| self.note(|instance| instance.ready = verdict == ProbeStatus::Success);
            // No verdict ends the asking.
            self.ask(("Readiness", probe), note, ProbeStatus::Unknown).await;
        } else {
            self.listening().await;
            self.note(|instance| instance.ready = true);
        }
        pending().await
    }

    async fn liveness(&self) -> String {
        let Some(probe) = &self.container.liveness_probe else { return pending().await };
        self.ask(("Liveness", probe), |_| {}, ProbeStatus::Failure).await;
        "failed liveness probe".into()
    }

    /// Asks until `last` or a failure of a startup probe; `note` hears changes.
    async fn ask(
        &self,
        (kind, probe): (&str, &Probe),
        note: impl Fn(ProbeStatus),
        last: ProbeStatus,
    ) -> ProbeStatus {
        let action = probe.action();
        let mut schedule = Schedule::new(probe, Instant::now());
        let mut known = ProbeStatus::Unknown;
        loop {
            until(schedule.due()).await;
            let began = Instant::now();
            let answer = attempt(&self.target(), &action, probe.timeout()).await;
            if let Err(why) = &answer
                && schedule.counts(began)
            {
                let text = format!("{kind} probe failed: {why}");
                self.sandbox.record_event_of(
                    &self.container.name,
                    Tone::Warning,
                    ("Unhealthy", &text),
                );
            }
            let verdict = schedule.answered(answer.is_ok(), began, Instant::now());
            if verdict != known {
                known = verdict;
                note(verdict);
            }
            let failed_start = last == ProbeStatus::Success && verdict == ProbeStatus::Failure;
            if last != ProbeStatus::Unknown && (verdict == last || failed_start) {
                return verdict;
            }
        }
    }

    async fn listening(&self) {
        let ports: Vec<u16> = self
            .container
            .ports
            .iter()
            .filter(|port| matches!(port.protocol.as_deref(), None | Some("TCP")))
            .map(|port| port.container_port)
            .collect();
        let listens = || ports.iter().all(|port| is_listening(self.pid, *port));
        let end = Instant::now() + LONGEST_LISTENING;
        while (ports.is_empty() || !listens()) && Instant::now() < end {
            sleep(LISTENING_STEP).await;
        }
    }

    fn note(&self, change: impl FnOnce(&mut crate::state::Instance)) {
        self.sandbox.instances.update(&self.container.name, change);
    }
}

/// Whether a socket in the network namespace of `pid` listens on `port`. Looked
/// up, not tried: the application would see a connection.
fn is_listening(pid: Pid, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        fs::read_to_string(format!("/proc/{pid}/net/{table}"))
            .is_ok_and(|text| text.lines().any(|line| listens(line, port)))
    })
}

/// A line of the kernel's table: number, local address, peer, state (0A means
/// that it listens), all in hexadecimal.
fn listens(line: &str, port: u16) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let local = words.next().and_then(|address| address.rsplit_once(':'));
    let local = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    local == Some(port) && words.nth(1) == Some("0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_told_from_a_connection() {
        let line = |state: &str| {
            format!("   0: 00000000:1F90 00000000:0000 {state} 00000000:00000000 00:00000000")
        };
        assert!(listens(&line("0A"), 8080));
        assert!(!listens(&line("01"), 8080));
        assert!(!listens(&line("0A"), 80));
        assert!(!listens("  sl  local_address rem_address   st", 8080));
    }
}
