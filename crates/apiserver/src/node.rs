//! The port to whatever runs pods, and to whatever carries bytes to Services.
//!
//! The API server asks for logs, runs commands and opens connections through
//! these traits. It has no idea what a process or a network namespace is.

use std::{io, time::Duration, time::SystemTime};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};

/// One pod, by name and by identity: a successor of the same name is another pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's `metadata.uid`.
    pub uid: String,
}

/// Which part of a container's log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Stay and send what is written from now on.
    pub follow: bool,
    /// The log of the run before the last restart.
    pub previous: bool,
    /// Start every line with the time when it was written (RFC 3339, nanoseconds).
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines written after this.
    pub since: Option<SystemTime>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The ends of a command's streams that the node holds.
///
/// A stream ends when its channel's other end is dropped.
#[derive(Debug)]
pub struct ExecIo {
    /// What the command reads; absent when the caller sends nothing.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// What the command writes.
    pub stdout: mpsc::Sender<Bytes>,
    /// What the command complains; absent with a terminal, which has one stream.
    pub stderr: Option<mpsc::Sender<Bytes>>,
    /// Whether the command gets a terminal.
    pub tty: bool,
    /// Sizes of the caller's terminal as it changes.
    pub resize: mpsc::Receiver<TerminalSize>,
}

/// A connection, whatever it is made of.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why the node could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The pod or container does not exist here; the text says which.
    #[error("{0}")]
    NotFound(String),
    /// It exists but is not in a state for this, such as a container that waits.
    #[error("{0}")]
    NotReady(String),
    /// This node cannot do that.
    #[error("{0}")]
    Unsupported(String),
    /// It went wrong while being done.
    #[error("{what}")]
    Failed {
        /// What was being done, to which object.
        what: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// What runs the pods.
pub trait Node: Send + Sync {
    /// The log of a container. The stream ends with the container when followed.
    fn logs(
        &self,
        pod: PodRef,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, NodeError>>;

    /// Runs a command beside a container's own; resolves to its exit code.
    fn exec(
        &self,
        pod: PodRef,
        container: String,
        command: Vec<String>,
        io: ExecIo,
    ) -> BoxFuture<'static, Result<i32, NodeError>>;

    /// Joins the streams of a container's own command; resolves when it ends.
    fn attach(
        &self,
        pod: PodRef,
        container: String,
        _io: ExecIo,
    ) -> BoxFuture<'static, Result<i32, NodeError>> {
        let message = format!(
            "attaching to container {container} of pod {} is not served; use `kubectl logs -f` \
             to read along, or `kubectl exec` to run a command in it",
            pod.name
        );
        Box::pin(async { Err(NodeError::Unsupported(message)) })
    }

    /// A connection to a port inside the pod, as from its own loopback.
    fn connect(&self, pod: PodRef, port: u16)
    -> BoxFuture<'static, Result<Box<dyn Io>, NodeError>>;
}

/// How a Service is reached from the API server's own process.
pub trait Dial: Send + Sync {
    /// A connection to one port of a Service.
    fn service(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> BoxFuture<'static, io::Result<TcpStream>>;
}

/// How long a connection to a Service may take to be made.
pub const DIAL_DEADLINE: Duration = Duration::from_secs(5);
