//! Relays connections of pods to addresses outside the mesh.
//!
//! The router redirects them here. The host makes the outgoing socket in its own
//! namespaces and passes it over.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream as StdTcpStream},
    sync::Arc,
};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use weft_process::peers::Connection;

use crate::{
    admit::{self, reset},
    link::HostLink,
    network::{GATEWAY, HOST},
    relay::relay,
};

/// The part of all descriptors that connections beyond the mesh may take, with two each.
const PART: usize = 8;

/// Relays connections until it is dropped; gives the port to redirect them to.
pub(crate) async fn serve(link: HostLink) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let port = listener.local_addr()?.port();
    let link = Arc::new(link);
    let connections = admit::share(PART);
    let peers = admit::peers(connections, connections / 4);
    let carry = move |stream, connection: Connection| {
        let link = Arc::clone(&link);
        async move { carry(&link, stream, &connection).await }
    };
    tokio::spawn(admit::accept(Arc::new(listener), peers, carry));
    Ok(port)
}

async fn carry(link: &HostLink, inside: TcpStream, connection: &Connection) -> io::Result<()> {
    let destination = SockRef::from(&inside).original_dst_v4()?.as_socket();
    let Some(SocketAddr::V4(destination)) = destination else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    let address = match *destination.ip() {
        HOST => None,
        // The client dialled this relay itself.
        GATEWAY => return reset(&inside),
        address => Some(IpAddr::V4(address)),
    };
    let dialled = dial(link, address, destination.port(), connection).await;
    let Ok(outside) = dialled else { return reset(&inside) };
    outside.set_nonblocking(true)?;
    relay(inside, TcpStream::from_std(outside)?, connection).await
}

/// Has the host make a connection for `connection`, in its turn, so that a pod whose targets do
/// not answer keeps none of the host's from the others.
async fn dial(
    link: &HostLink,
    address: Option<IpAddr>,
    port: u16,
    connection: &Connection,
) -> io::Result<StdTcpStream> {
    let taken = (connection.begin(), connection.turn().await);
    let link = link.clone();
    // It counts until the host has answered, though its connection may have made room for
    // another one by then. It ends when the host has answered, after ten seconds at the latest.
    let dialling = tokio::spawn(async move {
        let _taken = taken;
        link.dial(address, port).await
    });
    dialling.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::{FutureExt as _, poll};
    use serde_json::Value;
    use weft_process::peers::Turn;

    use super::*;
    use crate::channel::{self, Channel, Egress, Response, ToHost, ToSupervisor};

    /// A link, and the host's end of it.
    async fn link() -> (HostLink, Channel) {
        let (host, own) = channel::pair().unwrap();
        let host = Channel::new(host).unwrap();
        let start = ToSupervisor::Start { egress: Egress::Open, settings: Value::Null };
        host.send(&start, &[]).await.unwrap();
        (HostLink::open(own).await.unwrap().0, host)
    }

    /// The turns that a peer has at once.
    fn turns(connection: &Connection) -> Vec<Turn> {
        // More than the runtime lets one task do at a time.
        std::iter::from_fn(|| tokio::task::unconstrained(connection.turn()).now_or_never())
            .collect()
    }

    #[tokio::test]
    async fn a_dial_counts_until_the_host_has_answered_though_its_connection_is_gone() {
        let (link, host) = link().await;
        let peers = admit::peers(8, 4);
        let enter = async || {
            let arrival = peers.arrive([10, 244, 0, 2].into()).expect("room");
            arrival.enter().await.expect("room")
        };
        let first = enter().await;
        let all = turns(&first).len();
        let (free, id) = {
            let mut dialling = std::pin::pin!(dial(&link, None, 1, &first));
            assert!(poll!(&mut dialling).is_pending());
            let asked = host.receive::<ToHost>().await.unwrap().expect("a question");
            let ToHost::Ask { id, .. } = asked.0 else { panic!("{asked:?}") };
            (peers.free_turns(), id)
        };
        // Neither the connection nor what has been waiting for the dial is there any more.
        drop(first);
        let second = enter().await;
        assert_eq!(peers.free_turns(), free);
        let taken = turns(&second);
        assert_eq!(taken.len(), all - 1, "nor is the peer's count forgotten");
        let mut next = std::pin::pin!(second.turn());
        assert!(matches!(poll!(&mut next), Poll::Pending));
        let answer = Response::Failed { text: "no answer".to_owned(), code: None };
        host.send(&ToSupervisor::Response { id, answer }, &[]).await.unwrap();
        next.await;
    }
}
