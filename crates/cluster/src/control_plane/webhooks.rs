//! The HTTPS server that the API server asks.
//!
//! Every caller that reaches the port may ask, and none is authenticated. So reviews have
//! a runtime of their own, and everything about them is bounded: connections, bytes
//! held, reviews at a time, values in a review, and the time that an answer may take.
//! Connections, bytes and turns are bounded for each peer as well, so that peers that send
//! slowly, or much, do not hold off the others. Small reviews, as nearly all are, never
//! wait for bytes that other peers hold.

mod review;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::{Builder, Runtime},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use weft_process::{
    peers::{Bodies, Connection, Limits, Peers},
    shutdown::Stopping,
};

use self::review::ReviewKind;
use super::injection_inputs::InjectionInputs;
use crate::client::{Cluster, Resource};

/// The longest review: etcd takes objects of 1.5 MB, and an update has the old one as well.
const LONGEST_REVIEW: usize = 4 << 20;
/// The longest review that is small.
const SMALL: usize = 256 << 10;
/// The most bytes of large reviews that are held at a time; of one peer, the longest review.
const BYTES: usize = 16 << 20;
/// How many reviews are judged at a time; others wait for their turn.
const AT_ONCE: usize = 2;
/// How long a request may take from its head to its answer. API servers wait for 5 s.
const DEADLINE: Duration = Duration::from_secs(4);
/// How long a client has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may wait for its next request. API servers keep theirs for 90 s.
const IDLE: Duration = Duration::from_secs(100);
/// Connections at a time. An API server has one for each review in flight.
const LIMITS: Limits = Limits {
    connections: 256,
    of_peer: 64,
    of_machine: 64,
    waiting: 1024,
    waiting_of_peer: 256,
    turns: AT_ONCE,
    turns_of_peer: AT_ONCE,
    bodies: Bodies {
        longest: LONGEST_REVIEW,
        small: SMALL,
        shared: BYTES,
        large_of_peer: LONGEST_REVIEW,
        small_of_peer: 4 * SMALL,
    },
};
/// How long reviews in flight may take at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Pause when no connection can be accepted, for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What reviews are answered from.
pub(super) struct Webhooks {
    cluster: Cluster,
    namespaces: Resource,
    inputs: Arc<InjectionInputs>,
}

impl Webhooks {
    /// Answers that take namespaces and settings from `inputs`, and ask `cluster` for what
    /// these do not have.
    pub(super) fn new(cluster: Cluster, inputs: Arc<InjectionInputs>) -> Self {
        let namespaces = Resource {
            version: "v1".to_owned(),
            plural: "namespaces".to_owned(),
            kind: "Namespace".to_owned(),
            ..Resource::default()
        };
        Self { cluster, namespaces, inputs }
    }
}

/// Threads for nothing but reviews, so that they cannot stop what else the process does.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// Starts them.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(AT_ONCE)
            .thread_name("webhooks")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `task` on them.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.as_ref().expect("it is taken at the end only").spawn(task)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime cannot be dropped by a task of another one, as it would wait there.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves `listener` until `stopping`, with the certificate of `tls`; then answers what
/// has been asked.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    tls: Arc<ServerConfig>,
    webhooks: Webhooks,
    mut stopping: Stopping,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    // The config stream's certificate, but HTTP/1.1: reviews are few and small.
    let mut tls = ServerConfig::clone(&tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let (webhooks, peers) = (Arc::new(webhooks), Peers::new(LIMITS));
    let mut serving = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.stopped() => break,
        };
        while serving.try_join_next().is_some() {}
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(arrival) = peers.arrive(peer.ip()) else { continue };
        let (acceptor, webhooks) = (acceptor.clone(), Arc::clone(&webhooks));
        let mut stopping = stopping.clone();
        serving.spawn(async move {
            let entered = tokio::select! {
                entered = timeout(HANDSHAKE, arrival.enter()) => entered,
                () = stopping.stopped() => return,
            };
            let Ok(Some(connection)) = entered else { return };
            let conversation = async {
                let handshake = timeout(HANDSHAKE, acceptor.accept(stream)).await;
                let Ok(Ok(stream)) = handshake else { return };
                converse(stream, &connection, &webhooks, &mut stopping).await;
            };
            tokio::select! {
                () = connection.closed() => {}
                () = conversation => {}
            }
        });
    }
    drop(listener);
    let _ = timeout(GRACE, async { while serving.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Serves one connection; after `stopping` only what it has begun to ask.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: &Connection,
    webhooks: &Arc<Webhooks>,
    stopping: &mut Stopping,
) {
    let service = service_fn(|request| async {
        let _busy = connection.begin();
        Ok::<_, Infallible>(answer(webhooks, connection, request).await)
    });
    connection.established();
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // A connection that breaks is noticed by the API server, which asks again.
    tokio::select! {
        _ = &mut serving => {}
        () = stopping.stopped() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

async fn answer(
    webhooks: &Arc<Webhooks>,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let question = match () {
        () if request.method() != Method::POST => None,
        () if path.starts_with("/inject") => Some(ReviewKind::Inject),
        () if path.starts_with("/validate") => Some(ReviewKind::Validate),
        () => None,
    };
    let Some(question) = question else {
        return text(StatusCode::NOT_FOUND, "POST a review to /inject or /validate\n");
    };
    let late = (StatusCode::GATEWAY_TIMEOUT, "the review took too long\n".to_owned());
    let review = async {
        let body = connection.read(request.into_body()).await.map_err(review::unread)?;
        review::answer(webhooks, connection, (question, body)).await
    };
    match timeout(DEADLINE, review).await.unwrap_or(Err(late)) {
        Ok(answer) => {
            let mut response = Response::new(Full::new(answer));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err((status, message)) => text(status, &message),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
