//! Starting processes: a container's own, and others beside it.

use std::{
    fs::File,
    io::{self, PipeReader, pipe},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    time::SystemTime,
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::Pid,
};
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

use crate::{
    logs::Log,
    mounts::{self, ContainerRoot},
    reaper::{Process, Reaper},
    thread::apart,
};

/// What is run, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The program and its arguments; never empty.
    pub(crate) command_line: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// User and group; as they are when absent.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) working_folder: Option<String>,
}

/// The streams of a process that runs beside a container's own.
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

/// Starts a container's own process; what it writes goes to `log`.
pub(crate) async fn container(
    reaper: &Reaper,
    task: Task,
    root: ContainerRoot,
    network: File,
    log: Log,
) -> io::Result<Process> {
    let reaper = reaper.clone();
    let (process, output) = apart(move || {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        mounts::enter(&root)?;
        let (reader, writer) = pipe()?;
        let mut command = command(&task)?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let process = spawn(&reaper, &mut command, &task)?;
        Ok((process, reader))
    })
    .await?;
    tokio::spawn(record(output, log));
    Ok(process)
}

/// Starts a process in the namespaces of a container whose own process is `pid`.
pub(crate) async fn beside(
    reaper: &Reaper,
    pid: Pid,
    task: Task,
    streams: Streams,
) -> io::Result<Process> {
    let reaper = reaper.clone();
    apart(move || {
        join(pid)?;
        let mut command = command(&task)?;
        command.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
        spawn(&reaper, &mut command, &task)
    })
    .await
}

/// Moves the calling thread into a container.
fn join(pid: Pid) -> io::Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}"));
    // All are opened first: afterwards /proc is the container's.
    let namespaces = [
        (open("net")?, CloneFlags::CLONE_NEWNET),
        (open("uts")?, CloneFlags::CLONE_NEWUTS),
        (open("pid")?, CloneFlags::CLONE_NEWPID),
        (open("mnt")?, CloneFlags::CLONE_NEWNS),
    ];
    // A thread that shares its root folder with others cannot change it.
    unshare(CloneFlags::CLONE_FS)?;
    for (namespace, kind) in namespaces {
        setns(namespace, kind)?;
    }
    Ok(())
}

fn command(task: &Task) -> io::Result<Command> {
    use std::os::unix::process::CommandExt;
    let empty = || io::Error::new(io::ErrorKind::InvalidInput, "the command is empty");
    let (program, arguments) = task.command_line.split_first().ok_or_else(empty)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(task.variables.iter().map(|(name, value)| (name, value)));
    if let Some(folder) = &task.working_folder {
        command.current_dir(folder);
    }
    if let Some((user, group)) = task.owner {
        command.uid(user).gid(group);
    }
    Ok(command)
}

fn spawn(reaper: &Reaper, command: &mut Command, task: &Task) -> io::Result<Process> {
    reaper.spawn(command).map_err(|error| {
        let program = &task.command_line[0];
        let text = match error.kind() {
            io::ErrorKind::NotFound if task.working_folder.as_ref().is_some_and(is_missing) => {
                format!("working directory {:?} does not exist", task.working_folder)
            }
            io::ErrorKind::NotFound if program.contains('/') => {
                format!("exec: {program:?}: stat {program}: no such file or directory")
            }
            io::ErrorKind::NotFound => {
                format!("exec: {program:?}: executable file not found in $PATH")
            }
            _ => format!("exec: {program:?}: {error}"),
        };
        io::Error::new(error.kind(), text)
    })
}

fn is_missing(folder: &String) -> bool {
    !Path::new(folder).is_dir()
}

async fn record(output: PipeReader, log: Log) {
    let copied = async {
        let mut reader = Receiver::from_owned_fd(OwnedFd::from(output))?;
        let mut buffer = vec![0; 16 << 10];
        loop {
            match reader.read(&mut buffer).await? {
                0 => return io::Result::Ok(()),
                length => log.write(&buffer[..length], SystemTime::now()),
            }
        }
    };
    if let Err(error) = copied.await {
        tracing::warn!(%error, "a container's output cannot be read any more");
    }
    log.close(SystemTime::now());
}
