//! From a URL to a stream of bytes: the name, the connection, TLS.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream, lookup_host},
};

use super::{Verbose, arguments::Options, failure::Failure, record::Record, tls, url::Url};

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How long connecting may take unless told otherwise.
const CONNECT_DEADLINE: Duration = Duration::from_secs(300);

/// Connects to the server of `url`.
pub(super) async fn connect(
    url: &Url,
    options: &Options,
    record: &mut Record,
    (mark, verbose): (Option<u32>, &mut Verbose<'_>),
) -> Result<Box<dyn Stream>, Failure> {
    let begun = Instant::now();
    record.method = options.verb().to_owned();
    let limit = options.connect_timeout.unwrap_or(CONNECT_DEADLINE);
    let work = async {
        let addresses = resolve(url, options).await?;
        record.resolved = begun.elapsed();
        let stream = dial(&addresses, mark, verbose).await.map_err(|error| Failure::Connect {
            host: url.host.clone(),
            port: url.port,
            waited: begun.elapsed(),
            why: reason(&error),
        })?;
        record.connected = begun.elapsed();
        record.remote = stream.peer_addr().ok();
        record.local = stream.local_addr().ok();
        if let Some(remote) = record.remote {
            let (host, ip, port) = (&url.host, remote.ip(), remote.port());
            verbose.say("*", &format!("Connected to {host} ({ip}) port {port}"));
        }
        if !url.secure {
            return Ok(Box::new(stream) as Box<dyn Stream>);
        }
        let stream = tls::secure(stream, url, options).await?;
        record.secured = begun.elapsed();
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ConnectTimeout { waited: begun.elapsed() }),
    }
}

/// What curl says of a connection that was not made.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Could not connect to server".to_owned(),
        _ => error.to_string(),
    }
}

async fn resolve(url: &Url, options: &Options) -> Result<Vec<SocketAddr>, Failure> {
    let given = options.resolve.iter().rev().find(|one| {
        (one.host == "*" || one.host.eq_ignore_ascii_case(&url.host)) && one.port == url.port
    });
    if let Some(given) = given {
        return Ok(vec![SocketAddr::new(given.address, url.port)]);
    }
    let found = lookup_host((url.host.as_str(), url.port)).await;
    let addresses: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
    match addresses.is_empty() {
        true => Err(Failure::Resolve(url.host.clone())),
        false => Ok(addresses),
    }
}

/// Connects to the first address that accepts.
async fn dial(
    addresses: &[SocketAddr],
    mark: Option<u32>,
    verbose: &mut Verbose<'_>,
) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        verbose.say("*", &format!("  Trying {address}..."));
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(mark) = mark {
            set_mark(&socket, mark)?;
        }
        match socket.connect(*address).await {
            Ok(stream) => {
                // A socket that refuses the option is only slower.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Marks the socket. A process without that right is not root of its network
/// namespace, and capture then recognises it by its user.
fn set_mark(socket: &TcpSocket, mark: u32) -> io::Result<()> {
    match SockRef::from(socket).set_mark(mark) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}
