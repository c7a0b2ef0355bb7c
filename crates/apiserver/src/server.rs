//! The HTTPS server: connections in, answers out.
//!
//! A connection is one task of the server's; it ends with it. What a request
//! means is decided in the modules below; this one knows TLS and HTTP only.

mod answer;
mod apart;
mod change;
mod connect;
mod delivery;
mod documents;
mod exec;
mod page;
mod pieces;
mod read;
mod reply;
mod reviews;
#[cfg(test)]
mod tests;
mod watching;

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Version;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use weft_process::peers::{Arrival, Bodies, Connection, Limits, Peers};

use crate::{
    access::{self, User},
    admission::Admission,
    authority::{Authority, AuthorityError},
    bootstrap,
    node::{Dial, Node},
    store::Store,
    writer::Writer,
};
use answer::ApiRequest;
pub(crate) use read::Rows;

/// How long a client waits for room, and has for its TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may stay without a request. Longer than clients keep
/// theirs (90 s in hyper and Go), so that it is never closed under a request.
const IDLE: Duration = Duration::from_secs(120);

/// How long to rest when no connection can be accepted (no descriptors left).
const REST: Duration = Duration::from_millis(100);

/// What hyper may gather of a head, or of an answer that is not taken, on one connection.
const BUFFER: usize = 64 << 10;

/// Requests that are answered at a time on one connection of HTTP/2, as by kube-apiserver.
const STREAMS: u32 = 100;

/// The longest body that is read, as by kube-apiserver.
const LONGEST: usize = 3 << 20;
/// The longest body that is small.
const SMALL: usize = 256 << 10;

/// What clients may hold. Turns are bounded for each client only, so that clients that do
/// not take their answers keep no turn from others.
const LIMITS: Limits = Limits {
    connections: 1024,
    of_peer: 256,
    of_machine: 1024,
    waiting: 256,
    waiting_of_peer: 64,
    turns: usize::MAX,
    turns_of_peer: 256,
    bodies: Bodies {
        longest: LONGEST,
        small: SMALL,
        shared: 64 << 20,
        large_of_peer: 4 * LONGEST,
        small_of_peer: 8 * SMALL,
    },
};

/// The Kubernetes API over a store.
pub struct Server {
    store: Store,
    authority: Arc<Authority>,
    node: Arc<dyn Node>,
    dial: Arc<dyn Dial>,
    writer: Arc<Writer>,
    tls: Arc<ServerConfig>,
    peers: Arc<Peers>,
    writing: apart::Callers,
    /// What outlives its request: upgraded and proxied connections.
    sessions: Mutex<JoinSet<()>>,
}

impl Server {
    /// A server of `store`, which gets the namespaces that every cluster has.
    pub fn new(
        store: Store,
        authority: Arc<Authority>,
        node: Arc<dyn Node>,
        dial: Arc<dyn Dial>,
    ) -> Result<Self, AuthorityError> {
        let tls = authority.tls()?;
        bootstrap::prepare(&store);
        let admission = Admission::new(store.clone(), Arc::clone(&dial));
        let writer = Arc::new(Writer::new(store.clone(), admission));
        let sessions = Mutex::new(JoinSet::new());
        let peers = Peers::new(LIMITS);
        let writing = apart::Callers::default();
        Ok(Self { store, authority, node, dial, writer, tls, peers, writing, sessions })
    }

    /// The objects that are served.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Serves the connections of one listener until `shutdown` resolves.
    ///
    /// May run for several listeners at once.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let Some(arrival) = self.peers.arrive(peer.ip()) else {
                            tracing::debug!("{} has too many connections to the API server", peer.ip());
                            continue;
                        };
                        connections.spawn(Arc::clone(&self).connection(stream, arrival));
                    }
                    Err(error) => {
                        tracing::warn!("accepting a connection to the API server: {error}");
                        tokio::time::sleep(REST).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Runs the controllers until `shutdown` resolves.
    pub async fn control(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let controllers = crate::controllers::Controllers::new(
            self.store.clone(),
            Arc::clone(&self.writer),
            self.authority.ca_pem().to_owned(),
        );
        tokio::select! {
            () = shutdown => {}
            () = controllers.run() => {}
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, arrival: Arrival) {
        let Ok(Some(connection)) = timeout(PATIENCE, arrival.enter()).await else {
            tracing::debug!("a connection to the API server found no room in time");
            return;
        };
        let ended = tokio::select! {
            () = connection.closed() => return,
            ended = self.secure(stream, connection.clone()) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!("a connection to the API server ended: {error}");
        }
    }

    async fn secure(
        self: Arc<Self>,
        stream: TcpStream,
        connection: Connection,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let accept = TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream);
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time");
        let stream = timeout(PATIENCE, accept).await.map_err(late)??;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let user: Option<Arc<User>> =
            certificate.and_then(|der| access::by_certificate(der)).map(Arc::new);
        let version = match session.alpn_protocol() {
            Some(b"h2") => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        Ok(self.converse(stream, (version, user), connection).await?)
    }

    /// Answers the requests of a connection, of `user` where it shows a certificate.
    async fn converse(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        (version, user): (Version, Option<Arc<User>>),
        connection: Connection,
    ) -> hyper::Result<()> {
        connection.established();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (server, user, busy) = (Arc::clone(&self), user.clone(), connection.begin());
            async move {
                let answer = answer::answer(&server, user.as_ref(), busy, request).await;
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let io = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_send_buf_size(BUFFER)
                .serve_connection(io, service)
                .await
        } else {
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .max_buf_size(BUFFER)
                .serve_connection(io, service)
                .with_upgrades()
                .await
        }
    }

    /// Carries an upgraded connection, which stays one of its peer's, until it ends or has
    /// to make room.
    fn hold(&self, connection: &Connection, session: impl Future<Output = ()> + Send + 'static) {
        let busy = connection.begin();
        self.keep(async move {
            tokio::select! {
                () = busy.connection().closed() => {}
                () = session => {}
            }
        });
    }

    /// Lets a task outlive the request that began it, but not the server.
    fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        while sessions.try_join_next().is_some() {}
        sessions.spawn(task);
    }
}
