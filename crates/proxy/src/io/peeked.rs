//! A stream whose first bytes can be looked at before they are read.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::io::{gathered, stream::Stream};

/// A stream whose first bytes can be looked at before they are read.
#[derive(Debug)]
pub struct PeekedStream {
    stream: Stream,
    seen: BytesMut,
}

impl PeekedStream {
    /// Nothing looked at yet.
    pub fn new(stream: impl Into<Stream>) -> Self {
        Self { stream: stream.into(), seen: BytesMut::new() }
    }

    /// What was looked at and not read yet.
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Looks further; `false` at the end of the connection.
    pub async fn look(&mut self) -> io::Result<bool> {
        // No memory for one who says nothing yet.
        poll_fn(|context| self.stream.poll_read_ready(context)).await?;
        // One allocation, as hyper would make it for its own first read.
        self.seen.reserve(4096);
        Ok(self.stream.read_buf(&mut self.seen).await? > 0)
    }

    /// Forgets the first `count` bytes of what was looked at.
    pub fn skip(&mut self, count: usize) {
        self.seen.advance(count.min(self.seen.len()));
    }

    /// The stream itself.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The same stream, with `bytes` to be read before anything else.
    #[must_use]
    pub fn with_unread(mut self, bytes: &[u8]) -> Self {
        if !bytes.is_empty() {
            let rest = std::mem::replace(&mut self.seen, bytes.into());
            self.seen.extend_from_slice(&rest);
        }
        self
    }

    /// The stream alone, for when nothing of it was looked at.
    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

impl AsyncRead for PeekedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.seen.len().min(buffer.remaining());
        buffer.put_slice(&self.seen[..count]);
        self.seen.advance(count);
        if self.seen.is_empty() {
            // The memory goes back; the connection may live long.
            self.seen = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PeekedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        gathered::write(&mut self.stream, context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    #[tokio::test]
    async fn what_was_looked_at_is_read_again_but_for_what_was_skipped() {
        let (mut client, near) = duplex(64);
        client.write_all(b"header body").await.unwrap();
        let mut peeked = PeekedStream::new(Stream::layered(near));
        while peeked.seen().len() < 11 {
            assert!(peeked.look().await.unwrap());
        }
        peeked.skip(7);
        let mut peeked = peeked.with_unread(b"un").with_unread(b"");
        client.write_all(b" and more").await.unwrap();
        drop(client);
        let mut text = String::new();
        peeked.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "unbody and more");
    }
}
