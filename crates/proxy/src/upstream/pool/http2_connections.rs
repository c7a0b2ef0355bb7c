//! HTTP/2 connections to one address, which exchanges share.
//!
//! A connection is made by a task of its own for all who wait, so that they wait
//! once, and learn of a failure together.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use weft_balance::{ConnectionPermit, Grant};
use weft_config::Limits;

use super::{
    ConnectionPool, PoolError,
    limited::{Limited, Room},
};
use crate::{
    http::http2::client::{Client, StreamSlot},
    io::{gathered::GatheredWriter, stream::Stream},
    upstream::dial::DialError,
};

/// How many new connections may be closed at once by the server before an exchange gives up.
const PATIENCE: usize = 2;

/// The HTTP/2 connections to one address.
#[derive(Default)]
pub struct Http2Connections {
    connections: RefCell<Vec<Connection>>,
    making: RefCell<Option<watch::Receiver<Made>>>,
}

struct Connection {
    client: Rc<Client>,
    local: Option<SocketAddr>,
    since: Cell<Instant>,
    made: Instant,
}

/// What came of making a connection; none while it is under way. It stays for those who waited
/// for it until each has looked.
type Made = Option<Result<(Rc<Client>, Option<SocketAddr>), Rc<PoolError>>>;

/// A slot for a stream, the proxy's end of its connection, and how long that was not used.
type Joined = (StreamSlot, Option<SocketAddr>, Option<Duration>);

/// What ends the wait where connections are limited.
enum Turn {
    /// A connection may be opened, or is being opened.
    Open(Room),
    /// A stream is free.
    Slot(Joined),
}

impl Http2Connections {
    /// A slot on a connection of `pool`.
    pub async fn join(
        pool: &Rc<ConnectionPool>,
        preconnected: Option<Stream>,
        within: (Duration, &Limits),
    ) -> Result<Joined, Rc<PoolError>> {
        if let Some((slot, local, idle)) = pool.http2.slot(pool, |client| !client.is_crowded()) {
            return Ok((slot, local, Some(idle)));
        }
        // What few requests need does not make the others larger.
        Box::pin(Self::join_new(pool, preconnected, within)).await
    }

    /// A slot on a connection that is made, or waited for.
    async fn join_new(
        pool: &Rc<ConnectionPool>,
        mut preconnected: Option<Stream>,
        (limit, limits): (Duration, &Limits),
    ) -> Result<Joined, Rc<PoolError>> {
        let mut closed = 0;
        loop {
            let room = match &pool.limited {
                Some(limited) if preconnected.is_none() => {
                    match Self::room(pool, limited, limits.stalled).await? {
                        Turn::Open(room) => room,
                        Turn::Slot(joined) => return Ok(joined),
                    }
                }
                _ => Room::default(),
            };
            let begun = (preconnected.take(), room.permit);
            let mut making = Self::make(pool, begun, (limit, *limits));
            let _pending = room.pending;
            let made = making.wait_for(Option::is_some).await.ok().and_then(|made| made.clone());
            let own = match made {
                // Better one whose windows are small than none.
                Some(Err(error)) => return pool.http2.any(pool).ok_or(error),
                Some(Ok(own)) => Some(own),
                None => None,
            };
            let uncrowded = pool.http2.slot(pool, |client| !client.is_crowded());
            if let Some((slot, local, _)) = uncrowded {
                return Ok((slot, local, None));
            }
            // It serves those it was made for, however short the life of a connection is.
            let lives = own.as_ref().is_some_and(|(client, _)| !client.has_ended());
            let own = own.filter(|_| lives);
            if let Some((slot, local)) = own.and_then(|(one, local)| Some((one.slot()?, local))) {
                return Ok((slot, local, None));
            }
            if let Some((slot, local, _)) = pool.http2.any(pool) {
                return Ok((slot, local, None));
            }
            // Where it lives, others were quicker: one more is made.
            closed += usize::from(!lives);
            if closed == PATIENCE {
                return Err(Rc::new(PoolError::Closed));
            }
        }
    }

    /// The right to open one more connection, or a slot that is free.
    async fn room(
        pool: &Rc<ConnectionPool>,
        limited: &Limited,
        limit: Duration,
    ) -> Result<Turn, Rc<PoolError>> {
        let room = match pool.http2.is_making() {
            true if limited.is_counted() => Ok(Some(Room::default())),
            true => limited.pending().map(|pending| Some(Room { permit: None, pending })),
            false => limited.open_http2(),
        };
        if let Ok(Some(room)) = room {
            return Ok(Turn::Open(room));
        }
        // Better one whose windows are small than none, or a long wait.
        if let Some(joined) = pool.http2.any(pool) {
            return Ok(Turn::Slot(joined));
        }
        room?;
        let due = Instant::now() + limit;
        // One place in the queue, however often it looks.
        let Some(mut waiting) = limited.wait_http2()? else {
            return Ok(Turn::Open(Room::default()));
        };
        loop {
            tokio::select! {
                grant = &mut waiting => match grant {
                    Grant::Open(permit) => return Ok(Turn::Open(permit.into())),
                    // None is kept for what waits for streams.
                    Grant::Kept => return Err(Rc::new(PoolError::Overflow)),
                },
                () = limited.next_stream() => {}
                () = sleep_until(due) => return Err(Rc::new(PoolError::Overflow)),
            }
            if let Some(joined) = pool.http2.any(pool) {
                return Ok(Turn::Slot(joined));
            }
        }
    }

