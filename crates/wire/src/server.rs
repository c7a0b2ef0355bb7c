//! The control plane's end: accepts connections and hands out their streams.
//!
//! A connection carries one stream and is closed after it. Who may have one,
//! and what is said on it, is decided by the code that takes the [`Call`]s.

mod outgoing;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Status, body::Body};

use self::outgoing::{InParts, Outgoing};
pub use self::outgoing::{Responses, Slot};
use crate::message::{DeltaRequest, DeltaResponse, PATH};

/// What clients may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one request.
    pub request_bytes: usize,
    /// How long a connection may wait for room, and then its handshake, and then the opening
    /// of the stream may take.
    pub opening: Duration,
    /// How often a silent client is asked whether it is there.
    pub keepalive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 4 << 20,
            opening: Duration::from_secs(10),
            keepalive: Duration::from_secs(30),
        }
    }
}

/// Bytes of responses that a connection keeps for its client besides the one that is being sent.
const SEND_BUFFER: usize = 64 << 10;

/// Where clients connect.
pub struct Entrance {
    /// Accepts connections.
    pub socket: TcpListener,
    /// Without, plain text.
    pub tls: Option<Arc<ServerConfig>>,
    /// Decides which connections are taken in; without, all are.
    pub admission: Option<Arc<dyn Admission>>,
}

/// Decides which connections are taken in, before a byte of them is read.
pub trait Admission: Send + Sync {
    /// A place in the queue for a connection of `peer`; none when it is refused.
    fn arrive(&self, peer: IpAddr) -> Option<Entering>;
}

/// Ready when a connection is let in, or has to leave the queue.
pub type Entering = Pin<Box<dyn Future<Output = Option<Box<dyn Admitted>>> + Send>>;

/// A connection that has been let in; it counts until this is dropped.
pub trait Admitted: Send + Sync {
    /// Notes that the client has opened a stream: the connection is past its handshake.
    fn opened(&self);

    /// Waits until the connection has to make room.
    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// One stream that a client has opened.
pub struct Call {
    /// The bearer token that came with it.
    pub token: Option<String>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What the client says.
    pub requests: Requests,
    /// What is said to the client.
    pub responses: Responses,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret.
        f.debug_struct("Call").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Receives requests. Dropping it and [`Responses`] ends the stream.
#[derive(Debug)]
pub struct Requests(tonic::Streaming<DeltaRequest>);

impl Requests {
    /// The next request, `None` at the end; safe to cancel.
    pub async fn next(&mut self) -> Option<DeltaRequest> {
        // How a client's stream broke makes no difference: it comes back or not.
        self.0.message().await.ok().flatten()
    }
}

impl Responses {
    /// Ends the stream with a reason.
    pub async fn end(self, reason: End) {
        let status = match reason {
            End::Unauthenticated(why) => Status::unauthenticated(why),
            End::Forbidden(why) => Status::permission_denied(why),
            End::Violation(why) => Status::invalid_argument(why),
            End::Unavailable(why) => Status::unavailable(why),
        };
        self.fail(status).await;
    }
}

/// Why the control plane ends a stream, with a text for the client's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// No token, or one that is not valid.
    Unauthenticated(String),
    /// A valid token of someone who may not have a stream.
    Forbidden(String),
    /// The client does not keep to the protocol.
    Violation(String),
    /// Not now; the client may come back.
    Unavailable(String),
}

/// Accepts connections and sends their streams to `calls`, until `shutdown` is over.
pub async fn serve(
    entrance: Entrance,
    limits: Limits,
    calls: mpsc::Sender<Call>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = std::pin::pin!(shutdown);
    let Entrance { socket, tls, admission } = entrance;
    let tls = tls.map(TlsAcceptor::from);
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&socket) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = shutdown.as_mut() => break,
        };
        let Some((tcp, peer)) = accepted else { continue };
        let entering = match &admission {
            None => None,
            Some(admission) => match admission.arrive(peer.ip()) {
                Some(entering) => Some(entering),
                None => continue,
            },
        };
        let connection = Connection { peer, limits: Arc::clone(&limits), calls: calls.clone() };
        let tls = tls.clone();
        connections.spawn(async move {
            let Some(entering) = entering else { return connection.secure(tcp, tls, || {}).await };
            let entered = timeout(connection.limits.opening, entering).await;
            let Ok(Some(admitted)) = entered else { return };
            tokio::select! {
                () = admitted.closed() => {}
                () = connection.secure(tcp, tls, || admitted.opened()) => {}
            }
        });
    }
    connections.shutdown().await;
}

