//! HTTP/1 on a connection to a server.

use std::{cell::Cell, future::poll_fn, pin::Pin, rc::Rc, sync::Arc, task::Poll, time::Duration};

use http::{Request, Response};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};
use weft_config::Limits;

use crate::http::{
    body::Incoming,
    error::Error,
    http1::early_response::EarlyResponse,
    metered_stream::{Meter, MeteredStream, TURN},
    request_body::RequestBody,
    stall_timer::StallTimer,
};

/// A connection to a server, for one request at a time.
pub struct Client {
    sender: SendRequest<RequestBody>,
    /// How long the server may send nothing of what it has announced.
    limit: Duration,
    /// Whether the connection was given up because the server took nothing of a request.
    stalled: Rc<Cell<bool>>,
    /// Reads and writes.
    driver: AbortHandle,
    meter: Arc<Meter>,
}

/// A request that got no answer.
pub struct Unanswered {
    /// Why.
    pub error: Error,
    /// The request, where nothing of it was sent.
    pub unsent: Option<Request<RequestBody>>,
}

impl Client {
    /// Begins HTTP/1 on `stream`.
    pub async fn begin<S>(stream: S, limits: &Limits) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limit = limits.stalled;
        let (stream, meter) = MeteredStream::giving_way(EarlyResponse::new(stream));
        // The codec reads informational answers, and zeros before the size of a chunk, without end.
        let stream = stream.with_most_idle(u64::from(limits.buffer) + TURN as u64);
        let (sender, connection) = Builder::new()
            .preserve_header_case(true)
            .max_buf_size(limits.buffer as usize)
            .handshake(TokioIo::new(stream))
            .await?;
        let mut connection = connection.with_upgrades();
        let (mut stall, mut written) = (StallTimer::default(), 0);
        let stalled = Rc::new(Cell::new(false));
        let gives_up = Rc::clone(&stalled);
        let counts = Arc::clone(&meter);
        let driver = tokio::task::spawn_local(poll_fn(move |context| {
            meter.begin_turn();
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                return Poll::Ready(ended);
            }
            if meter.is_blocked() && meter.written() == written {
                // A server that takes nothing of a request is given up.
                return stall.poll(context, limit).map(|()| {
                    gives_up.set(true);
                    Ok(())
                });
            }
            written = meter.written();
            stall.moved();
            Poll::Pending
        }));
        let driver = driver.abort_handle();
        Ok(Self { sender, limit, stalled, driver, meter: counts })
    }

    /// Whether no request can be sent any more.
    pub fn has_ended(&self) -> bool {
        self.sender.is_closed()
    }

    /// Closes the connection at once, also while its server takes nothing.
    pub fn abort(self) {
        self.driver.abort();
    }

    /// Whether a request can be sent at once.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until a request can be sent; whether one can.
    pub async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Box<Unanswered>> {
        self.meter.message_moved();
        match self.sender.try_send_request(request).await {
            Ok(response) => {
                self.meter.message_moved();
                Ok(response.map(|body| Incoming::response(body, self.limit, &self.meter)))
            }
            Err(mut error) => {
                let unsent = error.take_message();
                let error = match self.stalled.get() {
                    true => Error::Stalled,
                    false => Error::Http1(error.into_error()),
                };
                Err(Box::new(Unanswered { error, unsent }))
            }
        }
    }
}