    /// Closes what was idle for too long; whether any is left.
    pub fn close_idle(&self, now: Instant, pool: &ConnectionPool) -> bool {
        let mut connections = self.connections.borrow_mut();
        let limit = pool.idle_limit();
        connections.retain(|one| {
            let idle = limit.is_some_and(|limit| now.duration_since(one.since.get()) >= limit);
            is_usable(pool, one) && (one.client.open() > 0 || !idle)
        });
        !connections.is_empty()
    }

    /// Closes a connection without a stream that nobody was just given, if there is one and it
    /// `is_given_up`; whether it did.
    pub fn close_unused(&self, is_given_up: impl FnOnce() -> bool) -> bool {
        let mut connections = self.connections.borrow_mut();
        let is_unused =
            |one: &Connection| one.client.open() == 0 && Rc::strong_count(&one.client) == 1;
        let Some(at) = connections.iter().position(is_unused) else { return false };
        if !is_given_up() {
            return false;
        }
        drop(connections.remove(at));
        true
    }

    /// Whether a connection has no stream.
    pub fn has_unused(&self) -> bool {
        self.connections.borrow().iter().any(|one| one.client.open() == 0)
    }

    /// One of them.
    #[cfg(test)]
    pub fn client(&self, at: usize) -> Rc<Client> {
        Rc::clone(&self.connections.borrow()[at].client)
    }

    /// Whether a connection is being made. A task that has panicked makes none any more.
    fn is_making(&self) -> bool {
        self.making.borrow().as_ref().is_some_and(|making| making.has_changed().is_ok())
    }

    /// A slot on any connection, even one whose windows are small.
    fn any(&self, pool: &ConnectionPool) -> Option<Joined> {
        let (slot, local, idle) = self.slot(pool, |_| true)?;
        Some((slot, local, Some(idle)))
    }

    /// A slot on the first connection that has room and `suits`, with how long that was not used.
    fn slot(
        &self,
        pool: &ConnectionPool,
        suits: impl Fn(&Client) -> bool,
    ) -> Option<(StreamSlot, Option<SocketAddr>, Duration)> {
        let mut connections = self.connections.borrow_mut();
        // Streams that are open keep the others alive.
        connections.retain(|one| is_usable(pool, one));
        let now = Instant::now();
        let free = |one: &Connection| {
            let slot = suits(&one.client).then(|| one.client.slot())??;
            Some((slot, one.local, now.duration_since(one.since.replace(now))))
        };
        connections.iter().find_map(free)
    }

    /// Has a connection made, unless one is being made already.
    fn make(
        pool: &Rc<ConnectionPool>,
        begun: (Option<Stream>, Option<ConnectionPermit>),
        within: (Duration, Limits),
    ) -> watch::Receiver<Made> {
        let mut making = pool.http2.making.borrow_mut();
        // A task that has panicked makes none any more.
        if let Some(making) = making.as_ref().filter(|making| making.has_changed().is_ok()) {
            return making.clone();
        }
        let (made, receiver) = watch::channel(None);
        *making = Some(receiver.clone());
        let pool = Rc::clone(pool);
        tokio::task::spawn_local(async move {
            let result = connection(&pool, begun, within).await;
            pool.http2.making.borrow_mut().take();
            let result = result.map(|one| {
                let own = (Rc::clone(&one.client), one.local);
                pool.http2.connections.borrow_mut().push(one);
                own
            });
            let client = result.as_ref().ok().map(|(client, _)| Rc::clone(client));
            // Those it was made for look first.
            made.send_replace(Some(result.map_err(Rc::new)));
            if let (Some(client), Some(limited)) = (client, &pool.limited) {
                limited.http2_made(&client);
            }
        });
        receiver
    }
}

fn is_usable(pool: &ConnectionPool, connection: &Connection) -> bool {
    let Connection { client, since, made, .. } = connection;
    let has_aged = |limited: &Limited| {
        let idle = limited.kept_idle().is_some_and(|limit| since.get().elapsed() >= limit);
        limited.is_worn_out(*made, 0) || (idle && client.open() == 0)
    };
    !client.has_ended() && !client.is_worn_out() && !pool.limited.as_ref().is_some_and(has_aged)
}

