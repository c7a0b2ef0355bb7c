//! A connection of a pool, checked out by one exchange.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use http::{Request, Response};
use weft_balance::SelectedEndpoint;

use super::ConnectionPool;
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
    /// Checks `sender` out, a connection of `pool` whose end here is `local`.
    pub fn new(
        pool: &Rc<ConnectionPool>,
        sender: Sender,
        local: Option<SocketAddr>,
        idle: Option<Duration>,
    ) -> Self {
        Self { pool: Rc::clone(pool), sender, local, idle, in_flight: None }
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
            Sender::Http1(client) => self.pool.insert_idle(client, self.local),
            Sender::Http2(slot) => slot.complete(),
        }
    }
}
