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
    begin::{self, Task, TaskRole},
    logs::Log,
    mounts::{self, ContainerRoot},
    reaper::{Process, Reaper},
    root::PROGRAM,
    runtime::Runtime,
    thread::apart,
};

/// The streams of a process that runs beside a container's own.
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

/// Starts a container's own process; what it writes goes to `log`.
pub(crate) async fn container(
    runtime: &Runtime,
    task: Task,
    root: ContainerRoot,
    network: File,
    log: Log,
) -> io::Result<Process> {
    let (reaper, launcher) = (runtime.reaper.clone(), runtime.launcher.clone());
    let (process, output) = apart(move || {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        mounts::enter(&root)?;
        let (reader, writer) = pipe()?;
        let (connection, stdin) = begin::connection()?;
        let mut first = Command::new(PROGRAM);
        first.args(launcher).env_clear();
        first.stdin(stdin).stdout(writer.try_clone()?).stderr(writer);
        let process = reaper.spawn(&mut first)?;
        // The copies for the process must not keep the answer waiting.
        drop(first);
        begin::give(&task, connection).map_err(|error| explain(error, &task))?;
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
        let mut command = task.command()?;
        command.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
        reaper.spawn(&mut command).map_err(|error| explain(error, &task))
    })
    .await
}

/// Starts a process like [`beside`], at a terminal of its own.
pub(crate) async fn at_terminal(
    runtime: &Runtime,
    pid: Pid,
    task: Task,
    terminal: OwnedFd,
) -> io::Result<Process> {
    let (reaper, launcher) = (runtime.reaper.clone(), runtime.launcher.clone());
    apart(move || {
        join(pid)?;
        let (connection, stdin) = begin::connection()?;
        let mut first = Command::new(PROGRAM);
        first.args(launcher).env_clear().stdin(stdin);
        first.stdout(terminal.try_clone()?).stderr(terminal);
        let process = reaper.spawn_as_is(&mut first)?;
        drop(first);
        let task = Task { place: TaskRole::Terminal, ..task };
        begin::give(&task, connection).map_err(|error| explain(error, &task))?;
        Ok(process)
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

/// The error in the words that users of containers know.
fn explain(error: io::Error, task: &Task) -> io::Error {
    let program = task.command_line.first().map_or("", String::as_str);
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
