//! Process 1's duty: reaping every child, also those that its children left behind.
//!
//! Spawning and reaping exclude each other, so that no process is reaped before
//! it is known.

use std::{collections::HashMap, io, process::Command, sync::Arc};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, oneshot},
};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The exit code; 128 and the signal's number when a signal ended it.
    pub(crate) code: i32,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
}

/// A process that runs, or whose end is not yet noticed.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number in the supervisor's namespace.
    pub(crate) pid: Pid,
    /// Resolves with its end.
    pub(crate) ended: oneshot::Receiver<Ending>,
}

/// Spawns processes and notices their ends; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Reaper {
    living: Arc<Mutex<HashMap<Pid, oneshot::Sender<Ending>>>>,
}

impl Reaper {
    /// Starts noticing ends; only process 1 may.
    pub(crate) fn start() -> io::Result<Self> {
        let reaper = Self::default();
        let mut children = signal(SignalKind::child())?;
        let noticing = reaper.clone();
        tokio::spawn(async move {
            while children.recv().await.is_some() {
                noticing.notice().await;
            }
        });
        Ok(reaper)
    }

    /// Spawns a process of its own group. Called on a thread of its own, which
    /// may wait.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Process> {
        use std::os::unix::process::CommandExt;
        self.spawn_as_is(command.process_group(0))
    }

    /// Spawns a process that makes a session of its own, which the leader of a
    /// group cannot.
    pub(crate) fn spawn_as_is(&self, command: &mut Command) -> io::Result<Process> {
        let mut living = self.living.blocking_lock();
        let child = command.spawn()?;
        let number = i32::try_from(child.id()).map_err(io::Error::other)?;
        let pid = Pid::from_raw(number);
        let (sender, ended) = oneshot::channel();
        living.insert(pid, sender);
        Ok(Process { pid, ended })
    }

    async fn notice(&self) {
        let mut living = self.living.lock().await;
        loop {
            let (pid, ending) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ending { code, signal: None }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    let number = signal as i32;
                    (pid, Ending { code: 128 + number, signal: Some(number) })
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            if let Some(waiting) = living.remove(&pid) {
                // A caller that no longer waits needs no answer.
                let _ = waiting.send(ending);
            }
        }
    }
}

/// Signals a process and its group. One that is gone needs no signal.
pub(crate) fn signal_group(pid: Pid, signal: Signal) {
    let _ = kill(Pid::from_raw(-pid.as_raw()), signal);
}

/// Whether process 1 of a namespace would not notice SIGTERM: the kernel keeps
/// signals without a handler from it, which would end any other process.
pub(crate) fn is_deaf_to_term(pid: Pid) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return false;
    };
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = 1 << (Signal::SIGTERM as u64 - 1);
    let caught = mask("SigCgt:").unwrap_or(bit) & bit != 0;
    let ignored = mask("SigIgn:").unwrap_or(bit) & bit != 0;
    let blocked = mask("SigBlk:").unwrap_or(bit) & bit != 0;
    !caught && !ignored && !blocked
}
