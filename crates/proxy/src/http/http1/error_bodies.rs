//! A body for the answers that the HTTP/1 codec gives on its own.
//!
//! Hyper answers a head that it cannot read with a status and nothing else, and has no
//! setting for it. Users of Envoy find the reason as text, so these few answers are replaced as
//! they are written, where nothing else can be: while no request is being answered, and after
//! all of earlier answers has been written. Heads with two readings, which the codec would choose from, are made to be refused.
//! What follows a request to upgrade is kept back until it is known what that is.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::http1::{
    exchange::Exchanges,
    pending_upgrade::PendingUpgrade,
    raw_head::{Found, RawHeads, Violation},
};

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

/// What is read at most after a request to upgrade, before that is answered.
const MOST_HELD: usize = 16 * 1024;

/// A stream on which the codec's own answers get a body.
#[derive(Debug)]
pub struct ErrorBodies<S> {
    stream: S,
    /// What is sent instead, and how much of it has been.
    instead: Option<(String, usize)>,
    exchanges: Exchanges,
    /// Whether all of earlier answers has been written, and nothing since.
    quiet: bool,
    heads: RawHeads,
    upgrade: Arc<PendingUpgrade>,
    /// What follows a request to upgrade, until that is answered.
    held: BytesMut,
}

impl<S> ErrorBodies<S> {
    /// Looks at what is written to `stream`, whose requests are answered in `exchanges`, and those
    /// to upgrade in `upgrade`.
    pub fn new(stream: S, exchanges: &Exchanges, upgrade: &Arc<PendingUpgrade>) -> Self {
        let (heads, upgrade, held) = (RawHeads::default(), Arc::clone(upgrade), BytesMut::new());
        let exchanges = exchanges.clone();
        Self { stream, instead: None, exchanges, quiet: true, heads, upgrade, held }
    }

    /// What is wrong with a head that the codec refused, where more is known than it says.
    pub fn violation(&self) -> Option<Violation> {
        self.heads.violation()
    }

    /// The stream itself, and what was read of it and nobody has.
    pub fn into_inner(self) -> (S, BytesMut) {
        (self.stream, self.held)
    }
}

impl<S: AsyncRead + Unpin> ErrorBodies<S> {
    /// Waits for the answer to a request to upgrade, and meanwhile for the client's end: what else it
    /// says is held. True at that end.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if let Poll::Ready(answer) = self.upgrade.poll_answer(context) {
                self.heads.upgrade_answered(answer);
                return Poll::Ready(Ok(false));
            }
            if self.held.len() >= MOST_HELD {
                return Poll::Pending;
            }
            let mut bytes = [MaybeUninit::uninit(); 1024];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(true));
            }
            self.held.extend_from_slice(buffer.filled());
        }
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
        let quiet = std::mem::take(&mut this.quiet) && !this.exchanges.are_under_way();
        if quiet && this.instead.is_none() {
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
        // The codec flushes when it has written all that it has.
        self.quiet = !self.exchanges.are_under_way();
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
            _ => {
                self.quiet = false;
                Pin::new(&mut self.stream).poll_write_vectored(context, slices)
            }
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
        let this = &mut *self;
        if this.heads.awaits_upgrade() && ready!(this.poll_answer(context))? {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if this.held.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let count = this.held.len().min(buffer.remaining());
            buffer.put_slice(&this.held.split_to(count));
        }
        let read = &mut buffer.filled_mut()[before..];
        match this.heads.look(read) {
            Found::Nothing => {}
            // No head has this byte, so the codec refuses the one that has two readings.
            Found::Ambiguous(at) => read[at] = 0,
            Found::Upgrade(at) => {
                let rest = std::mem::replace(&mut this.held, BytesMut::from(&read[at..]));
                this.held.extend_from_slice(&rest);
                buffer.set_filled(before + at);
            }
        }
        Poll::Ready(Ok(()))
    }
}
