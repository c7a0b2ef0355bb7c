//! Pools that share a limit, as those of several workers do.

use std::{cell::Cell, net::SocketAddr};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use weft_balance::{CircuitBreaker, Register};
use weft_config::{ConnectionPool as Settings, Limits};

use super::*;
use crate::upstream::{
    dial::{DialTarget, Dialer},
    pool::{ConnectionPools, PooledConnection},
    pool_key::{PoolKey, Transport},
};

/// What gets no stream gives up soon.
const LIMITS: Limits = Limits { stalled: Duration::from_secs(1), ..Limits::sidecar() };
const WITHIN: (Duration, &Limits) = (Duration::from_secs(5), &LIMITS);
const HANGS: Duration = Duration::from_secs(20);

/// A server that allows so many streams of HTTP/2, and keeps all connections.
#[derive(Default)]
struct Server {
    streams: RefCell<Vec<TcpStream>>,
    accepted: Cell<usize>,
}

impl Server {
    /// Begins with these bytes on each connection.
    async fn start(hello: Vec<u8>) -> (Rc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (server, address) = (Rc::<Self>::default(), listener.local_addr().unwrap());
        let accepting = Rc::clone(&server);
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepting.accepted.set(accepting.accepted.get() + 1);
                stream.write_all(&hello).await.unwrap();
                accepting.streams.borrow_mut().push(stream);
            }
        });
        (server, address)
    }
}

/// SETTINGS that allow so many streams.
fn settings(streams: u8) -> Vec<u8> {
    vec![0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, streams]
}

/// Pools to `address`, one of each of two workers.
fn pools(settings: &Settings, address: SocketAddr) -> [Rc<ConnectionPool>; 2] {
    let breaker = CircuitBreaker::new(settings, &Register::default().backend("one"));
    let policy = Arc::new(ConnectionPolicy { data: settings.clone(), breaker, id: 1 });
    let target = DialTarget { address, application: false };
    let key = PoolKey { target, transport: Transport::of(&LIMITS), policy: Some(1) };
    [(); 2].map(|()| ConnectionPools::default().get(key, &Dialer::default(), Some(&policy)))
}

fn most(connections: u32) -> Settings {
    Settings { max_connections: Some(connections), ..Settings::default() }
}

async fn http2(pool: &Rc<ConnectionPool>) -> Result<PooledConnection, Rc<PoolError>> {
    pool.http2(None, WITHIN).await
}

fn local<F: Future>(future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async { timeout(HANGS, future).await.expect("nothing hangs") })
}

/// Runs what can run by now.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn where_no_connection_may_be_opened_a_crowded_one_is_used_at_once() {
    local(async {
        let (_server, address) = Server::start(settings(9)).await;
        let [pool, _] = pools(&most(1), address);
        let first = http2(&pool).await;
        pool.http2.client(0).make_crowded();
        let second = http2(&pool).await;
        assert!(first.is_ok() && second.is_ok(), "{:?}", second.err());
    });
}

#[test]
fn where_no_more_may_wait_a_crowded_connection_is_used() {
    local(async {
        let (_server, address) = Server::start(settings(9)).await;
        let settings = Settings { max_pending: Some(1), ..Settings::default() };
        let [pool, _] = pools(&settings, address);
        let first = http2(&pool).await;
        pool.http2.client(0).make_crowded();
        let _waiting = pool.limited.as_ref().unwrap().pending().unwrap();
        let second = http2(&pool).await;
        assert!(first.is_ok() && second.is_ok(), "{:?}", second.err());
    });
}

#[test]
fn a_connection_that_takes_no_more_requests_counts_until_it_is_closed() {
    local(async {
        let (server, address) = Server::start(settings(9)).await;
        let settings = Settings { max_requests_per_connection: Some(1), ..most(1) };
        let [pool, _] = pools(&settings, address);
        let first = http2(&pool).await;
        let second = http2(&pool).await.err();
        assert!(matches!(second.as_deref(), Some(PoolError::Overflow)), "{second:?}");
        let (third, ()) = tokio::join!(http2(&pool), async {
            settle().await;
            drop(first);
        });
        assert!(third.is_ok(), "{:?}", third.err());
        assert_eq!(server.accepted.get(), 2);
    });
}

#[test]
fn each_slot_of_a_new_connection_is_for_one_that_waits() {
    local(async {
        let (_server, address) = Server::start(settings(2)).await;
        let [pool, other] = pools(&most(2), address);
        let held = other.open_now().unwrap();
        let _full = (http2(&pool).await.unwrap(), http2(&pool).await.unwrap());
        let (one, two, ()) = tokio::join!(http2(&pool), http2(&pool), async {
            settle().await;
            drop(held);
        });
        assert!(one.is_ok() && two.is_ok(), "{:?} {:?}", one.err(), two.err());
    });
}

