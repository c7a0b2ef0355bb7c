//! HTTP/2 connections to one address, which exchanges share.
//!
//! A connection is made by a task of its own for all who wait, so that they wait
//! once, and learn of a failure together.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    rc::{Rc, Weak},
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::watch, time::Instant};

use super::{IDLE_LIMIT, Line, LineError};
use crate::{
    http::{executor::Local, request_body::RequestBody},
    io::stream::Stream,
};

/// Streams that may be under way on one connection before another is made; the
/// server may allow fewer.
const MOST_STREAMS: usize = 100;
/// Windows, so that one stream can fill a fast network.
const WINDOW: u32 = 1024 * 1024;
/// How many new connections may be closed at once by the server before an exchange gives up.
const PATIENCE: usize = 2;

/// The HTTP/2 connections to one address.
#[derive(Default)]
pub struct Shared {
    connections: RefCell<Vec<Connection>>,
    making: RefCell<Option<watch::Receiver<Made>>>,
}

struct Connection {
    sender: http2::SendRequest<RequestBody>,
    local: Option<SocketAddr>,
    streams: Rc<Cell<usize>>,
    /// Gone when the connection has ended.
    driver: Weak<RefCell<Driver>>,
    since: Instant,
}

/// What reads and writes; it knows what the server allows.
type Driver = http2::Connection<TokioIo<Stream>, RequestBody, Local>;

/// What came of making a connection; none while it is under way.
type Made = Option<Result<Weak<RefCell<Driver>>, Rc<LineError>>>;

/// An exchange's place on a connection.
pub struct Place {
    /// The connection.
    pub sender: http2::SendRequest<RequestBody>,
    /// The proxy's end.
    pub local: Option<SocketAddr>,
    _stream: StreamSlot,
}

/// One of the streams under way on a connection.
struct StreamSlot(Rc<Cell<usize>>);

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Shared {
    /// A place on a connection of `line`, and whether that was there before.
    pub async fn join(
        line: &Rc<Line>,
        mut preconnected: Option<Stream>,
        limit: Duration,
    ) -> Result<(Place, bool), Rc<LineError>> {
        if let Some(place) = line.shared.place() {
            return Ok((place, true));
        }
        let mut closed = 0;
        loop {
            let mut made = Self::make(line, preconnected.take(), limit);
            let lives = match made.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Err(error))) => return Err(Rc::clone(error)),
                Ok(Some(Ok(driver))) => driver.strong_count() > 0,
                Ok(None) | Err(_) => false,
            };
            if let Some(place) = line.shared.place() {
                return Ok((place, false));
            }
            // Where it lives, others were quicker: one more is made.
            closed += usize::from(!lives);
            if closed == PATIENCE {
                return Err(Rc::new(LineError::Closed));
            }
        }
    }

    /// Closes what was idle for too long; whether any is left.
    pub fn look(&self, now: Instant) -> bool {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|one| {
            let idle = now.duration_since(one.since) >= IDLE_LIMIT;
            !one.has_ended() && (one.streams.get() > 0 || !idle)
        });
        !connections.is_empty()
    }

    /// A place on the first connection that has room.
    fn place(&self) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|one| !one.has_ended());
        let one = connections.iter_mut().find(|one| one.has_room())?;
        one.since = Instant::now();
        one.streams.set(one.streams.get() + 1);
        let _stream = StreamSlot(Rc::clone(&one.streams));
        Some(Place { sender: one.sender.clone(), local: one.local, _stream })
    }

    /// Has a connection made, unless one is being made already.
    fn make(
        line: &Rc<Line>,
        preconnected: Option<Stream>,
        limit: Duration,
    ) -> watch::Receiver<Made> {
        let mut making = line.shared.making.borrow_mut();
        // A task that has panicked makes none any more.
        if let Some(making) = making.as_ref().filter(|making| making.has_changed().is_ok()) {
            return making.clone();
        }
        let (made, receiver) = watch::channel(None);
        *making = Some(receiver.clone());
        let line = Rc::clone(line);
        tokio::task::spawn_local(async move {
            let result = connection(&line, preconnected, limit).await;
            line.shared.making.borrow_mut().take();
            let result = result.map(|one| {
                let driver = Weak::clone(&one.driver);
                line.shared.connections.borrow_mut().push(one);
                driver
            });
            made.send_replace(Some(result.map_err(Rc::new)));
        });
        receiver
    }
}

