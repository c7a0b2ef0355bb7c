//! The HTTPS server that the API server asks.
//!
//! Every caller that reaches the port may ask, and none is authenticated. So reviews have
//! a runtime of their own, and everything about them is bounded: connections, bytes
//! held, reviews at a time, values in a review, and the time that an answer may take.
//! Connections, bytes and turns are bounded for each peer as well, so that peers that send
//! slowly, or much, do not hold off the others. Small reviews, as nearly all are, never
//! wait for bytes that other peers hold.

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use weft_api::json;
use weft_inject::Namespace;
use weft_process::shutdown::Stopping;

use super::{
    admission::{self, Injected},
    connections::{Allowance, Connection, Connections, Limits},
    injection_inputs::InjectionInputs,
};
use crate::client::{Cluster, Resource};

/// The longest review: etcd takes objects of 1.5 MB, and an update has the old one as well.
const LONGEST_REVIEW: usize = 4 << 20;
/// The longest review that is small: it takes nothing of what all peers share.
const SMALL: usize = 256 << 10;
/// The most bytes of large reviews that are held at a time; of one peer, the longest review.
const BYTES: usize = 16 << 20;
/// The most that a review may hold: two objects, and what is around them.
const MOST: json::Most = json::Most {
    maps: 2 * weft_api::MOST.maps + 1_000,
    values: 2 * weft_api::MOST.values + 10_000,
};
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
    most: 256,
    of_peer: 64,
    waiting: 1024,
    waiting_of_peer: 256,
    bytes_of_peer: LONGEST_REVIEW,
    small_of_peer: 4 * SMALL,
    turns_of_peer: AT_ONCE,
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
    reviews: Arc<Semaphore>,
    bytes: Semaphore,
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
        let reviews = Arc::new(Semaphore::new(AT_ONCE));
        Self { cluster, namespaces, inputs, reviews, bytes: Semaphore::new(BYTES) }
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
    let (webhooks, connections) = (Arc::new(webhooks), Connections::new(LIMITS));
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
        let Some(arrival) = connections.arrive(peer.ip()) else { continue };
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
        connection.busy();
        let answer = answer(webhooks, connection, request).await;
        connection.idle(Instant::now());
        Ok::<_, Infallible>(answer)
    });
    connection.idle(Instant::now());
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
        () if path.starts_with("/inject") => Some(Question::Inject),
        () if path.starts_with("/validate") => Some(Question::Validate),
        () => None,
    };
    let Some(question) = question else {
        return text(StatusCode::NOT_FOUND, "POST a review to /inject or /validate\n");
    };
    let late = (StatusCode::GATEWAY_TIMEOUT, "the review took too long\n".to_owned());
    let review = async {
        let of_peer = connection.allowance();
        let body = read(webhooks, of_peer, request.into_body()).await?;
        review(webhooks, &of_peer.turns, (question, body)).await
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

/// What a review is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Whether a pod gets a sidecar.
    Inject,
    /// Whether an object is valid.
    Validate,
}

/// Why there is no answer to a review.
type Refusal = (StatusCode, String);

async fn review(
    webhooks: &Arc<Webhooks>,
    of_peer: &Arc<Semaphore>,
    (question, Body { bytes, held }): (Question, Body<'_>),
) -> Result<Bytes, Refusal> {
    let turn = webhooks.turn(of_peer).await?;
    // What has been begun cannot be stopped, so the turn goes with it and ends with it.
    let (turn, review) = blocking(move || (turn, json::parse(&bytes, MOST))).await?;
    drop(held);
    let review = review.map_err(|error| match error {
        json::JsonError::TooLarge { .. } => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("the review has {error}\n"))
        }
        error => (StatusCode::BAD_REQUEST, format!("not an admission review: {error}\n")),
    })?;
    if question == Question::Validate {
        let judge = move || (turn, admission::validate(review).to_string());
        let (_turn, answer) = blocking(judge).await?;
        return Ok(answer.into());
    }
    drop(turn);
    inject(webhooks, of_peer, Arc::new(review)).await
}

