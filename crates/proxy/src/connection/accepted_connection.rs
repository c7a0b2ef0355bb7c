//! A connection as it was accepted, and where its client meant it to go.

use std::{
    io,
    net::{SocketAddr, TcpStream as StdTcpStream},
};

use socket2::SockRef;
use tokio::net::TcpStream;
use weft_config::{Destination, ProcessLimits};

use crate::{
    connection::close_reason::CloseReason,
    io::{socket_options, stream::Stream},
    listen::listener::Listener,
};

/// A connection as it was accepted.
pub struct AcceptedConnection {
    /// Its bytes.
    pub stream: Stream,
    /// The other end's address.
    pub client: SocketAddr,
    /// This end's address.
    pub local: SocketAddr,
    /// The address that the client dialled, as far as the socket shows it.
    pub destination: SocketAddr,
}

impl AcceptedConnection {
    /// What `socket`, accepted for `listener` from `client`, is.
    pub fn tcp(
        socket: StdTcpStream,
        client: SocketAddr,
        listener: &Listener,
        limits: &ProcessLimits,
    ) -> Result<Self, CloseReason> {
        // Both fail only for connections that are gone already.
        let local = socket.local_addr().map_err(|_| CloseReason::Broken)?;
        let stream = TcpStream::from_std(socket).map_err(|_| CloseReason::Broken)?;
        let (keep_alive, user_timeout) = (limits.tcp_keep_alive, limits.tcp_user_timeout);
        let _ = socket_options::set(SockRef::from(&stream), keep_alive, user_timeout);
        let destination = match listener.destination {
            Destination::Socket => listener.lent.unwrap_or(local),
            Destination::Kernel => match original_destination(&stream, local) {
                Ok(original) if original == local => return Err(CloseReason::Loop),
                Ok(original) => original,
                Err(error) => {
                    tracing::debug!(%error, %client, "the kernel knows no destination");
                    return Err(CloseReason::NoDestination);
                }
            },
        };
        Ok(Self { stream: stream.into(), client, local, destination })
    }
}

/// What the kernel remembers of a connection that it redirected.
fn original_destination(stream: &TcpStream, local: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let remembered = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(address) => match address.ip().to_ipv4_mapped() {
            Some(_) => socket.original_dst_v4(),
            None => socket.original_dst_v6(),
        },
    }?;
    remembered.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}
