//! The HTTPS server: connections in, answers out.
//!
//! A connection is one task of the server's; it ends with it. What a request
//! means is decided in the modules below; this one knows TLS and HTTP only.

mod answer;
mod change;
mod connect;
mod documents;
mod exec;
mod page;
mod read;
mod reply;
mod reviews;
mod room;
mod watching;

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    access::{self, User},
    admission::Admission,
    authority::{Authority, AuthorityError},
    bootstrap,
    node::{Dial, Node},
    store::Store,
    writer::Writer,
};
use answer::Asked;
pub(crate) use read::Rows;
use room::{Place, Room};

/// How long a client has for its TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may stay without a request. Longer than clients keep
/// theirs (90 s in hyper and Go), so that it is never closed under a request.
const IDLE: Duration = Duration::from_secs(120);

/// How long to rest when no connection can be accepted (no descriptors left).
const REST: Duration = Duration::from_millis(100);

/// The Kubernetes API over a store.
pub struct Server {
    store: Store,
    authority: Arc<Authority>,
    node: Arc<dyn Node>,
    dial: Arc<dyn Dial>,
    writer: Arc<Writer>,
    tls: Arc<ServerConfig>,
    room: Arc<Room>,
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
        Ok(Self { store, authority, node, dial, writer, tls, room: Room::new(), sessions })
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
                        let Some(place) = self.room.connect(peer.ip()) else {
                            tracing::debug!("{} has too many connections to the API server", peer.ip());
                            continue;
                        };
                        let server = Arc::clone(&self);
                        connections.spawn(async move {
                            if let Err(error) = server.connection(stream, place).await {
                                tracing::debug!("a connection to the API server ended: {error}");
                            }
                        });
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

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        place: Place,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let accept = TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream);
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time");
        let stream = tokio::time::timeout(PATIENCE, accept).await.map_err(late)??;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let user: Option<Arc<User>> =
            certificate.and_then(|der| access::by_certificate(der)).map(Arc::new);
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let place = Arc::new(place);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (server, user, place) = (Arc::clone(&self), user.clone(), Arc::clone(&place));
            async move {
                let answer = answer::answer(&server, (user.as_ref(), &place), request).await;
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let io = TokioIo::new(stream);
        if is_http2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(io, service)
                .await?;
        } else {
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .serve_connection(io, service)
                .with_upgrades()
                .await?;
        }
        Ok(())
    }

    /// Lets a task outlive the request that began it, but not the server.
    fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        while sessions.try_join_next().is_some() {}
        sessions.spawn(task);
    }
}
