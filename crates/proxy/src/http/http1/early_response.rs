//! A stream to a server that may have answered before it stopped reading.
//!
//! A server that wants no more of an upload answers and closes. The codec gives up a
//! connection at the first write that fails, and the answer, which is there to be read,
//! would be lost.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that takes nothing more once its peer takes nothing more, and whose end is
/// found by reading: that comes soon, since the peer is gone.
#[derive(Debug)]
pub struct EarlyResponse<S> {
    stream: S,
    /// Whether something was written since something was read. If not, nothing of the
    /// request was sent, and what there is to read is no answer to it.
    asked: bool,
    /// Whether the peer takes no more.
    closed: bool,
}

impl<S> EarlyResponse<S> {
    /// Reads `stream` to its end.
    pub fn new(stream: S) -> Self {
        Self { stream, asked: false, closed: false }
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// What becomes of a write, or of a flush.
    fn outcome<T>(
        &mut self,
        context: &Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        use ErrorKind::{BrokenPipe, ConnectionReset};
        match written {
            Poll::Ready(Err(error))
                if self.asked && matches!(error.kind(), BrokenPipe | ConnectionReset) =>
            {
                tracing::debug!(%error, "a server takes no more of a request");
                self.closed = true;
                // The codec reads before it writes: it has to look again.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            written => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EarlyResponse<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.asked &= buffer.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EarlyResponse<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.asked |= matches!(written, Poll::Ready(Ok(1..)));
        self.outcome(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.outcome(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.asked |= matches!(written, Poll::Ready(Ok(1..)));
        self.outcome(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::{task::LocalSet, time::timeout};
    use weft_config::Limits;

    use super::*;
    use crate::http::{
        body::Incoming,
        http1::client::Client,
        request_body::{RequestBody, Source},
    };

    /// A server that takes some bytes, then none, and whose answer is read only after that.
    struct Server {
        takes: usize,
        answer: &'static [u8],
        refused: bool,
    }

    impl AsyncRead for Server {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.refused {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match std::mem::take(&mut self.answer) {
                [] => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
                answer => {
                    buffer.put_slice(answer);
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    impl AsyncWrite for Server {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.takes == 0 {
                self.refused = true;
                return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            }
            let count = bytes.len().min(self.takes);
            self.takes -= count;
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The status that an upload gets from a server that takes only `takes` bytes of it.
    async fn ask(takes: usize, answer: &'static [u8]) -> Option<u16> {
        let server = Server { takes, answer, refused: false };
        let mut client = Client::begin(server, &Limits::default()).await.ok().unwrap();
        let body = Incoming::full(Bytes::from(vec![b'x'; 10_000]));
        let upload = Source::of(body, &Default::default());
        let request = http::Request::post("/").body(RequestBody::of(upload.as_ref())).unwrap();
        let answered = timeout(Duration::from_secs(20), client.send(request)).await;
        answered.expect("no end").ok().map(|response| response.status().as_u16())
    }

    #[tokio::test]
    async fn an_answer_is_read_although_the_server_takes_no_more() {
        let large = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig";
        let asking = async {
            assert_eq!(ask(0, large).await, None, "it answers no request");
            for takes in [10, 5000] {
                assert_eq!(ask(takes, large).await, Some(413), "after {takes} bytes");
                assert_eq!(ask(takes, b"").await, None, "after {takes} bytes");
            }
        };
        LocalSet::new().run_until(asking).await;
    }
}
