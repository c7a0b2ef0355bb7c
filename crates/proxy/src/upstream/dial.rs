//! Connections to servers.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
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
    /// Nobody answered in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Refused, unreachable, or out of sockets.
    #[error("no connection")]
    Refused(#[source] io::Error),
}

impl Dialer {
    /// Connects within `limit`.
    pub async fn dial(&self, way: Way, limit: Duration) -> Result<TcpStream, DialError> {
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
        if let Some(mark) = self.mark {
            SockRef::from(&socket).set_mark(mark)?;
        }
        if way.application && way.address.is_ipv4() {
            socket.bind(SocketAddr::new(IpAddr::V4(TO_APPLICATION), 0))?;
        }
        let stream = socket.connect(way.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
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
