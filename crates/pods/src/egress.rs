//! Relays connections of pods to addresses outside the mesh.
//!
//! The router redirects them here. The host makes the outgoing socket in its own
//! namespaces and passes it over.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
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
    let outside = {
        // So that a pod whose targets do not answer keeps none of the host's from the others.
        let (_busy, _turn) = (connection.begin(), connection.turn().await);
        link.dial(address, destination.port()).await
    };
    let Ok(outside) = outside else { return reset(&inside) };
    outside.set_nonblocking(true)?;
    relay(inside, TcpStream::from_std(outside)?, connection).await
}
