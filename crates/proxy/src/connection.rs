//! One connection, from its first byte: where it was meant to go, and what
//! serves it.

pub mod accepted_connection;
pub mod downstream;
pub mod direction;
pub mod close_reason;
pub mod proxy_protocol;
pub mod protocol_detection;
pub mod client_hello;
pub mod server_first;
pub mod tcp;
pub mod relay;

use std::{
    cell::{OnceCell, RefCell},
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::time::{sleep, timeout};
use weft_config::Layer;
use weft_decide::{ClientHello, Connection, Flag, Flags, Scope, Tcp};

use crate::{
    config::on_demand::decide_with_hello,
    connection::{
        accepted_connection::AcceptedConnection,
        client_hello::NoHello,
        close_reason::CloseReason,
        downstream::Downstream,
        protocol_detection::{DetectedProtocol, Detector, begins_http1},
        proxy_protocol::NoHeader,
        server_first::First,
    },
    http::{
        http1::{self, head_timeout},
        http2,
    },
    io::peeked::PeekedStream,
    listen::listener::Listener,
    telemetry::outcome::{Kind, Outcome},
    worker::open_connections::ConnectionGuard,
    worker::state::WorkerState,
};

/// How long a client that has sent nothing is waited for when the proxy ends.
const DRAIN_GRACE: Duration = Duration::from_millis(100);

/// Where a connection comes from, and where it was meant to go.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    destination: SocketAddr,
    local: SocketAddr,
}

/// A connection that has not been given to a protocol yet.
struct Arrived {
    downstream: Rc<Downstream>,
    stream: PeekedStream,
    guard: ConnectionGuard,
}

/// Serves a connection until it ends; `guard` says when that should be soon, or at once.
pub async fn serve(
    worker: Rc<WorkerState>,
    listener: Arc<Listener>,
    accepted: AcceptedConnection,
    guard: ConnectionGuard,
) {
    let closed = Arc::clone(&worker.closed);
    let shed = guard.shed();
    tokio::select! {
        biased;
        () = shed => closed.count(CloseReason::Shed),
        () = begin(worker, listener, accepted, guard) => {}
    }
}

async fn begin(
    worker: Rc<WorkerState>,
    listener: Arc<Listener>,
    accepted: AcceptedConnection,
    guard: ConnectionGuard,
) {
    let AcceptedConnection { stream, client, local, destination } = accepted;
    let mut ends = Ends { client, destination, local };
    let mut stream = PeekedStream::new(stream);
    let layers = peel(&mut stream, &listener, &mut ends);
    if let Err(reason) = until_drained(&guard, layers).await {
        let downstream = downstream(&worker, &listener, ends, (None, &guard));
        return close(&Rc::new(downstream), reason, &stream);
    }
    let (mut broke, mut named) = (None, None);
    let hello = async || {
        let hello = until_drained(&guard, hello(&mut stream, &listener)).await;
        let hello = hello.unwrap_or_else(|reason| {
            broke = Some(reason);
            None
        });
        named = hello.as_ref().and_then(|hello: &ClientHello| hello.server_name.clone());
        hello
    };
    let decided = decide_with_hello(&worker, hello, |table, answers, _| {
        table.connection(&listener.name, ends.destination, answers, &mut ())
    })
    .await;
    if let Some(reason) = broke {
        let downstream = downstream(&worker, &listener, ends, (None, &guard));
        return close(&Rc::new(downstream), reason, &stream);
    }
    let arrived = |stream, scope| {
        let downstream = Downstream {
            server_name: named,
            ..downstream(&worker, &listener, ends, (scope, &guard))
        };
        Arrived { downstream: Rc::new(downstream), stream, guard }
    };
    let decided = match decided {
        Ok(decided) => decided,
        Err(reply) => return tcp::refuse(&arrived(stream, None).downstream, &reply),
    };
    match decided {
        Connection::Http(scope) => declared(arrived(stream, Some(scope))).await,
        // What most connections are has no room for what others need.
        Connection::Detect(scope) => Box::pin(undeclared(arrived(stream, Some(scope)))).await,
        Connection::Tcp(target) => {
            let arrived = arrived(stream, None);
            Box::pin(tcp::relay(&arrived.downstream, arrived.stream, &target, None)).await;
        }
    }
}

