//! A stream that sends several short slices by one plain write.
//!
//! A head and a short body are two pieces of memory. Copying them together is
//! cheaper than a vectored write; long ones are never copied. What the bytes mean
//! is not known here.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::stream::Stream;

/// The most bytes that are copied together.
const SHORT: usize = 4096;

/// A stream that sends several short slices by one plain write.
#[derive(Debug)]
pub struct GatheredWriter(pub Stream);

/// Writes `slices`, or the first bytes of them, to `stream`.
pub fn write(
    stream: &mut Stream,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if let [only] = slices {
        return stream.poll_write(context, only);
    }
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > SHORT {
        return stream.poll_write_vectored(context, slices);
    }
    let mut gathered: SmallVec<[u8; SHORT]> = SmallVec::new();
    slices.iter().for_each(|slice| gathered.extend_from_slice(slice));
    stream.poll_write(context, &gathered)
}

impl AsyncRead for GatheredWriter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for GatheredWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write(&mut self.0, context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, duplex};

    #[tokio::test]
    async fn short_and_long_messages_arrive_in_order() {
        let (mut peer, near) = duplex(2 * SHORT);
        let mut gathered = GatheredWriter(Stream::layered(near));
        let long = vec![b'l'; SHORT];
        let messages: [&[&[u8]]; 4] = [&[b"one"], &[b"head ", b"body"], &[b"head ", &long], &[]];
        for pieces in messages {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let write = |context: &mut Context<'_>| {
                Pin::new(&mut gathered).poll_write_vectored(context, &slices)
            };
            let written = poll_fn(write).await.unwrap();
            let mut arrived = vec![0; written];
            peer.read_exact(&mut arrived).await.unwrap();
            assert_eq!(arrived, pieces.concat());
        }
    }
}