#[test]
fn when_a_server_allows_more_streams_what_waits_has_them() {
    local(async {
        let (server, address) = Server::start(settings(1)).await;
        let [pool, _] = pools(&most(1), address);
        let _full = http2(&pool).await.unwrap();
        let (one, two, ()) = tokio::join!(http2(&pool), http2(&pool), async {
            settle().await;
            server.streams.borrow_mut()[0].try_write(&settings(3)).unwrap();
        });
        assert!(one.is_ok() && two.is_ok(), "{:?} {:?}", one.err(), two.err());
    });
}

#[test]
fn what_finds_no_stream_when_it_looks_keeps_its_place() {
    local(async {
        let (_server, address) = Server::start(settings(1)).await;
        let [pool, other] = pools(&most(2), address);
        let held = other.open_now().unwrap();
        let _full = http2(&pool).await.unwrap();
        let order = RefCell::new(Vec::new());
        let ask = async |name| {
            let joined = http2(&pool).await;
            order.borrow_mut().push((name, joined.is_ok()));
            joined
        };
        let _ = tokio::join!(ask("first"), ask("second"), async {
            settle().await;
            pool.limited.as_ref().unwrap().stream_freed();
            settle().await;
            drop(held);
        });
        assert_eq!(*order.borrow(), [("first", true), ("second", false)]);
    });
}

#[test]
fn as_many_may_wait_as_connections_are_free_elsewhere() {
    local(async {
        let (_server, address) = Server::start(Vec::new()).await;
        let settings = Settings { max_pending: Some(1), ..most(2) };
        let [here, there] = pools(&settings, address);
        let idle = tokio::join!(here.http1(None, WITHIN, 1), here.http1(None, WITHIN, 1));
        idle.0.unwrap().release(None);
        idle.1.unwrap().release(None);
        let (one, two) = tokio::join!(there.http1(None, WITHIN, 1), there.http1(None, WITHIN, 1));
        assert!(one.is_ok() && two.is_ok(), "{:?} {:?}", one.err(), two.err());
    });
}

#[test]
fn a_connection_whose_request_left_while_it_was_made_is_given_up_when_it_is_wanted() {
    local(async {
        let (server, address) = Server::start(settings(9)).await;
        let [here, there] = pools(&most(1), address);
        tokio::select! {
            biased;
            _ = http2(&here) => panic!("nothing is accepted yet"),
            () = std::future::ready(()) => {}
        }
        while server.streams.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let begun = there.http1(None, WITHIN, 1).await;
        assert!(begun.is_ok(), "{:?}", begun.err());
    });
}

#[test]
fn no_more_connections_are_given_up_than_are_wanted() {
    local(async {
        let (_server, address) = Server::start(settings(1)).await;
        let [here, there] = pools(&most(2), address);
        let (one, two) = (http2(&here).await.unwrap(), http2(&here).await.unwrap());
        one.release(None);
        two.release(None);
        let begun = there.http1(None, WITHIN, 1).await;
        assert!(begun.is_ok(), "{:?}", begun.err());
        settle().await;
        assert!(here.http2.has_unused(), "only one of the two was wanted");
    });
}

#[test]
fn a_connection_that_is_there_needs_no_second_place() {
    local(async {
        let (server, address) = Server::start(settings(1)).await;
        let [pool, _] = pools(&most(2), address);
        let _full = http2(&pool).await.unwrap();
        let there = pool.connect(HANGS).await.unwrap();
        let joined = pool.http2(Some(there), WITHIN).await;
        assert!(joined.is_ok(), "{:?}", joined.err());
        assert_eq!(server.accepted.get(), 2);
    });
}

#[test]
fn a_connection_serves_one_request_however_short_its_life_is() {
    let short = Some(Duration::from_nanos(1));
    for settings in [
        Settings { max_duration: short, ..Settings::default() },
        Settings { idle: short, ..Settings::default() },
        Settings { max_duration: short, ..most(1) },
    ] {
        local(async {
            let (server, address) = Server::start(self::settings(9)).await;
            let [pool, _] = pools(&settings, address);
            let joined = http2(&pool).await;
            assert!(joined.is_ok(), "{:?}", joined.err());
            assert_eq!(server.accepted.get(), 1);
        });
    }
}