fn downstream(
    worker: &Rc<WorkerState>,
    listener: &Arc<Listener>,
    ends: Ends,
    (scope, guard): (Option<Scope>, &ConnectionGuard),
) -> Downstream {
    let Ends { client, destination, local } = ends;
    Downstream {
        worker: Rc::clone(worker),
        listener: Arc::clone(listener),
        client,
        destination,
        local,
        server_name: None,
        scope,
        text: OnceCell::new(),
        idle_timer: guard.idle_timer(),
        counts: guard.counts(),
        preconnected: RefCell::default(),
    }
}

/// Takes off the layers of `listener`, the outermost first.
async fn peel(
    stream: &mut PeekedStream,
    listener: &Listener,
    ends: &mut Ends,
) -> Result<(), CloseReason> {
    for layer in &*listener.layers {
        match layer {
            Layer::ProxyProtocol => {
                let header = timeout(listener.limits.head, header(stream)).await;
                let addresses = header.map_err(|_| CloseReason::Silent)??;
                if let Some((client, destination)) = addresses {
                    (ends.client, ends.destination) = (client, destination);
                }
            }
        }
    }
    Ok(())
}

async fn header(
    stream: &mut PeekedStream,
) -> Result<Option<(SocketAddr, SocketAddr)>, CloseReason> {
    loop {
        match proxy_protocol::read(stream.seen()) {
            Ok(header) => {
                stream.skip(header.length);
                return Ok(header.addresses);
            }
            Err(NoHeader::Incomplete) => match stream.look().await {
                Ok(true) => {}
                Ok(false) if stream.seen().is_empty() => return Err(CloseReason::ClientLeft),
                Ok(false) => return Err(CloseReason::ProxyHeader),
                Err(_) => return Err(CloseReason::Broken),
            },
            Err(_) => return Err(CloseReason::ProxyHeader),
        }
    }
}

/// What the client says first, if that is TLS.
async fn hello(
    stream: &mut PeekedStream,
    listener: &Listener,
) -> Result<Option<ClientHello>, CloseReason> {
    if stream.seen().is_empty() {
        let first = timeout(listener.limits.idle, first(stream));
        first.await.map_err(|_| CloseReason::Silent)??;
    }
    let whole = timeout(listener.limits.head, async {
        loop {
            match client_hello::read(stream.seen()) {
                Ok(hello) => return Ok(Some(hello)),
                Err(NoHello::Incomplete) => match stream.look().await {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(_) => return Err(CloseReason::Broken),
                },
                Err(_) => return Ok(None),
            }
        }
    });
    whole.await.map_err(|_| CloseReason::Silent)?
}

/// A declared port: HTTP by its first bytes, else whatever the scope has for that.
async fn declared(mut arrived: Arrived) {
    let limits = arrived.downstream.listener.limits;
    let Arrived { downstream, stream, guard } = &mut arrived;
    let detected = until_drained(guard, async {
        if stream.seen().is_empty() {
            timeout(limits.idle, first(stream)).await.map_err(|_| CloseReason::Silent)??;
        }
        let detecting = timeout(limits.head, detect(stream));
        detecting.await.map_err(|_| CloseReason::Silent)?
    });
    match detected.await {
        Ok(detected) => serve_protocol(arrived, detected).await,
        Err(CloseReason::Silent) if tcp_of(downstream).is_none() && begins_http1(stream.seen()) => {
            head_timeout::answer(downstream, stream).await;
        }
        Err(reason) => close(downstream, reason, stream),
    }
}

