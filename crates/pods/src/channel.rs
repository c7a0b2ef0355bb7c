//! What the terminal's process and the supervisor say to each other.
//!
//! One socket pair of whole messages, JSON, with descriptors beside them. Its
//! end is the supervisor's end: there is no other way to outlive the terminal.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{io::Interest, net::UnixStream};
use weft_process::sockets;

/// No message is longer; a kubeconfig is the longest.
const LONGEST: usize = 64 << 10;

/// What the supervisor tells and asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToHost {
    /// How far the start has come.
    Progress { text: String, done: usize, total: usize },
    /// Everything is up; what the program wants to be known.
    Ready(Value),
    /// A line for the person at the terminal.
    Log(String),
    /// A Service's port can be reached on the host.
    HostPort(HostPort),
    /// It no longer can.
    HostPortClosed(HostPort),
    /// Something only the host's namespaces can do.
    Ask { id: u64, request: Request },
}

/// What only a process in the host's namespaces can do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Listen for a Service's port.
    Listen { port: u16 },
    /// Listen for the API server.
    ListenForApi,
    /// Connect to an address beyond the mesh; the machine itself when `None`.
    Dial { address: Option<IpAddr>, port: u16 },
    /// Look a name up as programs on the host do.
    Resolve { name: String },
}

/// What the terminal's process tells and answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToSupervisor {
    /// The first message.
    Start { egress: Egress, settings: Value },
    /// End gracefully.
    Stop,
    /// The answer to a question; sockets come beside it.
    Response { id: u64, answer: Response },
}

/// How a request went.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// The sockets beside this message listen at these addresses.
    Listening(Vec<SocketAddr>),
    /// The socket beside this message is connected.
    Connected,
    /// The addresses of the name.
    Addresses(Vec<IpAddr>),
    /// It did not go; the system's error number when there was one.
    Failed { text: String, code: Option<i32> },
}

/// Whether pods can reach addresses outside the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Egress {
    /// Through sockets that the host makes in its own namespaces.
    #[default]
    Open,
    /// Not at all.
    Closed,
}

/// A Service's port as it is reached on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The Service's port.
    pub port: u16,
    /// The port that it should have on the host, unless that is taken.
    pub wanted: u16,
    /// Where it is reached on the host.
    pub addresses: Vec<SocketAddr>,
}

/// One end of the socket pair.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Not a stream but whole messages; only its readiness is used.
    socket: UnixStream,
}

/// Both ends, not yet part of any runtime.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

impl Channel {
    /// Uses `socket`, which must not block; needs a runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: UnixStream::from_std(socket.into())? })
    }

    /// Sends one message with descriptors beside it.
    pub(crate) async fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        self.socket
            .async_io(Interest::WRITABLE, || sockets::send(&self.socket, &bytes, descriptors))
            .await
    }

    /// The next message, or `None` when the other end is closed.
    pub(crate) async fn receive<T: DeserializeOwned>(
        &self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; LONGEST];
        let (length, descriptors) = self
            .socket
            .async_io(Interest::READABLE, || sockets::receive(&self.socket, &mut buffer))
            .await?;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors)))
    }
}
