//! The supervisor's end of the channel: questions find their answers.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::channel::{Channel, Egress, HostPort, Request, Response, ToHost, ToSupervisor};

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<(Response, Vec<OwnedFd>)>>>>;

/// The terminal's process, as the supervisor sees it; clones are the same.
#[derive(Clone)]
pub struct HostLink {
    channel: Arc<Channel>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
    stopping: watch::Receiver<Stopping>,
}

/// Whether the terminal wants an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// Not yet.
    Running,
    /// In order.
    Gracefully,
    /// The terminal is gone.
    AtOnce,
}

/// What the terminal's process said first.
pub(crate) struct Start {
    pub(crate) egress: Egress,
    pub(crate) settings: Value,
}

impl HostLink {
    /// Waits for the first message, then keeps reading in the background.
    pub(crate) async fn open(socket: OwnedFd) -> io::Result<(Self, Start)> {
        let channel = Arc::new(Channel::new(socket)?);
        let Some((ToSupervisor::Start { egress, settings }, _)) = channel.receive().await? else {
            let text = "the terminal's process did not say how to start";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        let waiting = Waiting::default();
        let (stop, stopping) = watch::channel(Stopping::Running);
        tokio::spawn(read(Arc::clone(&channel), Arc::clone(&waiting), stop));
        let link = Self { channel, waiting, next: Arc::default(), stopping };
        Ok((link, Start { egress, settings }))
    }

    /// Tells how far the start has come.
    pub async fn progress(&self, text: impl Into<String>, done: usize, total: usize) {
        self.tell(ToHost::Progress { text: text.into(), done, total }).await;
    }

    /// Tells that everything is up.
    pub async fn ready(&self, what: Value) {
        self.tell(ToHost::Ready(what)).await;
    }

    /// Shows a line to the person at the terminal.
    pub async fn log(&self, line: impl Into<String>) {
        self.tell(ToHost::Log(line.into())).await;
    }

    pub(crate) async fn host_port(&self, port: HostPort) {
        self.tell(ToHost::HostPort(port)).await;
    }

    pub(crate) async fn host_port_closed(&self, port: HostPort) {
        self.tell(ToHost::HostPortClosed(port)).await;
    }

    /// Resolves when the terminal wants an end.
    pub(crate) async fn stopping(&self) -> Stopping {
        let mut stopping = self.stopping.clone();
        let wanted = stopping.wait_for(|stop| *stop != Stopping::Running).await;
        wanted.map_or(Stopping::AtOnce, |stop| *stop)
    }

    /// Listening sockets on the host for a Service's port.
    pub(crate) async fn listen(&self, port: u16) -> io::Result<Vec<TcpListener>> {
        self.listeners(Request::Listen { port }).await
    }

    /// Listening sockets on the host for the API server.
    pub(crate) async fn listen_for_api(&self) -> io::Result<Vec<TcpListener>> {
        self.listeners(Request::ListenForApi).await
    }

    /// A connection to an address beyond the mesh, or to the machine itself.
    pub(crate) async fn dial(&self, address: Option<IpAddr>, port: u16) -> io::Result<TcpStream> {
        let (_, mut descriptors) = self.ask(Request::Dial { address, port }).await?;
        descriptors.pop().map(TcpStream::from).ok_or_else(misunderstood)
    }

    /// The addresses that the host knows for a name; none when it has none.
    pub(crate) async fn resolve(&self, name: String) -> io::Result<Vec<IpAddr>> {
        match self.ask(Request::Resolve { name }).await? {
            (Response::Addresses(addresses), _) => Ok(addresses),
            _ => Err(misunderstood()),
        }
    }

    async fn listeners(&self, request: Request) -> io::Result<Vec<TcpListener>> {
        let (_, descriptors) = self.ask(request).await?;
        Ok(descriptors.into_iter().map(TcpListener::from).collect())
    }

    async fn ask(&self, request: Request) -> io::Result<(Response, Vec<OwnedFd>)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        if let Err(error) = self.channel.send(&ToHost::Ask { id, request }, &[]).await {
            lock(&self.waiting).remove(&id);
            return Err(error);
        }
        match receiver.await {
            Ok((Response::Failed { text, code }, _)) => Err(match code {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::other(text),
            }),
            Ok(answer) => Ok(answer),
            Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    async fn tell(&self, message: ToHost) {
        // A terminal that does not hear is gone, and this process ends with it.
        let _ = self.channel.send(&message, &[]).await;
    }
}

fn misunderstood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the terminal's process gave another answer")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only insertions and removals happen under this lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(channel: Arc<Channel>, waiting: Waiting, stop: watch::Sender<Stopping>) {
    while let Ok(Some((message, descriptors))) = channel.receive().await {
        match message {
            ToSupervisor::Response { id, answer } => {
                let asker = lock(&waiting).remove(&id);
                if let Some(asker) = asker {
                    // Who no longer waits needs no answer; the sockets close.
                    let _ = asker.send((answer, descriptors));
                }
            }
            ToSupervisor::Stop => {
                stop.send_replace(Stopping::Gracefully);
            }
            ToSupervisor::Start { .. } => {}
        }
    }
    lock(&waiting).clear();
    stop.send_replace(Stopping::AtOnce);
}