async fn accept(socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match socket.accept().await {
        Ok((tcp, peer)) => {
            // Only latency is lost without it.
            let _ = tcp.set_nodelay(true);
            Some((tcp, peer))
        }
        Err(_) => {
            // Out of file descriptors, most likely: trying at once would spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// One client's connection.
struct Connection {
    peer: SocketAddr,
    limits: Arc<Limits>,
    calls: mpsc::Sender<Call>,
}

impl Connection {
    async fn secure(self, tcp: TcpStream, tls: Option<TlsAcceptor>, when_open: impl FnOnce()) {
        match tls {
            None => self.speak(tcp, when_open).await,
            Some(tls) => {
                let handshake = timeout(self.limits.opening, tls.accept(tcp));
                if let Ok(Ok(io)) = handshake.await {
                    self.speak(io, when_open).await;
                }
            }
        }
    }

    async fn speak<Io>(self, io: Io, when_open: impl FnOnce())
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (opened, mut is_open) = watch::channel(false);
        let service = service_fn(|request: http::Request<Incoming>| {
            opened.send_replace(true);
            let stream = Opening {
                peer: self.peer,
                calls: self.calls.clone(),
                request_bytes: self.limits.request_bytes,
            };
            async move { Ok::<_, Infallible>(stream.answer(request).await) }
        });
        let serving = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.limits.keepalive)
            .keep_alive_timeout(self.limits.opening)
            .max_concurrent_streams(1)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(32 << 10)
            .serve_connection(TokioIo::new(io), service);
        let mut serving = std::pin::pin!(serving);
        let first = timeout(self.limits.opening, is_open.wait_for(|open| *open));
        tokio::select! {
            _ = serving.as_mut() => return,
            first = first => if first.is_err() { return },
        }
        when_open();
        // The stream is open: take no further one, and end with it.
        serving.as_mut().graceful_shutdown();
        // How a connection ends makes no difference here.
        let _ = serving.await;
    }
}

/// The wish for a stream.
struct Opening {
    peer: SocketAddr,
    calls: mpsc::Sender<Call>,
    request_bytes: usize,
}

impl Opening {
    async fn answer(self, request: http::Request<Incoming>) -> http::Response<Body> {
        if request.uri().path() != PATH {
            let said = format!("{} is not served here; {PATH} is", request.uri().path());
            return Status::unimplemented(said).into_http();
        }
        // Nothing is compressed: requests so that a small one cannot become a large
        // one, responses so that proxies need one buffer for them and not two.
        let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::<
            DeltaResponse,
            DeltaRequest,
        >::default())
        .max_decoding_message_size(self.request_bytes);
        grpc.streaming(self, request).await.map(|body| Body::new(InParts::new(body)))
    }
}

impl tonic::server::StreamingService<DeltaRequest> for Opening {
    type Response = DeltaResponse;
    type ResponseStream = Outgoing;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Outgoing>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<tonic::Streaming<DeltaRequest>>) -> Self::Future {
        let token = bearer(request.metadata());
        let (responses, outgoing) = outgoing::channel();
        let requests = Requests(request.into_inner());
        let call = Call { token, peer: self.peer, requests, responses };
        let calls = self.calls.clone();
        Box::pin(async move {
            let closing = |_| Status::unavailable("the control plane is going down");
            calls.send(call).await.map_err(closing)?;
            Ok(tonic::Response::new(outgoing))
        })
    }
}

/// The one bearer token of a call; two are as good as none.
fn bearer(metadata: &tonic::metadata::MetadataMap) -> Option<String> {
    let mut all = metadata.get_all("authorization").iter();
    let (one, None) = (all.next()?, all.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}
