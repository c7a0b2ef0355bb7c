//! Connections to servers.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use weft_config::{ProcessLimits, TcpKeepAlive};

use crate::{
    io::{socket_options, stream::Stream},
    listen::file_descriptors,
    upstream::reach::{OwnSockets, Reach},
};

/// Connections to the application come from here, so that capture leaves them alone.
pub const TO_APPLICATION: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// How connections are made; copies of one go by the same limits.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    mark: Option<u32>,
    reach: Reach,
    limits: Arc<DialLimits>,
    own: OwnSockets,
    /// How the connections of one pool are probed, where its backend says.
    probes: Option<TcpKeepAlive>,
}

/// What the proxy's limits mean for every socket that is made.
#[derive(Debug)]
struct DialLimits {
    keep_alive: AtomicU64,
    user_timeout: AtomicU64,
    /// Descriptors from this number on are in reserve.
    reserve: AtomicU64,
}

impl Default for DialLimits {
    fn default() -> Self {
        let this = Self {
            keep_alive: AtomicU64::default(),
            user_timeout: AtomicU64::default(),
            reserve: AtomicU64::default(),
        };
        this.set(&ProcessLimits::new());
        this
    }
}

impl DialLimits {
    fn set(&self, limits: &ProcessLimits) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.keep_alive.store(millis(limits.tcp_keep_alive), Relaxed);
        self.user_timeout.store(millis(limits.tcp_user_timeout), Relaxed);
        self.reserve.store(file_descriptors::first_reserved(limits), Relaxed);
    }
}

/// Where to connect to, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DialTarget {
    /// The address of the server.
    pub address: SocketAddr,
    /// Whether the server is the application behind this proxy, which is dialled from
    /// [`TO_APPLICATION`].
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
    /// A dialer whose sockets have `mark`, for packet filters to know them by.
    pub fn new(mark: Option<u32>) -> Self {
        Self { mark, ..Self::default() }
    }

    /// A dialer as this one, for connections to addresses within `reach`.
    pub fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The addresses that may be dialled for others; who asks for a connection heeds it.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The mark of every outgoing socket.
    pub fn mark(&self) -> Option<u32> {
        self.mark
    }

    /// Goes by these limits from now on, and so do all copies.
    pub fn limit(&self, limits: &ProcessLimits) {
        self.limits.set(limits);
    }

    /// Connections to `own` come back to this proxy, and are not made.
    pub fn sparing(self, own: OwnSockets) -> Self {
        Self { own, ..self }
    }

    /// A dialer as this one, whose connections are probed in this way.
    pub fn probing(self, probes: Option<TcpKeepAlive>) -> Self {
        Self { probes, ..self }
    }

    /// Connects within `limit`.
    pub async fn dial(&self, target: DialTarget, limit: Duration) -> Result<Stream, DialError> {
        self.dial_tcp(target, limit).await.map(Stream::from)
    }

    /// Connects within `limit` for one of a client's exchanges, of which so many are `under_way`.
    pub async fn dial_for(
        &self,
        target: DialTarget,
        limit: Duration,
        under_way: usize,
    ) -> Result<Stream, DialError> {
        self.dial_one(target, limit, under_way).await.map(Stream::from)
    }

    /// Connects within `limit`, for what needs the socket itself.
    pub async fn dial_tcp(
        &self,
        target: DialTarget,
        limit: Duration,
    ) -> Result<TcpStream, DialError> {
        self.dial_one(target, limit, 0).await
    }

    async fn dial_one(
        &self,
        target: DialTarget,
        limit: Duration,
        under_way: usize,
    ) -> Result<TcpStream, DialError> {
        match timeout(limit, self.connect(target, under_way)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(DialError::Refused(error)),
            Err(_) => Err(DialError::Timeout(limit)),
        }
    }

    async fn connect(&self, target: DialTarget, under_way: usize) -> io::Result<TcpStream> {
        if self.own.include(target.address) {
            return Err(io::Error::other("the address is this proxy's own"));
        }
        let socket = match target.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // The kernel gives the lowest free number.
        let number = u64::try_from(socket.as_raw_fd()).unwrap_or_default();
        let reserved = self.limits.reserve.load(Relaxed);
        if let Some(refusal) = file_descriptors::refusal(number, reserved, under_way) {
            return Err(io::Error::other(refusal));
        }
        if let Some(mark) = self.mark {
            SockRef::from(&socket).set_mark(mark)?;
        }
        if target.application && target.address.is_ipv4() {
            // Otherwise the port is taken for all destinations at once, until 60 seconds
            // after the connection has ended, and ports run out.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            socket.bind(SocketAddr::new(IpAddr::V4(TO_APPLICATION), 0))?;
        }
        let time = |millis: &AtomicU64| Duration::from_millis(millis.load(Relaxed));
        let keep_alive = time(&self.limits.keep_alive);
        let user_timeout = time(&self.limits.user_timeout);
        socket_options::set(SockRef::from(&socket), keep_alive, user_timeout)?;
        if let Some(probes) = &self.probes {
            socket_options::probe(SockRef::from(&socket), probes)?;
        }
        socket.connect(target.address).await
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
            let target = DialTarget { address, application };
            let _stream = Dialer::default().dial(target, Duration::from_secs(5)).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.ip().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn every_connection_is_probed_and_ends_when_nothing_is_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = DialTarget { address: listener.local_addr().unwrap(), application: true };
        let dialer = Dialer::default();
        let other = ProcessLimits {
            tcp_keep_alive: Duration::from_secs(7),
            tcp_user_timeout: Duration::from_secs(9),
            ..ProcessLimits::new()
        };
        for limits in [ProcessLimits::new(), other] {
            let copy = dialer.clone();
            dialer.limit(&limits);
            let stream = copy.dial_tcp(target, Duration::from_secs(5)).await.unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), limits.tcp_keep_alive);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(limits.tcp_user_timeout));
        }
    }

    #[tokio::test]
    async fn a_backend_may_have_other_probes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = DialTarget { address: listener.local_addr().unwrap(), application: false };
        let probes = TcpKeepAlive {
            probes: Some(3),
            time: Some(Duration::from_secs(11)),
            interval: Some(Duration::from_secs(5)),
        };
        let dialer = Dialer::default().probing(Some(probes));
        let stream = dialer.dial_tcp(target, Duration::from_secs(5)).await.unwrap();
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(11));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn descriptors_in_reserve_are_not_used() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = DialTarget { address: listener.local_addr().unwrap(), application: false };
        let dialer = Dialer::default();
        dialer.limits.reserve.store(0, Relaxed);
        let refused = dialer.dial(target, Duration::from_secs(5)).await.unwrap_err();
        let DialError::Refused(error) = refused else { panic!("{refused}") };
        assert_eq!(error.to_string(), "too few file descriptors are left");
        dialer.limit(&ProcessLimits::new());
        assert!(dialer.dial(target, Duration::from_secs(5)).await.is_ok());
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
            let target = DialTarget { address: server.local_addr().unwrap(), application: true };
            let dialled = Dialer::default().dial(target, Duration::from_secs(5)).await;
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
        let target = DialTarget { address, application: false };
        let error = Dialer::default().dial(target, Duration::from_secs(5)).await.unwrap_err();
        let DialError::Refused(error) = error else { panic!("{error}") };
        assert_eq!(reason(&error), "delayed_connect_error:_Connection_refused");
    }
}