/// An undeclared port: the application may speak first.
async fn undeclared(mut arrived: Arrived) {
    let Some(tcp) = tcp_of(&arrived.downstream) else { return declared(arrived).await };
    let limits = arrived.downstream.listener.limits;
    let Arrived { downstream, stream, guard } = &mut arrived;
    let listening = until_drained(guard, async {
        let listening = server_first::listen(downstream, stream, &tcp);
        timeout(limits.idle, listening).await.map_err(|_| CloseReason::Silent)
    });
    match listening.await {
        Ok(First::Client) => declared(arrived).await,
        Ok(First::Server(connected)) => {
            tcp::relay(&arrived.downstream, arrived.stream, &tcp, Some(*connected)).await;
        }
        Ok(First::Neither(reason)) | Err(reason) => close(downstream, reason, stream),
    }
}

async fn serve_protocol(arrived: Arrived, detected: DetectedProtocol) {
    let Arrived { downstream, stream, guard } = arrived;
    match (detected, tcp_of(&downstream)) {
        (DetectedProtocol::Http1, _) => http1::server::serve(downstream, stream, guard).await,
        (DetectedProtocol::Http2, _) => http2::server::serve(downstream, stream, guard).await,
        (_, Some(tcp)) => Box::pin(tcp::relay(&downstream, stream, &tcp, None)).await,
        (DetectedProtocol::Tls, None) => unexpected_tls(&downstream, &stream),
        // The codec says what is wrong with it.
        (_, None) => http1::server::serve(downstream, stream, guard).await,
    }
}

/// Closes a TLS connection where plaintext is expected, with a line that says which server it
/// was for, as far as that has arrived.
fn unexpected_tls(downstream: &Rc<Downstream>, stream: &PeekedStream) {
    let hello = client_hello::read(stream.seen());
    tracing::debug!(listener = &*downstream.listener.name, client = %downstream.client, ?hello,
        "TLS arrived where plaintext is expected");
    close(downstream, CloseReason::UnexpectedTls, stream);
}

fn tcp_of(downstream: &Downstream) -> Option<Tcp> {
    downstream.scope.as_ref().and_then(|scope: &Scope| scope.tcp.clone())
}

/// Waits for the client's first byte.
async fn first(stream: &mut PeekedStream) -> Result<(), CloseReason> {
    match stream.look().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(CloseReason::ClientLeft),
        Err(_) => Err(CloseReason::Broken),
    }
}

/// The protocol of a client that has sent something.
async fn detect(stream: &mut PeekedStream) -> Result<DetectedProtocol, CloseReason> {
    let mut detector = Detector::default();
    loop {
        match detector.look(stream.seen()) {
            DetectedProtocol::Unclear => match stream.look().await {
                Ok(true) => {}
                Ok(false) => return Ok(DetectedProtocol::Other),
                Err(_) => return Err(CloseReason::Broken),
            },
            clear => return Ok(clear),
        }
    }
}

/// Waits for `work`, unless the proxy ends before it is done. Bytes that are on their way
/// already still count.
async fn until_drained<T>(
    guard: &ConnectionGuard,
    work: impl Future<Output = Result<T, CloseReason>>,
) -> Result<T, CloseReason> {
    tokio::select! {
        biased;
        done = work => done,
        () = async { guard.draining().await; sleep(DRAIN_GRACE).await } => Err(CloseReason::Drained),
    }
}

/// Closes a connection on which nothing was served. It is counted, and leaves a line in the
/// access log where its client did something that can be mended.
fn close(downstream: &Rc<Downstream>, reason: CloseReason, stream: &PeekedStream) {
    downstream.worker.closed.count(reason);
    let flags = match reason {
        CloseReason::ProxyHeader | CloseReason::UnexpectedTls => Flags::of(Flag::Protocol),
        CloseReason::Silent if !stream.seen().is_empty() => Flags::default(),
        _ => return,
    };
    let mut outcome = Outcome::blank(downstream, Kind::Connection);
    (outcome.flags, outcome.details) = (flags, reason.as_str().into());
}

#[cfg(test)]
mod tests;
