//! Connections to servers, kept by each worker for itself.
//!
//! A line is what there is towards one address. HTTP/1 connections are used by
//! one exchange at a time, the last one used first; an HTTP/2 connection is
//! shared. Which address a request goes to is not decided here.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Mutex, time::Instant};
use weft_balance::{InFlight, Member};
use weft_decide::CompiledBackend;

use crate::{
    dial::{DialError, Dialer, Way},
    executor::Local,
    request_body::{RequestBody, Source},
    telemetry::PeerId,
    whole::Whole,
};

/// Idle connections to one address.
const MOST_IDLE: usize = 256;
/// Idle connections are closed after this.
const IDLE_LIMIT: Duration = Duration::from_secs(5 * 60);
/// Streams that HTTP/2 may have under way on one connection before another is made.
const MOST_STREAMS: usize = 100;
/// Windows of HTTP/2, so that one stream can fill a fast network.
const WINDOW: u32 = 1024 * 1024;

/// All lines of a worker.
#[derive(Default)]
pub struct Lines {
    lines: RefCell<HashMap<Way, Rc<Line>>>,
}

/// What there is towards one address.
pub struct Line {
    way: Way,
    dialer: Dialer,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    /// Connections made before it was known what is to be spoken.
    spare: RefCell<Vec<TcpStream>>,
    making: Mutex<()>,
    peers: RefCell<Vec<Known>>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    local: Option<SocketAddr>,
    since: Instant,
}

struct Shared {
    sender: http2::SendRequest<RequestBody>,
    local: Option<SocketAddr>,
    streams: Rc<Cell<usize>>,
    since: Instant,
}

/// Who the endpoint is for metrics, when reached through a backend.
struct Known {
    backend: Arc<CompiledBackend>,
    member: Option<Arc<Member>>,
    peer: PeerId,
}

/// A connection that an exchange uses.
pub struct Lease {
    line: Rc<Line>,
    sender: Sender,
    /// The proxy's end.
    pub local: Option<SocketAddr>,
    /// Whether it served an exchange before.
    pub reused: bool,
    /// The count of the endpoint's exchanges.
    pub in_flight: Option<InFlight>,
    /// The request's body, which must be through before the connection serves another.
    pub source: Option<Rc<Source>>,
}

/// What is sent on.
pub enum Sender {
    /// Used by one exchange.
    Http1(http1::SendRequest<RequestBody>),
    /// Shared; the count goes down when the exchange is over.
    Http2 {
        /// The connection.
        sender: http2::SendRequest<RequestBody>,
        /// The exchange's place on it.
        _stream: Streams,
    },
    /// Given back.
    Gone,
}

/// One of the streams under way on a connection.
pub struct Streams(Rc<Cell<usize>>);

impl Drop for Streams {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Why there is no connection to send on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// None could be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was made, and HTTP could not be begun on it.
    #[error("beginning HTTP")]
    Handshake(#[source] hyper::Error),
}

impl Lines {
    /// The line towards `way`.
    pub fn to(&self, way: Way, dialer: Dialer) -> Rc<Line> {
        if let Some(line) = self.lines.borrow().get(&way) {
            return Rc::clone(line);
        }
        let line = Rc::new(Line {
            way,
            dialer,
            idle: RefCell::default(),
            shared: RefCell::default(),
            spare: RefCell::default(),
            making: Mutex::new(()),
            peers: RefCell::default(),
        });
        self.lines.borrow_mut().insert(way, Rc::clone(&line));
        line
    }

    /// Closes what was idle for too long, and forgets lines that nobody uses.
    pub fn sweep(&self, now: Instant) {
        self.lines.borrow_mut().retain(|_, line| {
            line.sweep(now);
            Rc::strong_count(line) > 1 || !line.is_empty()
        });
    }
}

impl Line {
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.way.address
    }

    /// Keeps a connection that was made before it was known what is to be spoken.
    pub fn keep_spare(&self, stream: TcpStream) {
        self.spare.borrow_mut().push(stream);
    }

    /// A connection on which nothing was said yet.
    pub async fn connect(&self, limit: Duration) -> Result<TcpStream, DialError> {
        let spare = self.spare.borrow_mut().pop();
        match spare {
            Some(stream) => Ok(stream),
            None => self.dialer.dial(self.way, limit).await,
        }
    }

