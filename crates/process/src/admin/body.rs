//! Bodies of answers: whole, or piece by piece as they are made.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

/// A piece that its reader does not take for this long ends the answer.
const STALLED: Duration = Duration::from_secs(10);

/// The body of an answer.
#[derive(Debug)]
pub struct Body(Content);

enum Content {
    Whole(Bytes),
    /// Nobody has asked for it yet.
    Unmade(Make),
    Pieces(Making),
}

/// Begins to make a body.
type Make = Box<dyn FnOnce() -> Making + Send>;

/// A body that is being made.
struct Making {
    receiver: mpsc::Receiver<Piece>,
    /// The task that makes it, which ends with this.
    _task: JoinSet<()>,
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Whole(_) => "Whole",
            Self::Unmade(_) => "Unmade",
            Self::Pieces(_) => "Pieces",
        })
    }
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

    /// A body that `make` makes while it is read; only a few pieces are in memory at once. That
    /// begins when the first piece is asked for, and ends when the body is dropped, so that a
    /// reader who leaves, or wants the head alone, costs nothing more.
    pub fn streamed<M, F>(make: M) -> Self
    where
        M: FnOnce(Pieces) -> F + Send + 'static,
        F: Future<Output = Result<(), Gone>> + Send + 'static,
    {
        Self(Content::Unmade(Box::new(move || {
            let (sender, receiver) = mpsc::channel(2);
            let making = make(Pieces(sender));
            let mut task = JoinSet::new();
            task.spawn(async move {
                // A reader who is gone needs no word of it.
                let _ = making.await;
            });
            Making { receiver, _task: task }
        })))
    }

    /// Whether it is made while it is read.
    pub(super) fn is_streamed(&self) -> bool {
        !matches!(self.0, Content::Whole(_))
    }

    /// Reads all of it; none when it broke off.
    pub async fn collect(self) -> Option<Bytes> {
        let mut making = match self.0 {
            Content::Whole(bytes) => return Some(bytes),
            Content::Unmade(make) => make(),
            Content::Pieces(making) => making,
        };
        let mut all = Vec::new();
        loop {
            match making.receiver.recv().await? {
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
        let mut making = match std::mem::replace(&mut self.0, Content::Whole(Bytes::new())) {
            Content::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Content::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Content::Unmade(make) => make(),
            Content::Pieces(making) => making,
        };
        let polled = making.receiver.poll_recv(context);
        if !matches!(polled, Poll::Ready(Some(Piece::End))) {
            self.0 = Content::Pieces(making);
        }
        Poll::Ready(match ready!(polled) {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(BrokenOff)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match &self.0 {
            Content::Whole(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Content::Unmade(_) | Content::Pieces(_) => hyper::body::SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::sync::Arc;

    #[tokio::test]
    async fn pieces_are_one_answer_when_their_end_was_said() {
        for complete in [true, false] {
            let body = Body::streamed(move |pieces| async move {
                for piece in ["a", "", "bc"] {
                    pieces.send(piece).await?;
                }
                match complete {
                    true => pieces.end().await,
                    false => Ok(()),
                }
            });
            assert_eq!(body.collect().await, complete.then(|| Bytes::from("abc")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_ends_the_answer() {
        let (say, sent) = tokio::sync::oneshot::channel();
        let mut body = Body::streamed(|pieces| async move {
            let mut sent = 0;
            while pieces.send("x").await.is_ok() {
                sent += 1;
            }
            say.send(sent).map_err(|_| Gone)
        });
        body.frame().await.unwrap().unwrap();
        assert_eq!(sent.await, Ok(3), "one was read");
        drop(body);
    }

    #[tokio::test]
    async fn nothing_is_made_before_it_is_asked_for_nor_after_the_reader_has_left() {
        let (pieces, left) = (Arc::new(()), Arc::new(()));
        let (begun, held) = (Arc::downgrade(&pieces), Arc::downgrade(&left));
        let mut body = Body::streamed(|pieces_of_body| async move {
            drop(pieces);
            pieces_of_body.send("x").await?;
            // However long the maker waits for something else.
            std::future::pending::<()>().await;
            drop(left);
            Ok(())
        });
        tokio::task::yield_now().await;
        assert_eq!(begun.strong_count(), 1, "it has begun");
        body.frame().await.unwrap().unwrap();
        assert_eq!((begun.strong_count(), held.strong_count()), (0, 1));
        drop(body);
        while held.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
