//! How many connections this process carries for pods and for the host's programs.
//!
//! Each takes descriptors of process 1, which the API server and the node need too. What a
//! kind of connection may take is a share of all descriptors; within it each peer has a
//! bound, and one that has many makes room for one that has few.

use std::{io, sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use weft_process::peers::{Bodies, Connection, Limits, Peers};

/// The pause when no connection can be accepted for lack of descriptors.
pub(crate) const RELIEF: Duration = Duration::from_millis(50);
/// How long a connection waits for room.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than this does not help.
const MOST_DESCRIPTORS: u64 = 1 << 16;
/// What the host is asked for at a time, and by one peer: each takes a descriptor there
/// until it is known whether the target answers.
const ASKED: (usize, usize) = (512, 64);

/// Lets this process have as many descriptors as it may have.
pub(crate) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of descriptors stays");
    }
}

/// The part of this process's descriptors that a kind of connection may take.
pub(crate) fn share(part: usize) -> usize {
    let all = getrlimit(Resource::Nofile).current.unwrap_or(MOST_DESCRIPTORS);
    usize::try_from(all.min(MOST_DESCRIPTORS)).unwrap_or(usize::MAX) / part
}

/// At most so many connections, and of one peer. The machine's own programs are one peer,
/// which the pods do not keep out. A connection that was not used for long makes room.
pub(crate) fn peers(connections: usize, of_peer: usize) -> Arc<Peers> {
    let (turns, turns_of_peer) = ASKED;
    let bodies = Bodies { longest: 0, small: 0, shared: 0, large_of_peer: 0, small_of_peer: 0 };
    Peers::new(Limits {
        connections,
        of_peer,
        of_machine: connections,
        waiting: connections / 8 + 1,
        waiting_of_peer: of_peer / 8 + 1,
        turns,
        turns_of_peer,
        bodies,
    })
}

/// Accepts connections for as long as this is polled. Each is carried until `carry` ends, or
/// until it makes room for another one. It does so when it is the one that was not used for
/// longest, unless `carry` says that it is busy.
pub(crate) async fn accept<C, F>(listener: Arc<TcpListener>, peers: Arc<Peers>, carry: C)
where
    C: Fn(TcpStream, Connection) -> F + Clone + Send + 'static,
    F: Future<Output = io::Result<()>> + Send,
{
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(RELIEF).await;
            continue;
        };
        let Some(arrival) = peers.arrive(peer.ip()) else {
            tracing::debug!(%peer, "a peer with too many connections");
            let _ = reset(&stream);
            continue;
        };
        let carry = carry.clone();
        tokio::spawn(async move {
            let Ok(Some(connection)) = timeout(PATIENCE, arrival.enter()).await else {
                let _ = reset(&stream);
                return;
            };
            // What is carried has no handshake.
            connection.established();
            let carried = tokio::select! {
                () = connection.closed() => return,
                carried = carry(stream, connection.clone()) => carried,
            };
            if let Err(error) = carried {
                tracing::debug!(%peer, %error, "a connection of a peer");
            }
        });
    }
}

/// Ends a connection in the way that a refusal looks most like.
pub(crate) fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn a_peer_has_no_more_busy_connections_than_it_may_have() {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let peers = peers(2, 2);
        let (sender, mut carried) = tokio::sync::mpsc::unbounded_channel();
        let carry = move |stream: TcpStream, connection: Connection| {
            sender.send(()).unwrap();
            async move {
                let _held = (stream, connection.begin());
                std::future::pending().await
            }
        };
        tokio::spawn(accept(listener, Arc::clone(&peers), carry));
        let _first = (connect(address).await, connect(address).await);
        for _ in 0..2 {
            carried.recv().await.unwrap();
        }
        // One may wait; the next is refused.
        let mut third = connect(address).await;
        let fourth = async { TcpStream::connect(address).await?.read(&mut [0]).await };
        assert!(fourth.await.is_err());
        tokio::time::pause();
        assert!(third.read(&mut [0]).await.is_err(), "it has waited long enough");
        assert!(carried.try_recv().is_err());
        assert_eq!(peers.connections(), 2);
    }
}
