//! Bytes both ways until both sides are done.
//!
//! Each direction ends on its own, so that half-closed connections work.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

/// Room for each direction.
const BUFFER: usize = 128 * 1024;

/// How many bytes went by, also while they still do.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// From the client.
    pub received: Rc<Cell<u64>>,
    /// To the client.
    pub sent: Rc<Cell<u64>>,
}

/// Copies between `client` and `server` until both have ended.
pub async fn relay<C, S>(client: C, mut server: S, passed: &Passed) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = Counted { io: client, passed: passed.clone() };
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
    Ok(())
}

/// Counts what is read from and written to `io`.
struct Counted<T> {
    io: T,
    passed: Passed,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let count = (buffer.filled().len() - before) as u64;
        self.passed.received.set(self.passed.received.get() + count);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.passed.sent.set(self.passed.sent.get() + count as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn an_answer_still_comes_after_the_client_has_said_all() {
        let (mut client, near) = duplex(64);
        let (mut server, far) = duplex(64);
        let passed = Passed::default();
        let talking = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut heard = String::new();
            server.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "question");
            server.write_all(b"long answer").await.unwrap();
            drop(server);
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "long answer");
        };
        let (relayed, ()) = tokio::join!(relay(near, far, &passed), talking);
        relayed.unwrap();
        assert_eq!((passed.received.get(), passed.sent.get()), (8, 11));
    }
}
