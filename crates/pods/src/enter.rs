//! Into namespaces of one's own, before any thread exists.
//!
//! The program is run twice: first in the host's namespaces, where it leaves
//! them for new ones and runs itself again, then as process 1 of the new ones.
//! Nothing is made in the host's namespaces, so nothing can be left there.

use std::{
    ffi::OsString,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid, setsid},
};

use rustix::net::{SocketType, sockopt::socket_type};

use crate::{begin::become_task, root};

/// What came of entering.
#[derive(Debug)]
pub enum EnterOutcome {
    /// This was the process outside; the one inside has ended with this code.
    Left(u8),
    /// This is process 1 inside.
    Inside(Entered),
}

/// The namespaces are this process's own.
#[derive(Debug)]
pub struct Entered {
    /// The supervisor's end of the channel to the terminal.
    pub(crate) channel: OwnedFd,
    /// Whether processes may run as other users.
    pub(crate) users: Users,
    /// What leads the program to [`enter`].
    pub(crate) arguments: Vec<OsString>,
}

/// Which users exist inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// All of them.
    Many,
    /// Only the one who started this, seen as root.
    One,
}

/// Why the namespaces cannot be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The system forbids namespaces to this user.
    #[error("this machine does not let {who} make namespaces ({why}): {advice}")]
    Forbidden {
        /// Who is asking.
        who: &'static str,
        /// What the system says.
        why: String,
        /// What would allow it.
        advice: String,
    },
    /// A step failed for another reason.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// Enters namespaces of its own. Must be called first in `main`, while there is
/// one thread; `arguments` lead the program back here.
///
/// Standard input is the channel to the terminal's process. The node, too, runs
/// the program with these arguments, as the first process of each container;
/// then standard input is a stream with a task, and this becomes another program.
pub fn enter(arguments: &[OsString]) -> Result<EnterOutcome, EnterError> {
    let stdin = io::stdin();
    if socket_type(&stdin).is_ok_and(|kind| kind == SocketType::STREAM) {
        let task = stdin.as_fd().try_clone_to_owned();
        let task = task.map_err(step("taking a task from standard input"))?;
        return Err(step("beginning a container")(become_task(task)));
    }
    match std::process::id() {
        1 => inside(arguments).map(EnterOutcome::Inside),
        _ => outside(arguments).map(EnterOutcome::Left),
    }
}

/// Whether processes here may run as other users than the one who is root.
pub fn users() -> Users {
    // "inside outside length": a single mapped user is a map of length 1.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mapped: u64 =
        map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    match mapped {
        0 | 1 => Users::One,
        _ => Users::Many,
    }
}

fn outside(arguments: &[OsString]) -> Result<u8, EnterError> {
    leave_namespaces()?;
    let mut inside = Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(Stdio::inherit())
        .spawn()
        .map_err(step("starting the supervisor inside its namespaces"))?;
    // This copy of the channel must not keep the terminal waiting for the end.
    let ended = inside.wait().map_err(step("waiting for the supervisor"))?;
    let code = ended.code().or_else(|| ended.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

fn leave_namespaces() -> Result<(), EnterError> {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if geteuid().is_root() {
        match unshare(own) {
            Ok(()) => return Ok(()),
            // Root of a container without CAP_SYS_ADMIN: as any other user.
            Err(Errno::EPERM) => {}
            Err(error) => return Err(forbidden(error)),
        }
    }
    let (user, group) = (geteuid(), getegid());
    unshare(own | CloneFlags::CLONE_NEWUSER).map_err(forbidden)?;
    let write = |path: &str, text: String| fs::write(path, text);
    write("/proc/self/setgroups", "deny".into())
        .and_then(|()| write("/proc/self/uid_map", format!("0 {user} 1")))
        .and_then(|()| write("/proc/self/gid_map", format!("0 {group} 1")))
        .map_err(step("mapping the user into its namespace"))
}

fn inside(arguments: &[OsString]) -> Result<Entered, EnterError> {
    // A session without a terminal, for every process of every pod.
    setsid().map_err(io::Error::from).map_err(step("starting a session"))?;
    let channel = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(step("taking the channel from standard input"))?;
    root::enter().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => forbidden_by(error),
        _ => EnterError::Step { step: "making the supervisor's file system", source: error },
    })?;
    Ok(Entered { channel, users: users(), arguments: arguments.to_vec() })
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> EnterError {
    move |source| EnterError::Step { step, source }
}

fn forbidden(error: Errno) -> EnterError {
    forbidden_by(error.into())
}

fn forbidden_by(source: io::Error) -> EnterError {
    let setting = |path: &str| fs::read_to_string(format!("/proc/sys/{path}")).ok();
    let who = match geteuid().is_root() {
        true => "root without CAP_SYS_ADMIN",
        false => "a plain user",
    };
    let why = match source.raw_os_error() {
        // The kernel's word for a limit of namespaces is that of a full disk.
        Some(code) if code == Errno::ENOSPC as i32 => "there are as many as it allows".to_owned(),
        _ => source.to_string(),
    };
    EnterError::Forbidden { who, why, advice: advice(setting) }
}

/// Names the setting that stands in the way; `setting` reads one by its path.
fn advice(setting: impl Fn(&str) -> Option<String>) -> String {
    let is = |path: &str, value: &str| setting(path).is_some_and(|text| text.trim() == value);
    if is("kernel/unprivileged_userns_clone", "0") {
        return "allow it with `sudo sysctl -w kernel.unprivileged_userns_clone=1`".into();
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "allow it with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
            .into();
    }
    for name in ["max_user_namespaces", "max_net_namespaces", "max_mnt_namespaces"] {
        if is(&format!("user/{name}"), "0") {
            return format!("allow it with `sudo sysctl -w user.{name}=1000`");
        }
    }
    "in a container, start that container with `--privileged`, or with `--cap-add SYS_ADMIN \
     --cap-add NET_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(settings: &[(&str, &str)], expected: &str) {
        let advice = advice(|path| {
            settings.iter().find(|(name, _)| *name == path).map(|(_, value)| format!("{value}\n"))
        });
        assert!(advice.contains(expected), "{advice:?} names {expected}");
    }

    #[test]
    fn a_limit_of_namespaces_is_not_told_as_a_full_disk() {
        let told = forbidden(Errno::ENOSPC).to_string();
        assert!(told.contains("as many as it allows") && !told.contains("space left"), "{told}");
    }

    #[test]
    fn the_setting_that_forbids_namespaces_is_named() {
        check(&[("kernel/unprivileged_userns_clone", "0")], "kernel.unprivileged_userns_clone=1");
        check(
            &[("kernel/apparmor_restrict_unprivileged_userns", "1")],
            "kernel.apparmor_restrict_unprivileged_userns=0",
        );
        check(&[("user/max_user_namespaces", "0")], "user.max_user_namespaces=1000");
        check(&[("user/max_user_namespaces", "63000")], "--cap-add SYS_ADMIN");
    }
}
