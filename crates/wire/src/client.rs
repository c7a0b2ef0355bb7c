//! The proxy's end of the connection: one connection, one stream.
//!
//! Whether and when to connect again is the caller's business.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    body::Body,
    metadata::{Ascii, MetadataValue},
};

use crate::message::{DeltaRequest, DeltaResponse, PATH};

/// How long each of dialling, handshake and opening the stream may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a silent server is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The largest response.
const RESPONSE_LIMIT: usize = 64 << 20;

/// Where the control plane is.
#[derive(Clone, Debug)]
pub struct Target {
    /// `HOST:PORT` to dial.
    pub address: String,
    /// The name that its certificate has to have.
    pub name: String,
    /// How to know it; without, the connection is in plain text.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Why there is no stream, or no more of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// No connection.
    #[error("connecting to the control plane at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// A step took too long.
    #[error("the control plane at {address} did not answer in time while {during}")]
    Slow {
        /// Where.
        address: String,
        /// Which step.
        during: &'static str,
    },
    /// The server is not who it should be, or speaks no TLS.
    #[error("securing the connection to the control plane at {address}")]
    Secure {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Not a name that a certificate can have.
    #[error("`{0}` is not a name that a server's certificate can have")]
    Name(String),
    /// The token has characters that no header may have.
    #[error("the token is not one line of ASCII text")]
    Token,
    /// HTTP/2 failed.
    #[error("speaking HTTP/2 with the control plane at {address}")]
    Http {
        /// Where.
        address: String,
        /// Why not.
        source: hyper::Error,
    },
    /// The control plane says no.
    #[error("the control plane refuses the stream: {0}")]
    Refused(String),
    /// The control plane cannot accept what this side sent.
    #[error("the control plane does not accept a request: {0}")]
    Violation(String),
    /// The stream broke.
    #[error("the stream from the control plane broke")]
    Broken(#[source] Box<tonic::Status>),
    /// The control plane ended the stream.
    #[error("the control plane ended the stream")]
    Ended,
}

/// Sends requests. Dropping it ends the stream.
#[derive(Clone, Debug)]
pub struct Requests(mpsc::Sender<DeltaRequest>);

impl Requests {
    /// Sends one request; waits while the server does not read.
    pub async fn send(&self, request: DeltaRequest) -> Result<(), StreamError> {
        self.0.send(request).await.map_err(|_| StreamError::Ended)
    }

    /// Waits until a request can be sent at once; safe to cancel.
    pub async fn room(&self) -> Result<Room<'_>, StreamError> {
        self.0.reserve().await.map(Room).map_err(|_| StreamError::Ended)
    }
}

/// Room for one request.
#[derive(Debug)]
pub struct Room<'r>(mpsc::Permit<'r, DeltaRequest>);

impl Room<'_> {
    /// Sends the request.
    pub fn send(self, request: DeltaRequest) {
        self.0.send(request);
    }
}

/// Receives responses. Dropping it ends the stream.
#[derive(Debug)]
pub struct Responses {
    stream: tonic::Streaming<DeltaResponse>,
    /// Dropped with the stream, which ends the connection.
    _connection: Connection,
}

impl Responses {
    /// The next response; safe to cancel.
    pub async fn next(&mut self) -> Result<DeltaResponse, StreamError> {
        match self.stream.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(StreamError::Ended),
            Err(status) => Err(broken(status)),
        }
    }
}

/// Dials `target` and opens the stream as the bearer of `token`.
pub async fn connect(
    target: &Target,
    token: Option<&str>,
) -> Result<(Requests, Responses), StreamError> {
    let address = &target.address;
    let slow = |during| StreamError::Slow { address: address.clone(), during };
    let refused = |source| StreamError::Connect { address: address.clone(), source };
    let tcp = timeout(PATIENCE, TcpStream::connect(address.as_str()));
    let tcp = tcp.await.map_err(|_| slow("connecting"))?.map_err(refused)?;
    tcp.set_nodelay(true).map_err(refused)?;
    let sender = match &target.tls {
        None => speak(address, tcp).await?,
        Some(config) => {
            let name = ServerName::try_from(target.name.clone())
                .map_err(|_| StreamError::Name(target.name.clone()))?;
            let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
            let tls = timeout(PATIENCE, handshake).await.map_err(|_| slow("securing"))?;
            let insecure = |source| StreamError::Secure { address: address.clone(), source };
            speak(address, tls.map_err(insecure)?).await?
        }
    };
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let origin = http::Uri::builder()
        .scheme(scheme)
        .authority(target.address.as_str())
        .path_and_query("/")
        .build()
        .map_err(|_| StreamError::Name(target.address.clone()))?;
    let opening = open(Connection(sender), origin, token);
    timeout(PATIENCE, opening).await.map_err(|_| slow("opening the stream"))?
}

async fn speak<Io>(address: &str, io: Io) -> Result<SendRequest<Body>, StreamError>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(PATIENCE)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|source| StreamError::Http { address: address.to_owned(), source })?;
    // Ends when the sender and the stream are dropped.
    tokio::spawn(connection);
    Ok(sender)
}

async fn open(
    connection: Connection,
    origin: http::Uri,
    token: Option<&str>,
) -> Result<(Requests, Responses), StreamError> {
    let (sender, receiver) = mpsc::channel(64);
    let mut call = tonic::Request::new(ReceiverStream::new(receiver));
    if let Some(token) = token {
        let mut bearer: MetadataValue<Ascii> =
            format!("Bearer {}", token.trim()).parse().map_err(|_| StreamError::Token)?;
        bearer.set_sensitive(true);
        call.metadata_mut().insert("authorization", bearer);
    }
    let mut grpc = tonic::client::Grpc::with_origin(connection.clone(), origin)
        .max_decoding_message_size(RESPONSE_LIMIT);
    let codec = tonic_prost::ProstCodec::<DeltaRequest, DeltaResponse>::default();
    let path = http::uri::PathAndQuery::from_static(PATH);
    let response = grpc.streaming(call, path, codec).await.map_err(broken)?;
    let stream = response.into_inner();
    Ok((Requests(sender), Responses { stream, _connection: connection }))
}

fn broken(status: tonic::Status) -> StreamError {
    use tonic::Code::{
        InvalidArgument, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated,
    };
    let message = || status.message().to_owned();
    match status.code() {
        Unauthenticated | PermissionDenied => StreamError::Refused(message()),
        InvalidArgument | OutOfRange | ResourceExhausted => StreamError::Violation(message()),
        _ => StreamError::Broken(Box::new(status)),
    }
}

/// What tonic wants to see of a connection.
#[derive(Clone, Debug)]
struct Connection(SendRequest<Body>);

impl tonic::codegen::Service<http::Request<Body>> for Connection {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = tonic::codegen::BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
