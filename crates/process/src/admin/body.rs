//! Bodies of answers: whole, or piece by piece as they are made.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::{sync::mpsc, time::timeout};

/// A piece that its reader does not take for this long ends the answer.
const STALLED: Duration = Duration::from_secs(10);

/// The body of an answer.
#[derive(Debug)]
pub struct Body(Content);

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    Pieces(mpsc::Receiver<Piece>),
}

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    End,
}

/// The end of those who make the pieces. Dropping it before [`Pieces::end`] breaks the
/// answer off, so that half of it never passes for the whole.
#[derive(Debug)]
pub struct Pieces(mpsc::Sender<Piece>);

/// The reader has left, or reads nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader of the answer is gone")]
pub struct Gone;

/// The maker of the answer gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer could not be completed")]
pub struct BrokenOff;

impl Body {
    /// A body that is all there.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Whole(bytes.into()))
    }

    /// A body that is made while it is read; only a few pieces are in memory at once.
    pub fn streamed() -> (Pieces, Self) {
        let (sender, receiver) = mpsc::channel(2);
        (Pieces(sender), Self(Content::Pieces(receiver)))
    }

    /// Whether it is made while it is read.
    pub(super) fn is_streamed(&self) -> bool {
        matches!(self.0, Content::Pieces(_))
    }

    /// Reads all of it; none when it broke off.
    pub async fn collect(self) -> Option<Bytes> {
        let mut receiver = match self.0 {
            Content::Whole(bytes) => return Some(bytes),
            Content::Pieces(receiver) => receiver,
        };
        let mut all = Vec::new();
        loop {
            match receiver.recv().await? {
                Piece::Data(bytes) => all.extend_from_slice(&bytes),
                Piece::End => return Some(all.into()),
            }
        }
    }
}

impl Pieces {
    /// Hands over the next piece; waits while the reader is behind.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Ok(());
        }
        self.put(Piece::Data(bytes)).await
    }

    /// Says that the answer is complete.
    pub async fn end(self) -> Result<(), Gone> {
        self.put(Piece::End).await
    }

    async fn put(&self, piece: Piece) -> Result<(), Gone> {
        match timeout(STALLED, self.0.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.0 {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Pieces(receiver) => Poll::Ready(match ready!(receiver.poll_recv(context)) {
                Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
                Some(Piece::End) => {
                    self.0 = Content::Whole(Bytes::new());
                    None
                }
                None => Some(Err(BrokenOff)),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match &self.0 {
            Content::Whole(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Content::Pieces(_) => hyper::body::SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_are_one_answer_when_their_end_was_said() {
        for complete in [true, false] {
            let (pieces, body) = Body::streamed();
            let making = async {
                for piece in ["a", "", "bc"] {
                    pieces.send(piece).await.unwrap();
                }
                match complete {
                    true => pieces.end().await.unwrap(),
                    false => drop(pieces),
                }
            };
            let ((), read) = tokio::join!(making, body.collect());
            assert_eq!(read, complete.then(|| Bytes::from("abc")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_ends_the_answer() {
        let (pieces, body) = Body::streamed();
        let mut sent = 0;
        while pieces.send("x").await.is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 2);
        drop(body);
    }
}