async fn connection(
    pool: &ConnectionPool,
    (preconnected, permit): (Option<Stream>, Option<ConnectionPermit>),
    (limit, mut limits): (Duration, Limits),
) -> Result<Connection, PoolError> {
    let policy = pool.limited.as_ref().map(Limited::policy);
    if let Some(ping) = policy.and_then(|policy| policy.data.ping) {
        (limits.keep_alive, limits.keep_alive_answer) = (ping.interval, ping.answer);
    }
    let due = Instant::now() + limit;
    let stream = match preconnected {
        Some(stream) => stream,
        None => pool.dialer.dial(pool.key.target, limit).await?.counted_by(permit),
    };
    let local = stream.local_addr();
    let beginning = Client::begin(GatheredWriter(stream), &limits, &pool.tally);
    let client = match timeout_at(due, beginning).await {
        Ok(client) => client.map_err(PoolError::Handshake)?,
        Err(_) => return Err(PoolError::Dial(DialError::Timeout(limit))),
    };
    if let Some(policy) = policy {
        client.limit_streams(policy.data.max_streams, policy.data.max_requests_per_connection);
    }
    let now = Instant::now();
    Ok(Connection { client: Rc::new(client), local, since: Cell::new(now), made: now })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        dial::{DialError, DialTarget, Dialer},
        pool::ConnectionPools,
        pool_key::{PoolKey, Transport},
    };
    use std::future::Future;

    const LIMITS: Limits = Limits::sidecar();

    fn pool_to(address: SocketAddr) -> Rc<ConnectionPool> {
        let target = DialTarget { address, application: false };
        let key = PoolKey { target, transport: Transport::of(&LIMITS), policy: None };
        ConnectionPools::default().get(key, &Dialer::default(), None)
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
            let pool = pool_to(listener.local_addr().unwrap().as_socket().unwrap());
            let join = || Http2Connections::join(&pool, None, (Duration::from_millis(50), &LIMITS));
            let (one, two, three) = tokio::join!(join(), join(), join());
            let [one, two, three] =
                [one, two, three].map(|joined| joined.err().expect("nobody accepts"));
            assert!(matches!(&*one, PoolError::Dial(DialError::Timeout(_))), "{one}");
            assert!(Rc::ptr_eq(&one, &two) && Rc::ptr_eq(&one, &three), "one after the other");
        });
    }

    /// A server that allows what it does not limit, on every connection that it accepts.
    async fn server() -> SocketAddr {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let mut streams = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                streams.push(stream);
            }
        });
        address
    }

    #[test]
    fn those_who_wait_share_the_connection_that_is_made() {
        local(async {
            let pool = pool_to(server().await);
            let join = || Http2Connections::join(&pool, None, (Duration::from_secs(5), &LIMITS));
            let (one, two) = tokio::join!(join(), join());
            assert_eq!((one.is_ok(), two.is_ok()), (true, true));
            let connections = pool.http2.connections.borrow();
            assert_eq!((connections.len(), connections[0].client.open()), (1, 2));
        });
    }

    #[test]
    fn where_much_is_not_read_others_have_a_connection_of_their_own() {
        local(async {
            let pool = pool_to(server().await);
            let join = || Http2Connections::join(&pool, None, (Duration::from_secs(5), &LIMITS));
            let client = |at: usize| Rc::clone(&pool.http2.connections.borrow()[at].client);
            let _unread = join().await;
            client(0).make_crowded();
            let _other = join().await;
            let _third = join().await;
            assert_eq!((client(0).open(), client(1).open()), (1, 2));
        });
    }

    #[test]
    fn where_no_connection_can_be_made_a_crowded_one_is_used() {
        local(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let pool = pool_to(listener.local_addr().unwrap());
            let join = || Http2Connections::join(&pool, None, (Duration::from_secs(5), &LIMITS));
            let accept = async {
                use tokio::io::AsyncWriteExt;
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
                stream
            };
            let (first, _stream) = tokio::join!(join(), accept);
            drop(listener);
            let client = Rc::clone(&pool.http2.connections.borrow()[0].client);
            client.make_crowded();
            let second = join().await;
            assert_eq!((first.is_ok(), second.is_ok(), client.open()), (true, true, 2));
        });
    }

    #[test]
    fn one_who_made_a_connection_and_is_no_more_is_not_waited_for() {
        local(async {
            let pool = pool_to(server().await);
            let (_, receiver) = watch::channel(None);
            pool.http2.making.replace(Some(receiver));
            let joined =
                Http2Connections::join(&pool, None, (Duration::from_secs(5), &LIMITS)).await;
            assert!(joined.is_ok(), "a new one is made");
        });
    }
}
