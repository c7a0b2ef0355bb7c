//! The first moment of a container: this program, inside, becomes the
//! container's own.
//!
//! Only a process inside a process namespace can mount its /proc, so the node
//! runs this very program first, with a task on standard input. It either
//! becomes what the task says or tells why it cannot.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Command, Stdio},
};

use nix::{
    mount::{MsFlags, mount},
    unistd::setsid,
};
use rustix::process::ioctl_tiocsctty;
use serde::{Deserialize, Serialize};

/// What is run, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// The program and its arguments; never empty.
    pub(crate) command_line: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// User and group; as they are when absent.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) working_folder: Option<String>,
    pub(crate) place: TaskRole,
}

/// Where a task begins, which decides what is done before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TaskRole {
    /// First in its process namespace: it needs a /proc.
    First,
    /// Beside the first, at the terminal that is its standard output.
    Terminal,
}

impl Task {
    /// The command, without its streams.
    pub(crate) fn command(&self) -> io::Result<Command> {
        let empty = || io::Error::new(io::ErrorKind::InvalidInput, "the command is empty");
        let (program, arguments) = self.command_line.split_first().ok_or_else(empty)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.working_folder {
            command.current_dir(folder);
        }
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        Ok(command)
    }
}

/// Both ends of the connection over which a task is given.
pub(crate) fn connection() -> io::Result<(UnixStream, Stdio)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, Stdio::from(OwnedFd::from(theirs))))
}

/// Gives the task; an error says why the other side did not become it.
pub(crate) fn give(task: &Task, mut connection: UnixStream) -> io::Result<()> {
    connection.write_all(&serde_json::to_vec(task)?)?;
    connection.shutdown(Shutdown::Write)?;
    // The other end is closed on exec, when the other program takes over.
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    match answer.parse() {
        Ok(code) => Err(io::Error::from_raw_os_error(code)),
        Err(_) if answer.is_empty() => Ok(()),
        Err(_) => Err(io::Error::other(answer)),
    }
}

/// Becomes the task that comes over `connection`; returns only when it cannot,
/// and has told so.
pub(crate) fn become_task(connection: OwnedFd) -> io::Error {
    let mut connection = UnixStream::from(connection);
    let error = attempt(&mut connection);
    let answer = match error.raw_os_error() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    };
    // A node that does not hear this has ended, and this process with it.
    let _ = connection.write_all(answer.as_bytes());
    error
}

fn attempt(connection: &mut UnixStream) -> io::Error {
    let mut prepare = || {
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes)?;
        let task: Task = serde_json::from_slice(&bytes)?;
        let nothing: Option<&str> = None;
        let stdin = match task.place {
            TaskRole::First => {
                mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing)?;
                Stdio::null()
            }
            TaskRole::Terminal => {
                setsid()?;
                ioctl_tiocsctty(io::stdout())?;
                Stdio::from(io::stdout().as_fd().try_clone_to_owned()?)
            }
        };
        let mut command = task.command()?;
        command.stdin(stdin);
        io::Result::Ok(command)
    };
    match prepare() {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    }
}
