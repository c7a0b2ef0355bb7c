//! Listening sockets that one process hands to another over a Unix socket.
//!
//! The asker connects, sends one line `{"port": N}`, and gets one line back,
//! with the sockets beside it. It keeps the connection as long as it uses the
//! sockets: its end is how the other side learns that the sockets are no longer accepted on.
//! Which ports exist, and who may have them, is not known here.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::net::UnixStream as StdUnixStream,
    path::Path,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, io::Interest, net::UnixStream};

/// Where a pod's processes find the socket.
pub const PATH: &str = "/run/weft/sockets";
/// Descriptors in one message: loopback addresses and whatever `--host-ip` adds.
const MOST_DESCRIPTORS: usize = 8;
/// A question or an answer is one short line.
const LONGEST_LINE: usize = 4096;

/// Listening sockets made by another process, for as long as this value lives.
#[derive(Debug)]
pub struct Lease {
    /// One for each address.
    pub listeners: Vec<TcpListener>,
    /// Its end tells the lender that the sockets are no longer used.
    connection: StdUnixStream,
}

/// Why no sockets were handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketsError {
    /// The connection failed.
    #[error("asking for a listening socket")]
    Connection(#[from] io::Error),
    /// The other side does not speak this protocol.
    #[error("the line {line:?} is not what was expected about listening sockets")]
    Line {
        /// What was read.
        line: String,
    },
    /// The other side could not make the sockets.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct PortQuery {
    port: u16,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct PortReply {
    /// Where the sockets listen; none means "bind it yourself".
    addresses: Vec<SocketAddr>,
    /// Why there are none, when there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Lease {
    /// Where the sockets listen, as the lender's machine sees it.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Whether the lender is still there; without it the sockets work on.
    pub fn lender_is_gone(&self) -> bool {
        let _ = self.connection.set_nonblocking(true);
        matches!((&self.connection).read(&mut [0]), Ok(0))
    }
}

/// Asks the socket at `path` for the listeners of `port`.
///
/// `None` means that the asker is to bind the port itself: this port is not lent, or
/// there is no lender at all.
pub fn ask(path: &Path, port: u16) -> Result<Option<Lease>, SocketsError> {
    let mut connection = match StdUnixStream::connect(path) {
        Ok(connection) => connection,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut line = serde_json::to_string(&PortQuery { port }).expect("a number is always JSON");
    line.push('\n');
    connection.write_all(line.as_bytes())?;
    let mut buffer = [0; LONGEST_LINE];
    let (length, descriptors) = receive(&connection, &mut buffer)?;
    let answer: PortReply = parse(&buffer[..length])?;
    if let Some(error) = answer.error {
        return Err(SocketsError::Refused(error));
    }
    if descriptors.is_empty() {
        return Ok(None);
    }
    Ok(Some(Lease {
        listeners: descriptors.into_iter().map(TcpListener::from).collect(),
        connection,
    }))
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct SocketRequest {
    /// The port that the asker wants to listen on.
    pub port: u16,
    connection: UnixStream,
}

impl SocketRequest {
    /// Reads the question from a new connection.
    pub async fn read(mut connection: UnixStream) -> Result<Self, SocketsError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if line.len() >= LONGEST_LINE || connection.read_buf(&mut line).await? == 0 {
                let line = String::from_utf8_lossy(&line).into_owned();
                return Err(SocketsError::Line { line });
            }
        }
        let question: PortQuery = parse(&line)?;
        Ok(Self { port: question.port, connection })
    }

    /// Hands over `listeners`, or with none says "bind it yourself".
    pub async fn lend(&self, listeners: &[TcpListener]) -> Result<(), SocketsError> {
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        self.answer(&PortReply { addresses, error: None }, &descriptors).await
    }

    /// Says why there are no sockets although there should be.
    pub async fn refuse(&self, error: impl Into<String>) -> Result<(), SocketsError> {
        self.answer(&PortReply { error: Some(error.into()), ..PortReply::default() }, &[]).await
    }

    /// Resolves when the asker no longer uses what it was lent.
    pub async fn returned(mut self) {
        let mut rest = [0; 64];
        while matches!(self.connection.read(&mut rest).await, Ok(read) if read > 0) {}
    }

    async fn answer(
        &self,
        answer: &PortReply,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketsError> {
        let mut line = serde_json::to_vec(answer).expect("addresses and text are always JSON");
        line.push(b'\n');
        self.connection
            .async_io(Interest::WRITABLE, || send(&self.connection, &line, descriptors))
            .await?;
        Ok(())
    }
}

/// Sends `bytes` as one message with `descriptors` beside it.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        let message = format!("more than {MOST_DESCRIPTORS} descriptors in one message");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    match sent == bytes.len() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::WriteZero, "a message was cut short")),
    }
}

/// Receives one message and the descriptors beside it; no bytes mean the end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((message.bytes, descriptors))
}

fn parse<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, SocketsError> {
    serde_json::from_slice(line)
        .map_err(|_| SocketsError::Line { line: String::from_utf8_lossy(line).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A lender that answers one question by `answer`, and says when the lease ended.
    async fn lender<A>(path: &Path, answer: A) -> (u16, bool)
    where
        A: AsyncFnOnce(&SocketRequest),
    {
        let listener = UnixListener::bind(path).unwrap();
        let (connection, _) = listener.accept().await.unwrap();
        let asked = SocketRequest::read(connection).await.unwrap();
        answer(&asked).await;
        let port = asked.port;
        asked.returned().await;
        (port, true)
    }

    async fn asked(path: &Path) -> Result<Option<Lease>, SocketsError> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            while !path.exists() {
                std::thread::yield_now();
            }
            ask(&path, 8080)
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_lent_socket_accepts_in_the_other_hands_until_it_is_returned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sockets");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lending = lender(&path, async |asked| asked.lend(&[listener]).await.unwrap());
        let using = async {
            let lease = asked(&path).await.unwrap().expect("a lease");
            assert_eq!(lease.addresses().unwrap(), [address]);
            assert!(!lease.lender_is_gone());
            let client = std::net::TcpStream::connect(address).unwrap();
            let (_, peer) = lease.listeners[0].accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        };
        let (lent, ()) = tokio::join!(lending, using);
        assert_eq!(lent, (8080, true));
        assert!(std::net::TcpStream::connect(address).is_err(), "the last copy is closed");
    }

    #[tokio::test]
    async fn nothing_to_lend_means_bind_it_yourself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sockets");
        assert!(ask(&path, 1).unwrap().is_none(), "no lender at all");
        let lending = lender(&path, async |asked| asked.lend(&[]).await.unwrap());
        let using = async { assert!(asked(&path).await.unwrap().is_none()) };
        tokio::join!(lending, using);
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sockets");
        let lending = lender(&path, async |asked| asked.refuse("all taken").await.unwrap());
        let using = async {
            assert_eq!(asked(&path).await.unwrap_err().to_string(), "all taken");
        };
        tokio::join!(lending, using);
    }
}
