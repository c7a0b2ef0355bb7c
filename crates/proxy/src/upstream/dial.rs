//! Connections to servers.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use weft_config::ProcessLimits;

use crate::{
    io::{socket_options, stream::Stream},
    listen::descriptors,
};

/// Connections to the application come from here, so that capture leaves them alone.
pub const TO_APPLICATION: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// How connections are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dialer {
    /// The mark of every outgoing socket, for packet filters to know it by.
    pub mark: Option<u32>,
}

/// Where to and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// Where to.
    pub address: SocketAddr,
    /// Whether the application behind this proxy is meant.
    pub application: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Refused, unreachable, or out of sockets.
    #[error("no connection")]
    Refused(#[source] io::Error),
}

impl Dialer {
    /// Connects within `limit`.
    pub async fn dial(&self, way: Way, limit: Duration) -> Result<Stream, DialError> {
        self.dial_tcp(way, limit).await.map(Stream::from)
    }

    /// Connects within `limit`, for what needs the socket itself.
    pub async fn dial_tcp(&self, way: Way, limit: Duration) -> Result<TcpStream, DialError> {
        match timeout(limit, self.connect(way)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(DialError::Refused(error)),
            Err(_) => Err(DialError::Timeout(limit)),
        }
    }

    async fn connect(&self, way: Way) -> io::Result<TcpStream> {
        let socket = match way.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if descriptors::is_reserved(socket.as_raw_fd()) {
            return Err(io::Error::other("too few file descriptors are left"));
        }
        if let Some(mark) = self.mark {
            SockRef::from(&socket).set_mark(mark)?;
        }
        if way.application && way.address.is_ipv4() {
            // Otherwise the port is taken for all destinations at once, until 60 seconds
            // after the connection has ended, and ports run out.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            socket.bind(SocketAddr::new(IpAddr::V4(TO_APPLICATION), 0))?;
        }
        socket_options::set(SockRef::from(&socket), &ProcessLimits::new())?;
        socket.connect(way.address).await
    }
}

/// What the kernel says about a refused connection, in the words of access logs.
pub fn reason(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection_refused".to_owned(),
        io::ErrorKind::HostUnreachable => "No_route_to_host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "Network_is_unreachable".to_owned(),
        io::ErrorKind::ConnectionReset => "Connection_reset_by_peer".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().replace(' ', "_")
        }
    };
    format!("delayed_connect_error:_{words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn the_application_is_dialled_from_the_address_that_capture_leaves_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (application, expected) in [(true, "127.0.0.6"), (false, "127.0.0.1")] {
            let way = Way { address, application };
            let _stream = Dialer::default().dial(way, Duration::from_secs(5)).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.ip().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn every_connection_is_probed_and_ends_when_nothing_is_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Way { address: listener.local_addr().unwrap(), application: true };
        let stream = Dialer::default().dial_tcp(way, Duration::from_secs(5)).await.unwrap();
        let socket = SockRef::from(&stream);
        let limits = ProcessLimits::new();
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), limits.tcp_keep_alive);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limits.tcp_user_timeout));
    }

    /// More than the 28,232 ports that there are by default. Each connection waits for
    /// a minute after its end, since this side ends it.
    #[tokio::test]
    async fn short_connections_to_an_application_do_not_use_up_the_ports() {
        const CONNECTIONS: usize = 40_000;
        const SERVERS: usize = 4;
        let mut servers = Vec::new();
        for _ in 0..SERVERS {
            servers.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        for at in 0..CONNECTIONS {
            let server = &servers[at % SERVERS];
            let way = Way { address: server.local_addr().unwrap(), application: true };
            let dialled = Dialer::default().dial(way, Duration::from_secs(5)).await;
            let Ok(stream) = dialled else { panic!("{dialled:?} after {at} connections") };
            let accepted = server.accept().await.unwrap();
            drop(stream);
            drop(accepted);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_says_so_in_the_words_of_the_log() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let way = Way { address, application: false };
        let error = Dialer::default().dial(way, Duration::from_secs(5)).await.unwrap_err();
        let DialError::Refused(error) = error else { panic!("{error}") };
        assert_eq!(reason(&error), "delayed_connect_error:_Connection_refused");
    }
}
