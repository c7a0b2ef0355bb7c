//! A body for the answers that the HTTP/1 codec gives on its own.
//!
//! Hyper answers a head that it cannot read with a status and nothing else, and has no
//! setting for it. Users of Envoy find the reason as text, so these few answers, which
//! never come from a server (they lack what the proxy adds), are replaced as they are
//! written. Heads with two readings, which the codec would choose from, are made to be refused.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::http1::raw_head::RawHeads;

macro_rules! answer {
    ($status:literal, $length:literal) => {
        (
            concat!("HTTP/1.1 ", $status, "\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            concat!(
                "HTTP/1.1 ",
                $status,
                "\r\ncontent-length: ",
                $length,
                "\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
            ),
            $status,
        )
    };
}

/// What the codec writes, and the head and the body, after the number, of what is sent.
const ANSWERS: [(&str, &str, &str); 3] = [
    answer!("400 Bad Request", 11),
    answer!("414 URI Too Long", 12),
    answer!("431 Request Header Fields Too Large", 31),
];

/// A stream on which the codec's own answers get a body.
#[derive(Debug)]
pub struct ErrorBodies<S> {
    stream: S,
    /// What is sent instead, and how much of it has been.
    instead: Option<(String, usize)>,
    heads: RawHeads,
}

impl<S> ErrorBodies<S> {
    /// Looks at what is written to `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, instead: None, heads: RawHeads::default() }
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

fn replacement(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let (_, head, status) = ANSWERS.iter().find(|(own, ..)| own.as_bytes() == bytes)?;
    Some(format!("{head}{}", &status[4..]))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ErrorBodies<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            this.instead = replacement(bytes).map(|text| (text, 0));
        }
        let Some((text, sent)) = &mut this.instead else {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        };
        while *sent < text.len() {
            let rest = &text.as_bytes()[*sent..];
            *sent += ready!(Pin::new(&mut this.stream).poll_write(context, rest))?;
        }
        this.instead = None;
        Poll::Ready(Ok(bytes.len()))
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
        match slices {
            [only] => self.poll_write(context, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ErrorBodies<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = &mut buffer.filled_mut()[before..];
        if let Some(at) = self.heads.look(read) {
            // No head has this byte, so the codec refuses the one that has two readings.
            read[at] = 0;
        }
        Poll::Ready(Ok(()))
    }
}
