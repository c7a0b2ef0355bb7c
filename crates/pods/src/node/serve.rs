//! The node as the API server sees it: logs, commands, connections.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use nix::{
    sched::{CloneFlags, setns},
    unistd::Pid,
};
use tokio::net::TcpStream;
use weft_apiserver::{ExecIo, Io, LogOptions, Node, NodeError, PodRef};

use super::{Sandboxes, streams};
use crate::{
    pod::Sandbox,
    runtime::Runtime,
    spec::Container,
    state::{Instance, State},
    thread::apart,
};

/// The node in this process; clones are the same.
#[derive(Clone)]
pub struct LocalNode {
    sandboxes: Arc<Sandboxes>,
    runtime: Arc<Runtime>,
}

impl LocalNode {
    pub(crate) fn new(sandboxes: Arc<Sandboxes>, runtime: Arc<Runtime>) -> Self {
        Self { sandboxes, runtime }
    }

    fn container(
        &self,
        pod: &PodRef,
        name: &str,
    ) -> Result<(Arc<Sandbox>, Container, Instance), NodeError> {
        let sandbox = self.sandboxes.of(pod).ok_or_else(|| {
            NodeError::NotFound(format!("pod {:?} does not run on this node", pod.name))
        })?;
        let spec = &sandbox.pod.spec;
        let mut all = spec.containers.iter().chain(&spec.init_containers);
        let container = all.find(|container| container.name == name).cloned();
        let instance = sandbox.instances.get(name);
        match (container, instance) {
            (Some(container), Some(instance)) => Ok((sandbox, container, instance)),
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
    ) -> Result<(Arc<Sandbox>, Container, Pid), NodeError> {
        let (sandbox, container, instance) = self.container(pod, name)?;
        match instance.pid {
            Some(pid) => Ok((sandbox, container, pid)),
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
                // The run before is the last one until the next begins.
                (true, State::Waiting { reason, .. })
                    if *reason != "ContainerCreating" && instance.last.is_some() =>
                {
                    instance.log
                }
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
        let command = self.runtime.with_tools(&container, command);
        let runtime = Arc::clone(&self.runtime);
        async move {
            let (sandbox, container, pid) = found?;
            let task = sandbox.task_beside(&container, command).map_err(NodeError::NotReady)?;
            let what = format!("pod {}", pod.name);
            let failed = |source: io::Error| NodeError::Failed { what, source };
            let attended = match io.tty {
                true => streams::at_terminal(&runtime, pid, task, io).await,
                false => streams::piped(&runtime, pid, task, io).await,
            };
            attended.map_err(failed)
        }
        .boxed()
    }

    fn connect(
        &self,
        pod: PodRef,
        port: u16,
    ) -> BoxFuture<'static, Result<Box<dyn Io>, NodeError>> {
        let sandbox = self.sandboxes.of(&pod);
        async move {
            let missing = || NodeError::NotFound(format!("pod {:?} does not run here", pod.name));
            let sandbox = sandbox.ok_or_else(missing)?;
            let stream = inside(&sandbox, port).await.map_err(|source| NodeError::Failed {
                what: format!("connecting to port {port} of pod {}", pod.name),
                source,
            })?;
            Ok(Box::new(stream) as Box<dyn Io>)
        }
        .boxed()
    }
}

/// A connection as from the pod's own loopback, or to its address for programs
/// that listen there only.
async fn inside(sandbox: &Sandbox, port: u16) -> io::Result<TcpStream> {
    let network = sandbox.network.try_clone()?;
    let address = sandbox.address;
    let stream = apart(move || {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        std::net::TcpStream::connect(("127.0.0.1", port))
            .or_else(|_| std::net::TcpStream::connect((address, port)))
    })
    .await?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
