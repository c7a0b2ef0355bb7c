//! One connection, from its first byte: where it was meant to go, and what
//! serves it.

pub mod downstream;
pub mod direction;
pub mod proxy_protocol;
pub mod first_bytes;
pub mod server_first;
pub mod tcp;
pub mod relay;

use std::{
    cell::{OnceCell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};
use weft_config::{Destination, Interest};
use weft_decide::{Connection, Reply, Scope, Tcp};

use crate::{
    admin::drain::Guard,
    connection::{
        downstream::{Downstream, IdleTimer},
        first_bytes::{DetectedProtocol, detect},
        proxy_protocol::{self, NoHeader},
        server_first::{self, First},
        tcp,
    },
    http::server,
    io::peeked::PeekedStream,
    listen::listener::Listener,
    worker::Worker,
};

/// How long a PROXY protocol header may take.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long the first bytes of a connection may take, and the rest of what tells what
/// is spoken.
const FIRST_BYTES_DEADLINE: Duration = Duration::from_secs(3600);
/// How often one connection may ask for more configuration.
const MOST_QUESTIONS: usize = 2;

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum Unusable {
    #[error("reading from the connection")]
    Io(#[from] io::Error),
    #[error("the kernel does not know where the connection was meant to go")]
    NoDestination(#[source] io::Error),
    #[error("the connection was not redirected here, and leads back to this proxy")]
    Loop,
    #[error(transparent)]
    Header(#[from] NoHeader),
    #[error("nothing was said in time")]
    Silent,
}

/// Where a connection comes from, and where it was meant to go.
struct Ends {
    client: SocketAddr,
    destination: SocketAddr,
    local: SocketAddr,
}

/// Serves a connection until it ends; `guard` says when that should be soon.
pub async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    (stream, client): (TcpStream, SocketAddr),
    guard: Guard,
) {
    // It fails only for connections that are gone already.
    let _ = stream.set_nodelay(true);
    let mut stream = PeekedStream::new(stream);
    let ends = match ends(&mut stream, &listener, client).await {
        Ok(ends) => ends,
        Err(error) => {
            tracing::debug!(%error, %client, listener = &*listener.name, "a connection is closed");
            return;
        }
    };
    let decided = decide(&worker, &listener, ends.destination).await;
    let downstream = |scope| {
        let Ends { client, destination, local } = ends;
        let (worker, listener) = (Rc::clone(&worker), Arc::clone(&listener));
        Rc::new(Downstream {
            worker,
            listener,
            client,
            destination,
            local,
            scope,
            text: OnceCell::new(),
            idle_timer: IdleTimer::default(),
            preconnected: RefCell::default(),
        })
    };
    match decided {
        Connection::Http(scope) => http(downstream(Some(scope)), stream, guard).await,
        Connection::Detect(scope) => undeclared(downstream(Some(scope)), stream, guard).await,
        Connection::Tcp(target) => tcp::relay(&downstream(None), stream, &target, None).await,
        Connection::Refuse(reply) => tcp::refuse(&downstream(None), &reply),
        Connection::Ask(_) => tcp::refuse(&downstream(None), &Reply::closed()),
    }
}

async fn ends(stream: &mut PeekedStream, listener: &Listener, client: SocketAddr) -> Result<Ends, Unusable> {
    let local = stream.stream().local_addr()?;
    match listener.destination {
        Destination::Socket => {
            let port = listener.port.unwrap_or(local.port());
            Ok(Ends { client, destination: SocketAddr::new(local.ip(), port), local })
        }
        Destination::Kernel => {
            let destination = original_destination(stream.stream(), local)?;
            match destination == local {
                true => Err(Unusable::Loop),
                false => Ok(Ends { client, destination, local }),
            }
        }
        Destination::ProxyProtocol => {
            let header = timeout(HEADER_DEADLINE, header(stream)).await;
            let addresses = header.map_err(|_| Unusable::Silent)??;
            let (client, destination) = addresses.unwrap_or((client, local));
            Ok(Ends { client, destination, local })
        }
    }
}

/// What the kernel remembers of a connection that it redirected.
fn original_destination(stream: &TcpStream, local: SocketAddr) -> Result<SocketAddr, Unusable> {
    let socket = SockRef::from(stream);
    let remembered = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(address) => match address.ip().to_ipv4_mapped() {
            Some(_) => socket.original_dst_v4(),
            None => socket.original_dst_v6(),
        },
    };
    let remembered = remembered.map_err(Unusable::NoDestination)?;
    remembered
        .as_socket()
        .ok_or_else(|| Unusable::NoDestination(io::Error::from(io::ErrorKind::Unsupported)))
}

async fn header(stream: &mut PeekedStream) -> Result<Option<(SocketAddr, SocketAddr)>, Unusable> {
    loop {
        match proxy_protocol::read(stream.seen()) {
            Ok(header) => {
                stream.skip(header.length);
                return Ok(header.addresses);
            }
            Err(NoHeader::Incomplete) if stream.look().await? => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What serves the connection, asking for configuration where that is needed.
async fn decide(worker: &Worker, listener: &Listener, destination: SocketAddr) -> Connection {
    let mut asked: Option<Interest> = None;
    for _ in 0..=MOST_QUESTIONS {
        let decided = worker.decide(|table, _| table.connection(&listener.name, destination, &mut ()));
        let Connection::Ask(interest) = decided else { return decided };
        if asked.as_ref() == Some(&interest) || !worker.asks.ask(interest.clone()).await {
            break;
        }
        asked = Some(interest);
    }
    Connection::Refuse(Reply { status: None, ..Reply::config_unavailable() })
}

/// A declared port: HTTP by its first bytes, else whatever the scope has for that.
async fn http(downstream: Rc<Downstream>, mut stream: PeekedStream, guard: Guard) {
    let spoken = timeout(FIRST_BYTES_DEADLINE, first(&mut stream)).await;
    let Ok(Some(spoken)) = spoken else { return };
    begin(downstream, stream, spoken, guard).await;
}

/// An undeclared port: the application may speak first.
async fn undeclared(downstream: Rc<Downstream>, mut stream: PeekedStream, guard: Guard) {
    let Some(tcp) = tcp_of(&downstream) else { return http(downstream, stream, guard).await };
    let listening = server_first::listen(&downstream, &mut stream, &tcp);
    let Ok(heard) = timeout(FIRST_BYTES_DEADLINE, listening).await else { return };
    match heard {
        First::Client => http(downstream, stream, guard).await,
        First::Server(connected) => {
            tcp::relay(&downstream, stream, &tcp, Some(*connected)).await;
        }
        First::Neither => {}
    }
}

async fn begin(downstream: Rc<Downstream>, stream: PeekedStream, spoken: DetectedProtocol, guard: Guard) {
    match (spoken, tcp_of(&downstream)) {
        (DetectedProtocol::Http1, _) => server::http1(downstream, stream, guard).await,
        (DetectedProtocol::Http2, _) => server::http2(downstream, stream, guard).await,
        (_, Some(tcp)) => tcp::relay(&downstream, stream, &tcp, None).await,
        (DetectedProtocol::Tls, None) => {}
        // The codec says what is wrong with it.
        (_, None) => server::http1(downstream, stream, guard).await,
    }
}

fn tcp_of(downstream: &Downstream) -> Option<Tcp> {
    downstream.scope.as_ref().and_then(|scope: &Scope| scope.tcp.clone())
}

/// What the client speaks; none when it left without a word.
async fn first(stream: &mut PeekedStream) -> Option<DetectedProtocol> {
    loop {
        match detect(stream.seen()) {
            DetectedProtocol::Unclear => match stream.look().await {
                Ok(true) => {}
                Ok(false) if stream.seen().is_empty() => return None,
                Ok(false) => return Some(DetectedProtocol::Other),
                Err(_) => return None,
            },
            clear => return Some(clear),
        }
    }
}
