//! A connection while an exchange uses it.

use std::{net::SocketAddr, rc::Rc};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use weft_balance::InFlight;

use super::{Line, shared::Place};
use crate::http::request_body::{RequestBody, Source};

/// A connection that an exchange uses.
pub struct Lease {
    line: Rc<Line>,
    sender: Sender,
    /// The proxy's end.
    pub local: Option<SocketAddr>,
    /// Whether it waited before, so that the server may have closed it.
    pub reused: bool,
    /// The count of the endpoint's exchanges.
    pub in_flight: Option<InFlight>,
}

/// What is sent on.
pub enum Sender {
    /// Used by one exchange.
    Http1(http1::SendRequest<RequestBody>),
    /// A place on a connection that is shared.
    Http2(Place),
}

/// The answer's head, or the request where nothing of it was sent.
pub type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl Lease {
    /// A lease of `sender`, a connection of `line` whose end here is `local`.
    pub fn new(line: &Rc<Line>, sender: Sender, local: Option<SocketAddr>, reused: bool) -> Self {
        Self { line: Rc::clone(line), sender, local, reused, in_flight: None }
    }

    /// Sends a request.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Sent {
        match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(place) => place.sender.try_send_request(request).await,
        }
    }

    /// The exchange is over, and its answer was read to the end. An HTTP/1 connection
    /// serves another one unless `source`, the request's body, is still under way.
    pub fn give_back(self, source: Option<&Source>) {
        if let Sender::Http1(sender) = self.sender
            && source.is_none_or(Source::has_ended)
        {
            self.line.keep(sender, self.local);
        }
    }
}
