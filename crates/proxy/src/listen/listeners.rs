//! The sockets that connections arrive at, kept in step with the table.
//!
//! One socket per address; every connection goes to the worker with the fewest.
//! A listener that changes keeps its socket, one that goes stops accepting and
//! leaves its connections alone.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use weft_config::Destination;
use weft_process::sockets::{self, Lease};

use crate::{
    listen::listener::Listener,
    options::Sockets,
    worker::{Command, Handle},
};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// The pause when no connection can be accepted for lack of descriptors.
const RELIEF: Duration = Duration::from_millis(50);
/// How long a lender of sockets may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The listeners that are open.
pub struct Listeners {
    workers: Arc<Vec<Handle>>,
    sockets: Sockets,
    open: BTreeMap<String, Open>,
}

struct Open {
    bind: SocketAddr,
    listener: Arc<Listener>,
    own: StdTcpListener,
    accepting: Accepting,
    lent: Option<(Lease, Vec<Accepting>)>,
}

/// A task that accepts, and stops when this is dropped.
struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listeners {
    /// No listeners yet; connections will go to `workers`.
    pub fn new(workers: Arc<Vec<Handle>>, sockets: Sockets) -> Self {
        Self { workers, sockets, open: BTreeMap::new() }
    }

    /// Opens and closes sockets until they are those of `listeners`; false when some
    /// cannot be opened yet.
    pub fn reconcile<'l>(&mut self, listeners: impl Iterator<Item = &'l Arc<weft_config::Listener>>) -> bool {
        let wanted: BTreeMap<&str, &Arc<weft_config::Listener>> =
            listeners.map(|listener| (listener.name.as_str(), listener)).collect();
        self.open.retain(|name, open| {
            wanted.get(name.as_str()).is_some_and(|listener| listener.bind == open.bind)
        });
        let mut all = true;
        for (name, listener) in wanted {
            match self.open.get_mut(name) {
                Some(open) => open.change(listener, &self.workers),
                None => match Open::new(listener, &self.workers) {
                    Ok(open) => {
                        self.open.insert(name.to_owned(), open);
                    }
                    Err(error) => {
                        tracing::warn!(%error, listener = name, bind = %listener.bind,
                            "a listener cannot be opened; it is tried again");
                        all = false;
                    }
                },
            }
        }
        all
    }

    /// Asks for sockets that others lend, where none was lent so far.
    pub async fn borrow(&mut self) {
        let Sockets::Node(path) = &self.sockets else { return };
        for open in self.open.values_mut() {
            if open.lent.as_ref().is_some_and(|(lease, _)| lease.lender_is_gone()) {
                open.lent = None;
            }
            if open.lent.is_none() && open.listener.destination == Destination::Socket {
                open.lent = lent(path.clone(), open, &self.workers).await;
            }
        }
    }

    /// Where each listener's own socket is.
    pub fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        let address = |open: &Open| open.own.local_addr().unwrap_or(open.bind);
        self.open.iter().map(|(name, open)| (name.clone(), address(open))).collect()
    }

    /// Accepts nothing more.
    pub fn close(&mut self) {
        self.open.clear();
    }
}

impl Open {
    fn new(wanted: &weft_config::Listener, workers: &Arc<Vec<Handle>>) -> io::Result<Self> {
        let own = bind(wanted.bind)?;
        let listener = Arc::new(Listener::of(wanted));
        let accepting = accept(own.try_clone()?, &listener, workers)?;
        Ok(Self { bind: wanted.bind, listener, own, accepting, lent: None })
    }

    fn change(&mut self, wanted: &weft_config::Listener, workers: &Arc<Vec<Handle>>) {
        let listener = Listener::of(wanted);
        if *self.listener == listener {
            return;
        }
        self.listener = Arc::new(listener);
        self.lent = None;
        let accepting = self.own.try_clone().and_then(|own| accept(own, &self.listener, workers));
        match accepting {
            Ok(accepting) => self.accepting = accepting,
            Err(error) => tracing::warn!(%error, listener = wanted.name, "a changed listener"),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Lent sockets are a way in from elsewhere, beside the listener's own.
async fn lent(
    path: PathBuf,
    open: &Open,
    workers: &Arc<Vec<Handle>>,
) -> Option<(Lease, Vec<Accepting>)> {
    let port = open.bind.port();
    let asking = tokio::task::spawn_blocking(move || sockets::ask(&path, port));
    let lease = match timeout(PATIENCE, asking).await {
        Ok(Ok(Ok(lease))) => lease?,
        Ok(Ok(Err(error))) => {
            tracing::debug!(%error, port, "no socket is lent");
            return None;
        }
        Ok(Err(_)) | Err(_) => return None,
    };
    let listener = Arc::new(Listener { port: Some(port), ..(*open.listener).clone() });
    let accepting = lease.listeners.iter().map(|socket| {
        let socket = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        accept(socket, &listener, workers)
    });
    match accepting.collect::<io::Result<Vec<_>>>() {
        Ok(accepting) => Some((lease, accepting)),
        Err(error) => {
            tracing::warn!(%error, port, "a lent socket cannot be used");
            None
        }
    }
}

fn accept(
    socket: StdTcpListener,
    listener: &Arc<Listener>,
    workers: &Arc<Vec<Handle>>,
) -> io::Result<Accepting> {
    let socket = TcpListener::from_std(socket)?;
    let (listener, workers) = (Arc::clone(listener), Arc::clone(workers));
    Ok(Accepting(tokio::task::spawn_local(async move {
        loop {
            match socket.accept().await {
                Ok((stream, client)) => {
                    let Ok(stream) = stream.into_std() else { continue };
                    let least = workers.iter().min_by_key(|worker| worker.load());
                    if let Some(worker) = least {
                        worker.tell(Command::Serve(stream, Arc::clone(&listener), client));
                    }
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, listener = &*listener.name, "accepting a connection");
                    tokio::time::sleep(RELIEF).await;
                }
            }
        }
    })))
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