    /// A connection that nobody else uses, made within `limit` if there is none.
    pub async fn http1(self: &Rc<Self>, limit: Duration) -> Result<Lease, LineError> {
        while let Some(idle) = self.pop_idle() {
            let Idle { mut sender, local, .. } = idle;
            if sender.is_ready() || poll_fn(|context| sender.poll_ready(context)).await.is_ok() {
                return Ok(self.lease(Sender::Http1(sender), local, true));
            }
        }
        let stream = self.connect(limit).await?;
        let local = stream.local_addr().ok();
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(Whole(stream)))
            .await
            .map_err(LineError::Handshake)?;
        tokio::task::spawn_local(connection.with_upgrades());
        Ok(self.lease(Sender::Http1(sender), local, false))
    }

    /// A stream's place on a shared connection, made within `limit` if there is none.
    pub async fn http2(self: &Rc<Self>, limit: Duration) -> Result<Lease, LineError> {
        if let Some(lease) = self.join_shared() {
            return Ok(lease);
        }
        let _one_at_a_time = self.making.lock().await;
        if let Some(lease) = self.join_shared() {
            return Ok(lease);
        }
        let stream = self.connect(limit).await?;
        let local = stream.local_addr().ok();
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .keep_alive_interval(Duration::from_secs(60))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(LineError::Handshake)?;
        tokio::task::spawn_local(connection);
        let streams = Rc::new(Cell::new(1));
        let shared = Shared {
            sender: sender.clone(),
            local,
            streams: streams.clone(),
            since: Instant::now(),
        };
        self.shared.borrow_mut().push(shared);
        Ok(self.lease(Sender::Http2 { sender, _stream: Streams(streams) }, local, false))
    }

    /// The number that metrics know the endpoint by; `make` is asked once.
    pub fn peer(
        &self,
        backend: &Arc<CompiledBackend>,
        member: Option<&Arc<Member>>,
        make: impl FnOnce() -> PeerId,
    ) -> PeerId {
        let mut peers = self.peers.borrow_mut();
        let same = |known: &&Known| {
            Arc::ptr_eq(&known.backend, backend)
                && known.member.as_ref().map(Arc::as_ptr) == member.map(Arc::as_ptr)
        };
        if let Some(known) = peers.iter().find(same) {
            return known.peer;
        }
        if peers.len() >= 16 {
            // Tables that were replaced leave entries behind.
            peers.clear();
        }
        let peer = make();
        peers.push(Known { backend: Arc::clone(backend), member: member.cloned(), peer });
        peer
    }

    fn lease(self: &Rc<Self>, sender: Sender, local: Option<SocketAddr>, reused: bool) -> Lease {
        Lease { line: Rc::clone(self), sender, local, reused, in_flight: None, source: None }
    }

    fn pop_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        while let Some(last) = idle.pop() {
            if !last.sender.is_closed() {
                return Some(last);
            }
        }
        None
    }

    fn join_shared(self: &Rc<Self>) -> Option<Lease> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|one| !one.sender.is_closed());
        let one = shared.iter_mut().find(|one| one.streams.get() < MOST_STREAMS)?;
        one.since = Instant::now();
        one.streams.set(one.streams.get() + 1);
        let _stream = Streams(one.streams.clone());
        let sender = Sender::Http2 { sender: one.sender.clone(), _stream };
        Some(self.lease(sender, one.local, true))
    }

    fn sweep(&self, now: Instant) {
        let fresh = |since: Instant| now.duration_since(since) < IDLE_LIMIT;
        self.idle.borrow_mut().retain(|idle| fresh(idle.since) && !idle.sender.is_closed());
        self.shared.borrow_mut().retain(|shared| {
            !shared.sender.is_closed() && (shared.streams.get() > 0 || fresh(shared.since))
        });
        self.spare.borrow_mut().clear();
    }

    fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }
}

impl Lease {
    /// What to send on.
    pub fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// The exchange is over, and its answer was read to the end.
    pub fn give_back(&mut self) {
        self.in_flight = None;
        let sent = self.source.take().is_none_or(|source| source.has_ended());
        if let Sender::Http1(sender) = std::mem::replace(&mut self.sender, Sender::Gone)
            && sent
            && !sender.is_closed()
        {
            let mut idle = self.line.idle.borrow_mut();
            if idle.len() < MOST_IDLE {
                idle.push(Idle { sender, local: self.local, since: Instant::now() });
            }
        }
    }
}
