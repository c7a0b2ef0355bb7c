//! The node as the API server sees it: logs, commands, connections.

use std::{io, os::fd::OwnedFd, process::Stdio, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::Signal,
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, unix::pipe},
    sync::mpsc,
};
use weft_apiserver::{ExecIo, Io, LogOptions, Node, NodeError, PodRef};

use super::Shared;
use crate::{
    launch::{Streams, beside},
    pod::Ground,
    reaper::signal_group,
    spec::Container,
    state::{Instance, State},
    thread::apart,
};

/// The node in this process; clones are the same.
#[derive(Clone)]
pub struct LocalNode {
    shared: Arc<Shared>,
}

impl LocalNode {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn container(
        &self,
        pod: &PodRef,
        name: &str,
    ) -> Result<(Arc<Ground>, Container, Instance), NodeError> {
        let ground = self.shared.ground(pod).ok_or_else(|| {
            NodeError::NotFound(format!("pod {:?} does not run on this node", pod.name))
        })?;
        let spec = &ground.pod.spec;
        let container = spec.containers.iter().chain(&spec.init_containers);
        let container = container.cloned().find(|container| container.name == name);
        let instance = ground.instances.get(name);
        match (container, instance) {
            (Some(container), Some(instance)) => Ok((ground, container, instance)),
            _ => {
                let text = format!("container {name} is not valid for pod {}", pod.name);
                Err(NodeError::NotFound(text))
            }
        }
    }

    fn running(
        &self,
        pod: &PodRef,
        name: &str,
    ) -> Result<(Arc<Ground>, Container, Pid), NodeError> {
        let (ground, container, instance) = self.container(pod, name)?;
        match instance.pid {
            Some(pid) => Ok((ground, container, pid)),
            None => {
                let why = match instance.state {
                    State::Waiting { reason, .. } => format!("waits: {reason}"),
                    _ => "has ended".to_owned(),
                };
                let text = format!("container {name} of pod {} {why}", pod.name);
                Err(NodeError::NotReady(text))
            }
        }
    }

    /// The command with a built-in program in place of one that the host lacks.
    fn with_tools(&self, container: &str, command: Vec<String>) -> Vec<String> {
        let Some(name) = command.first() else { return command };
        let settings = &self.shared.settings;
        let Some(tool) = settings.tools.iter().find(|tool| &tool.name == name) else {
            return command;
        };
        let own = tool.first_in.iter().any(|first| first == container);
        let on_host = || {
            settings.path.split(':').any(|folder| std::path::Path::new(folder).join(name).is_file())
        };
        match own || !on_host() {
            true => tool.command.iter().chain(&command[1..]).cloned().collect(),
            false => command,
        }
    }
}

impl Node for LocalNode {
    fn logs(
        &self,
        pod: PodRef,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, NodeError>> {
        let found = self.container(&pod, &container);
        async move {
            let (_, _, instance) = found?;
            let log = match (options.previous, &instance.state) {
                (false, State::Waiting { reason, .. }) if instance.last.is_none() => {
                    let text = format!(
                        "container {container:?} in pod {:?} is waiting to start: {reason}",
                        pod.name
                    );
                    return Err(NodeError::NotReady(text));
                }
                (false, _) => instance.log,
                (true, _) => instance.previous_log.ok_or_else(|| {
                    let name = &pod.name;
                    NodeError::NotFound(format!(
                        "previous terminated container {container:?} in pod {name:?} not found"
                    ))
                })?,
            };
            Ok(log.read(&options))
        }
        .boxed()
    }

    fn exec(
        &self,
        pod: PodRef,
        container: String,
        command: Vec<String>,
        io: ExecIo,
    ) -> BoxFuture<'static, Result<i32, NodeError>> {
        let found = self.running(&pod, &container);
        let command = self.with_tools(&container, command);
        let reaper = self.shared.reaper.clone();
        async move {
            let (ground, container, pid) = found?;
            let task = ground.task_beside(&container, command).map_err(NodeError::NotReady)?;
            let what = format!("running a command in container {}", container.name);
            let failed = |source| NodeError::Failed { what, source };
            let (streams, ends) = streams(&io).map_err(failed)?;
            // The copies for the process go with the thread that spawns it.
            let process = beside(&reaper, pid, task, streams)
                .await
                .map_err(|source| NodeError::Failed { what: source.to_string(), source })?;
            Ok(attend(process, ends, io).await)
        }
        .boxed()
    }

