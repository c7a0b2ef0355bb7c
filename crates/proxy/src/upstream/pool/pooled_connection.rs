//! A connection of a pool, checked out by one exchange.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use http::{Request, Response};
use tokio::time::Instant;
use weft_balance::{Permit, SelectedEndpoint};

use super::{ConnectionPool, Idle};
use crate::http::{
    body::Incoming,
    error::Error,
    http1::client as http1,
    http2::client::{StreamSlot, Upload},
    request_body::{RequestBody, Source},
};

/// A connection of a pool, checked out by one exchange.
pub struct PooledConnection {
    pool: Rc<ConnectionPool>,
    sender: Sender,
    /// The proxy's end.
    pub local: Option<SocketAddr>,
    /// How long it was idle before, if it was used before: the server may have closed it.
    pub idle: Option<Duration>,
    /// Counts the exchange at its endpoint.
    pub in_flight: Option<SelectedEndpoint>,
    /// Counts the request at its backend, where that is limited.
    pub admitted: Option<Permit>,
    /// When it was made, and the requests before this one; of HTTP/1.
    past: Option<(Instant, u32)>,
    _freed: Freed,
}

/// Lets what waits for a stream look again, once the one before is closed.
struct Freed(Option<Rc<ConnectionPool>>);

impl Drop for Freed {
    fn drop(&mut self) {
        if let Some(limited) = self.0.as_ref().and_then(|pool| pool.limited.as_ref()) {
            limited.stream_freed();
        }
    }
}

/// The sending half of a connection.
pub enum Sender {
    /// Used by one exchange.
    Http1(http1::Client),
    /// A stream on a connection that is shared.
    Http2(StreamSlot),
}

/// A response from a server.
pub struct UpstreamResponse {
    /// The response, whose body is still to be read.
    pub response: Response<Incoming>,
    /// The rest of the request's body, which is still being sent (HTTP/2).
    pub upload: Option<Upload>,
}

/// A request that got no answer.
pub struct Unanswered {
    /// Why; none where the connection had ended before.
    pub error: Option<Error>,
    /// The request, where nothing of it was sent.
    pub unsent: Option<Request<RequestBody>>,
}

impl PooledConnection {
    /// Checks out a connection of HTTP/1 of `pool` that was just made.
    pub fn http1(
        pool: &Rc<ConnectionPool>,
        client: http1::Client,
        local: Option<SocketAddr>,
        idle: Option<Duration>,
    ) -> Self {
        let past = Some((Instant::now(), 0));
        Self { past, ..Self::new(pool, Sender::Http1(client), local, idle) }
    }

    /// Checks out a stream of a connection of `pool`.
    pub fn http2(
        pool: &Rc<ConnectionPool>,
        slot: StreamSlot,
        local: Option<SocketAddr>,
        idle: Option<Duration>,
    ) -> Self {
        Self::new(pool, Sender::Http2(slot), local, idle)
    }

    fn new(
        pool: &Rc<ConnectionPool>,
        sender: Sender,
        local: Option<SocketAddr>,
        idle: Option<Duration>,
    ) -> Self {
        let is_shared = matches!(sender, Sender::Http2(_)) && pool.limited.is_some();
        Self {
            pool: Rc::clone(pool),
            sender,
            local,
            idle,
            in_flight: None,
            admitted: None,
            past: None,
            _freed: Freed(is_shared.then(|| Rc::clone(pool))),
        }
    }

    /// Checks out a connection of `pool` that was `idle`.
    pub fn reused(pool: &Rc<ConnectionPool>, idle: Idle) -> Self {
        let Idle { client, local, since, made, served } = idle;
        let sender = Sender::Http1(client);
        Self { past: Some((made, served)), ..Self::new(pool, sender, local, Some(since.elapsed())) }
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        self.pool.address()
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<UpstreamResponse, Box<Unanswered>> {
        match &mut self.sender {
            Sender::Http1(client) => match client.send(request).await {
                Ok(response) => Ok(UpstreamResponse { response, upload: None }),
                Err(unanswered) => {
                    let http1::Unanswered { error, unsent } = *unanswered;
                    Err(Box::new(Unanswered { error: Some(error), unsent }))
                }
            },
            Sender::Http2(slot) if !slot.is_ready() => {
                Err(Box::new(Unanswered { error: None, unsent: Some(request) }))
            }
            Sender::Http2(slot) => match slot.send(request).await {
                Ok(sent) => Ok(UpstreamResponse { response: sent.response, upload: sent.upload }),
                Err(error) => Err(Box::new(Unanswered { error: Some(error), unsent: None })),
            },
        }
    }

    /// The exchange is given up: an HTTP/1 connection is closed at once, a stream is reset.
    pub fn abort(self) {
        match self.sender {
            Sender::Http1(client) => client.abort(),
            Sender::Http2(slot) => drop(slot),
        }
    }

    /// The exchange is over, and its answer was read to the end. An HTTP/1 connection
    /// serves another one unless `source`, the request's body, is still under way.
    pub fn release(self, source: Option<&Source>) {
        if !source.is_none_or(Source::has_ended) {
            return;
        }
        match self.sender {
            Sender::Http1(client) => {
                let since = Instant::now();
                let (made, served) = self.past.unwrap_or((since, 0));
                let (local, served) = (self.local, served.saturating_add(1));
                self.pool.hand_on(Idle { client, local, since, made, served });
            }
            Sender::Http2(slot) => slot.complete(),
        }
    }
}
