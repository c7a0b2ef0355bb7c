//! Responses on their way to the transport.
//!
//! A response is encoded when the transport asks for it, and goes on in small parts as the client
//! takes them. So a client that does not read costs the one response that it is about to get, and
//! what it costs can be counted until the transport has all of it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Status, body::Body};

use crate::message::DeltaResponse;

/// Bytes that the transport gets at a time.
const PART: usize = 16 << 10;

/// Something that is kept until the transport has all of a response.
type Held = Box<dyn Send>;

/// A response, and what is kept until it is sent.
pub(super) struct Sending {
    response: DeltaResponse,
    held: Option<Held>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("nonce", &self.response.nonce).finish_non_exhaustive()
    }
}

/// Sends responses, one after the other.
#[derive(Debug)]
pub struct Responses(mpsc::Sender<Result<Sending, Status>>);

/// Room for one response.
#[derive(Debug)]
pub struct Slot<'a>(mpsc::Permit<'a, Result<Sending, Status>>);

impl Slot<'_> {
    /// Sends a response. `held` is dropped when the transport has all of it, or the stream ends.
    pub fn send(self, response: DeltaResponse, held: Option<Box<dyn Send>>) {
        self.0.send(Ok(Sending { response, held }));
    }
}

/// Both ends of a stream's responses.
pub(super) fn channel() -> (Responses, Outgoing) {
    let (sender, receiver) = mpsc::channel(1);
    (Responses(sender), Outgoing { receiver, held: None })
}

impl Responses {
    /// Sends one response as soon as there is room for it; whether the stream is still there.
    pub async fn send(&self, response: DeltaResponse) -> bool {
        self.0.send(Ok(Sending { response, held: None })).await.is_ok()
    }

    /// Room for one response, unless another one waits for the transport or the stream has ended.
    pub fn slot(&self) -> Option<Slot<'_>> {
        self.0.try_reserve().ok().map(Slot)
    }

    /// Ready once there is room for a response, or the stream has ended; safe to cancel.
    pub async fn ready(&self) {
        // The stream's end is noticed elsewhere.
        let _ = self.0.reserve().await;
    }

    /// Ready once the client has left, also while its requests are not read; safe to cancel.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    pub(super) async fn fail(self, status: Status) {
        // An error means that the client has left already.
        let _ = self.0.send(Err(status)).await;
    }
}

/// Responses as the transport asks for them.
pub(super) struct Outgoing {
    receiver: mpsc::Receiver<Result<Sending, Status>>,
    /// Of the response that the transport has got last.
    held: Option<Held>,
}

impl Stream for Outgoing {
    type Item = Result<DeltaResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The one before is encoded and gone, or so small that it waits for company.
        self.held = None;
        let next = ready!(self.receiver.poll_recv(context));
        Poll::Ready(next.map(|next| {
            next.map(|Sending { response, held }| {
                self.held = held;
                response
            })
        }))
    }
}

/// A body that goes on in small parts, and asks for more when all parts have been taken.
pub(super) struct InParts {
    body: Body,
    rest: Bytes,
}

impl InParts {
    pub(super) fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl hyper::body::Body for InParts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) if data.len() > PART => self.rest = data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(PART);
        // A copy: a part of it would keep all of it for as long as that waits.
        let part = Bytes::copy_from_slice(&self.rest.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Waker};

    use hyper::body::Body as _;
    use tonic::codec::Codec as _;
    use tonic::codec::{EncodeBody, SingleMessageCompressionOverride};
    use tonic_prost::ProstCodec;

    use super::*;
    use crate::message::Resource;

    fn response(bytes: usize) -> DeltaResponse {
        let resources = vec![Resource::new("one", 1, vec![b' '; bytes].into())];
        DeltaResponse { resources, ..DeltaResponse::default() }
    }

    /// The next part, if there is one now.
    fn part(body: &mut InParts) -> Option<Bytes> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut context) {
            Poll::Ready(Some(frame)) => Some(frame.unwrap().into_data().unwrap()),
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    #[test]
    fn what_is_held_for_a_response_is_held_until_all_of_it_has_been_taken() {
        let (responses, outgoing) = channel();
        let encoder = ProstCodec::<DeltaResponse, DeltaResponse>::default().encoder();
        let compression = SingleMessageCompressionOverride::default();
        let body = EncodeBody::new_server(encoder, outgoing, None, compression, None);
        let mut body = InParts::new(Body::new(body));
        let held: Vec<Arc<()>> = (0..2).map(|_| Arc::new(())).collect();
        let send = |number: usize| {
            let held = Box::new(Arc::clone(&held[number]));
            responses.slot().unwrap().send(response(1 << 20), Some(held));
        };
        send(0);
        assert!(responses.slot().is_none(), "one response waits for the transport");
        let mut taken = part(&mut body).unwrap().len();
        send(1);
        while taken < 1 << 20 {
            assert!(responses.slot().is_none(), "nothing is encoded before it can go");
            assert_eq!(Arc::strong_count(&held[0]), 2);
            let part = part(&mut body).unwrap();
            assert!(part.len() <= PART);
            taken += part.len();
        }
        while responses.slot().is_none() {
            part(&mut body).unwrap();
        }
        assert_eq!(held.iter().map(Arc::strong_count).collect::<Vec<_>>(), [1, 2]);
        drop(body);
        assert_eq!(Arc::strong_count(&held[1]), 1, "the stream's end lets go of everything");
    }
}