/// Decides about a pod by what the watches have seen, and asks the API server before a
/// pod is left out: its namespace may have got its label just now.
async fn inject(
    webhooks: &Arc<Webhooks>,
    of_peer: &Arc<Semaphore>,
    review: Arc<Value>,
) -> Result<Bytes, Refusal> {
    let name = review["request"]["namespace"].as_str().unwrap_or_default().to_owned();
    if !weft_api::is_dns_label(&name) {
        let message = "request.namespace is not the name of a namespace\n";
        return Err((StatusCode::BAD_REQUEST, message.to_owned()));
    }
    webhooks.inputs.complete().await;
    let mut known = webhooks.inputs.namespace(&name);
    let mut fresh = false;
    loop {
        let namespace = match known.take() {
            Some(namespace) => namespace,
            None => {
                fresh = true;
                Arc::new(webhooks.namespace(&name).await?)
            }
        };
        let turn = webhooks.turn(of_peer).await?;
        let (settings, review) = (webhooks.inputs.settings(), Arc::clone(&review));
        let judge = move || (turn, admission::inject(&review, &namespace, &settings));
        match blocking(judge).await?.1 {
            Injected::Skipped(_) if !fresh => {}
            Injected::Skipped(answer) | Injected::Answer(answer) => {
                return Ok(answer.to_string().into());
            }
        }
    }
}

impl Webhooks {
    /// The next turn. A peer has few places in the queue, so that the reviews of another
    /// wait for few of its reviews, however many it has sent.
    async fn turn(&self, of_peer: &Arc<Semaphore>) -> Result<[OwnedSemaphorePermit; 2], Refusal> {
        let stopping = |_| busy("the server is stopping\n");
        let own = Arc::clone(of_peer).acquire_owned().await.map_err(stopping)?;
        let turn = Arc::clone(&self.reviews).acquire_owned().await.map_err(stopping)?;
        Ok([own, turn])
    }

    /// The labels of the namespace as they are now.
    async fn namespace(&self, name: &str) -> Result<Namespace, Refusal> {
        let found = self.cluster.find(&self.namespaces, "", name).await;
        let object = found.map_err(|error| {
            tracing::warn!("reading namespace {name} for a review: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("namespace {name} cannot be read\n"))
        })?;
        let labels = object.unwrap_or_default()["metadata"]["labels"].clone();
        Ok(Namespace {
            name: name.to_owned(),
            labels: serde_json::from_value(labels).unwrap_or_default(),
        })
    }
}

/// A review as it was sent, and what it takes of what may be held.
struct Body<'a> {
    bytes: Bytes,
    held: (SemaphorePermit<'a>, Option<SemaphorePermit<'a>>),
}

/// Reads a review whole. What its length says is taken of what its peer may have before
/// it is read, so that its peer's reviews come one after the other. Of what all may have,
/// each byte of a large review takes its share when it is there.
async fn read<'a>(
    webhooks: &'a Webhooks,
    of_peer: &'a Allowance,
    mut body: Incoming,
) -> Result<Body<'a>, Refusal> {
    let too_large = || {
        let message = format!("the review has more than {LONGEST_REVIEW} bytes\n");
        (StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let length = body.size_hint().exact().map_or(Ok(LONGEST_REVIEW), usize::try_from);
    let length = length.ok().filter(|length| *length <= LONGEST_REVIEW).ok_or_else(too_large)?;
    let is_small = length <= SMALL;
    let own = share(if is_small { &of_peer.small } else { &of_peer.bytes }, length).await?;
    let mut whole = BytesMut::new();
    let mut held = match is_small {
        true => None,
        false => Some(share(&webhooks.bytes, 0).await?),
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            (StatusCode::BAD_REQUEST, format!("the review cannot be read: {error}\n"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > LONGEST_REVIEW {
            return Err(too_large());
        }
        if let Some(held) = &mut held {
            held.merge(share(&webhooks.bytes, data.len()).await?);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Body { bytes: whole.freeze(), held: (own, held) })
}

async fn share(of: &Semaphore, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    of.acquire_many(bytes).await.map_err(|_| busy("the server is stopping\n"))
}

/// Does what takes a processor for longer than a moment.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a review was not judged: {error}");
        (StatusCode::INTERNAL_SERVER_ERROR, "the review could not be judged\n".to_owned())
    })
}

fn busy(message: &str) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