impl Connection {
    fn has_ended(&self) -> bool {
        self.sender.is_closed() || self.driver.strong_count() == 0
    }

    fn has_room(&self) -> bool {
        let Some(driver) = self.driver.upgrade() else { return false };
        // A server that allows none for a while must not have one connection after
        // another made.
        let most = driver.borrow().current_max_send_streams().clamp(1, MOST_STREAMS);
        self.streams.get() < most
    }
}

async fn connection(
    line: &Line,
    preconnected: Option<Stream>,
    limit: Duration,
) -> Result<Connection, LineError> {
    let stream = match preconnected {
        Some(stream) => stream,
        None => line.connect(limit).await?,
    };
    let local = stream.local_addr();
    let (sender, connection) = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(Duration::from_secs(60))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(LineError::Handshake)?;
    let driver = Rc::new(RefCell::new(connection));
    let known = Rc::downgrade(&driver);
    tokio::task::spawn_local(async move {
        let ended = poll_fn(|context| Pin::new(&mut *driver.borrow_mut()).poll(context)).await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to a server broke");
        }
    });
    let streams = Rc::default();
    Ok(Connection { sender, local, streams, driver: known, since: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        dial::{DialError, Dialer, Way},
        pool::Lines,
    };
    use std::future::Future;

    fn line_to(address: SocketAddr) -> Rc<Line> {
        Lines::default().to(Way { address, application: false }, Dialer::default())
    }

    fn local<F: Future>(future: F) -> F::Output {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(Default::default());
        runtime.unwrap().block_on(future)
    }

    /// A listener that accepts nobody, and whose queue is full.
    fn deaf() -> (socket2::Socket, Vec<socket2::Socket>) {
        use socket2::{Domain, Socket, Type};
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = [(); 4].map(|()| {
            let client = socket();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        });
        (listener, waiting.into())
    }

    #[test]
    fn those_who_wait_for_a_connection_that_nobody_accepts_wait_once() {
        local(async {
            let (listener, _waiting) = deaf();
            let line = line_to(listener.local_addr().unwrap().as_socket().unwrap());
            let join = || Shared::join(&line, None, Duration::from_millis(50));
            let (one, two, three) = tokio::join!(join(), join(), join());
            let [one, two, three] =
                [one, two, three].map(|joined| joined.err().expect("nobody accepts"));
            assert!(matches!(&*one, LineError::Dial(DialError::Timeout(_))), "{one}");
            assert!(Rc::ptr_eq(&one, &two) && Rc::ptr_eq(&one, &three), "one after the other");
        });
    }

    #[test]
    fn those_who_wait_share_the_connection_that_is_made() {
        local(async {
            let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let line = line_to(server.local_addr().unwrap());
            let join = || Shared::join(&line, None, Duration::from_secs(5));
            let (one, two, _stream) = tokio::join!(join(), join(), server.accept());
            assert_eq!((one.is_ok(), two.is_ok()), (true, true));
            let connections = line.shared.connections.borrow();
            assert_eq!((connections.len(), connections[0].streams.get()), (1, 2));
        });
    }

    #[test]
    fn one_who_made_a_connection_and_is_no_more_is_not_waited_for() {
        local(async {
            let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let line = line_to(server.local_addr().unwrap());
            let (_, receiver) = watch::channel(None);
            line.shared.making.replace(Some(receiver));
            let joined = Shared::join(&line, None, Duration::from_secs(5)).await;
            assert!(joined.is_ok(), "a new one is made");
        });
    }
}
