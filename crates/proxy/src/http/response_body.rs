//! The body of a response on its way to the client.
//!
//! When its end is reached the connection to the server goes back to where it
//! came from, and the outcome is recorded; when the client leaves before, the
//! outcome says so.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::{
    http::{
        body::Incoming,
        deadline::Deadline,
        error::{Cause, Error},
        grpc, headers,
        http2::client::Upload,
        http2::outgoing_body::Outgoing,
        request_body::Source,
    },
    telemetry::outcome::Outcome,
    upstream::pool::PooledConnection,
};

/// The body of a response.
#[derive(Default)]
pub enum Payload {
    /// Nothing.
    #[default]
    Empty,
    /// A text of our own.
    Own(Option<Bytes>),
    /// What the server sends.
    Relayed(Box<Relayed>),
}

/// What a server sends.
pub struct Relayed {
    /// The bytes.
    pub incoming: Incoming,
    /// What is recorded at the end.
    pub outcome: Option<Box<Outcome>>,
    /// The connection that they come from.
    pub connection: Option<PooledConnection>,
    /// Sends the rest of the request's body, as long as this is there.
    pub _upload: Option<Upload>,
    /// The request's body, which must be through before the connection serves another.
    pub source: Option<Rc<Source>>,
    /// When the exchange must be over.
    pub deadline: Option<Deadline>,
    /// The length that the head of an answer without a body names (RFC 9110, section 8.6).
    pub announced: Option<u64>,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The server's connection failed.
    #[error("the server's answer ended early")]
    Server(#[source] Error),
    /// It took too long.
    #[error("the answer took longer than its rule allows")]
    Timeout,
}

impl From<PayloadError> for io::Error {
    fn from(error: PayloadError) -> Self {
        io::Error::other(error)
    }
}

impl Payload {
    /// A text of our own.
    pub fn own(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        match text.is_empty() {
            true => Self::Empty,
            false => Self::Own(Some(text)),
        }
    }
}

impl Relayed {
    fn complete(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(mut outcome) = self.outcome.take() {
            if let Some(trailers) = trailers {
                outcome.grpc_ended(grpc::status(trailers));
            }
            outcome.complete();
        }
        if let Some(connection) = self.connection.take() {
            connection.release(self.source.as_deref());
        }
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        let limit = ready!(deadline.poll(context));
        if let Some(mut outcome) = self.outcome.take() {
            outcome.failed(&limit.within_answer());
        }
        Poll::Ready(())
    }

    fn poll_relayed(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PayloadError>>> {
        if self.poll_expired(context).is_ready() {
            return Poll::Ready(Some(Err(PayloadError::Timeout)));
        }
        match ready!(Pin::new(&mut self.incoming).poll_frame(context)) {
            None => {
                self.complete(None);
                Poll::Ready(None)
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::finish_trailers(trailers);
                }
                match (frame.data_ref(), frame.trailers_ref()) {
                    (Some(data), _) => {
                        if let Some(outcome) = &mut self.outcome {
                            outcome.passes(data);
                        }
                    }
                    (None, Some(trailers)) => self.complete(Some(trailers)),
                    (None, None) => {}
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let request = self.source.as_ref().and_then(|source| source.failure());
                match (self.outcome.take(), request, &error) {
                    (None, ..) => {}
                    // Without the rest of its request the exchange could not go on.
                    (Some(mut outcome), Some(cause), _) => outcome.request_broke_off(cause),
                    // Envoy reads on after the end, and finds the message broken.
                    (Some(mut outcome), None, Error::Http1(_)) => {
                        outcome.failed(&Cause::Protocol.of_answer());
                    }
                    (Some(mut outcome), None, other) => outcome.failed(&other.cause().of_answer()),
                }
                Poll::Ready(Some(Err(PayloadError::Server(error))))
            }
        }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        if self.outcome.is_none() {
            return;
        }
        // The codec does not ask again after the last byte of a known length.
        if self.incoming.is_end_stream() {
            self.complete(None);
        } else if let Some(limit) = self.deadline.as_ref().and_then(Deadline::passed)
            && let Some(mut outcome) = self.outcome.take()
        {
            outcome.failed(&limit.within_answer());
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = PayloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PayloadError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Relayed(relayed) => relayed.poll_relayed(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Own(None) => true,
            Self::Own(Some(_)) => false,
            // The codec of HTTP/1 leaves the length away where there is nothing to come. It
            // does not ask for a body that may not be there, and so never finds out.
            Self::Relayed(relayed) => {
                relayed.announced.is_none() && relayed.incoming.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Own(None) => SizeHint::with_exact(0),
            Self::Own(Some(text)) => SizeHint::with_exact(text.len() as u64),
            Self::Relayed(relayed) => match relayed.announced {
                Some(length) => SizeHint::with_exact(length),
                None => relayed.incoming.size_hint(),
            },
        }
    }
}

impl Outgoing for Payload {
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Relayed(relayed) => relayed.poll_expired(context),
            Self::Empty | Self::Own(_) => Poll::Pending,
        }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Relayed(relayed) => relayed.incoming.waiting(),
            Self::Empty | Self::Own(_) => 0,
        }
    }
}
