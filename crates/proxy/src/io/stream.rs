//! A stream of bytes, whatever carries them.
//!
//! Everything above works on this type: a plain TCP connection, or a layer on top of
//! another stream (TLS, a tunnel, memory in tests). What the bytes mean is not known here.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use weft_balance::ConnectionPermit;

use crate::io::shared_tcp::SharedTcp;

/// A stream of bytes.
pub enum Stream {
    /// A TCP connection.
    Tcp(SharedTcp),
    /// A layer on top of another stream.
    Layered(Box<dyn Layered>),
}

/// What can be a layer on top of a stream.
pub trait Layered: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Layered for T {}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream.into())
    }
}

impl Stream {
    /// A stream carried by `layer`.
    pub fn layered(layer: impl Layered + 'static) -> Self {
        Self::Layered(Box::new(layer))
    }

    /// The same stream, which holds `permit`, if there is one, until it is closed.
    pub fn counted_by(self, permit: Option<ConnectionPermit>) -> Self {
        match (self, permit) {
            (Self::Tcp(stream), Some(permit)) => Self::Tcp(stream.counted_by(permit)),
            (stream, _) => stream,
        }
    }

    /// This end's address, where the stream is a connection of its own.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket().and_then(|socket| socket.local_addr().ok())
    }

    /// The socket, where the stream is a connection of its own.
    pub fn socket(&self) -> Option<&SharedTcp> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Layered(_) => None,
        }
    }

    /// Ready when reading is worth a try; a layer always says so.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Layered(_) => Poll::Ready(Ok(())),
        }
    }

    /// Makes the peer see a reset instead of an orderly end when this is dropped, as far
    /// as the stream can tell one from the other.
    pub fn reset_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            // It fails only for connections that are gone already.
            let _ = SockRef::from(&**stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Layered(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Layered(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Layered(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Layered(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Layered(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Layered(stream) => stream.is_write_vectored(),
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(formatter),
            Self::Layered(_) => formatter.write_str("Layered"),
        }
    }
}