    fn connect(
        &self,
        pod: PodRef,
        port: u16,
    ) -> BoxFuture<'static, Result<Box<dyn Io>, NodeError>> {
        let ground = self.shared.ground(&pod);
        async move {
            let missing = || NodeError::NotFound(format!("pod {:?} does not run here", pod.name));
            let ground = ground.ok_or_else(missing)?;
            let stream = inside(&ground, port).await.map_err(|source| NodeError::Failed {
                what: format!("connecting to port {port} of pod {}: {source}", pod.name),
                source,
            })?;
            Ok(Box::new(stream) as Box<dyn Io>)
        }
        .boxed()
    }
}

/// A connection as from the pod's own loopback, or to its address for programs
/// that listen there only.
async fn inside(ground: &Ground, port: u16) -> io::Result<TcpStream> {
    let network = ground.network.try_clone()?;
    let address = ground.address;
    let stream = apart(move || {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        std::net::TcpStream::connect(("127.0.0.1", port))
            .or_else(|_| std::net::TcpStream::connect((address, port)))
    })
    .await?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

/// This side's ends of a process's streams.
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

fn streams(io: &ExecIo) -> io::Result<(Streams, Ends)> {
    let (stdout, out) = io::pipe()?;
    let (stdin, to_stdin) = match io.stdin.is_some() {
        true => {
            let (reader, writer) = io::pipe()?;
            (Stdio::from(reader), Some(writer.into()))
        }
        false => (Stdio::null(), None),
    };
    let (stderr, error) = match io.stderr.is_some() {
        true => {
            let (reader, writer) = io::pipe()?;
            (Some(reader.into()), Stdio::from(writer))
        }
        false => (None, Stdio::from(out.try_clone()?)),
    };
    let ends = Ends { stdin: to_stdin, stdout: stdout.into(), stderr };
    Ok((Streams { stdin, stdout: out.into(), stderr: error }, ends))
}

/// Carries the streams until the process has ended and all that it wrote is
/// passed on. Ends it when nobody listens any more.
async fn attend(process: crate::reaper::Process, ends: Ends, io: ExecIo) -> i32 {
    let pid = process.pid;
    let listener = io.stdout.clone();
    let feeding = tokio::spawn(feed(ends.stdin, io.stdin));
    let reading = async {
        tokio::join!(pass(Some(ends.stdout), Some(io.stdout)), pass(ends.stderr, io.stderr),)
    };
    let mut ended = process.ended;
    let code = tokio::select! {
        (ending, _) = async { tokio::join!(&mut ended, reading) } => {
            ending.map_or(255, |ending| ending.code)
        }
        () = listener.closed() => {
            signal_group(pid, Signal::SIGKILL);
            137
        }
    };
    feeding.abort();
    code
}

async fn feed(stdin: Option<OwnedFd>, source: Option<mpsc::Receiver<Bytes>>) {
    let (Some(stdin), Some(mut source)) = (stdin, source) else { return };
    let Ok(mut stdin) = pipe::Sender::from_owned_fd(stdin) else { return };
    while let Some(chunk) = source.recv().await {
        if stdin.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

async fn pass(from: Option<OwnedFd>, to: Option<mpsc::Sender<Bytes>>) {
    let (Some(from), Some(to)) = (from, to) else { return };
    let Ok(mut from) = pipe::Receiver::from_owned_fd(from) else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 || to.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
            return;
        }
    }
}
