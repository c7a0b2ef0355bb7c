//! A TCP connection whose end can be waited for beside its reader.
//!
//! A reader that does not read for now, since it has more than it can use, does not learn of
//! the peer's end. The kernel says it nevertheless, and that is what is waited for here. What
//! the bytes mean is not known here.

use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    ops::Deref,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use weft_balance::ConnectionPermit;

/// A TCP connection. All clones read and write the same one, and it is closed with the last.
#[derive(Clone, Debug)]
pub struct SharedTcp {
    stream: Arc<TcpStream>,
    /// Counts the connection as long as it is open, where connections like it are counted. It is
    /// dropped after the connection.
    _counted: Option<Arc<ConnectionPermit>>,
}

impl From<TcpStream> for SharedTcp {
    fn from(stream: TcpStream) -> Self {
        Self { stream: Arc::new(stream), _counted: None }
    }
}

impl Deref for SharedTcp {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl SharedTcp {
    /// The same connection, which holds `permit` until it is closed.
    pub fn counted_by(self, permit: ConnectionPermit) -> Self {
        Self { _counted: Some(Arc::new(permit)), ..self }
    }

    /// Ready once the peer sends no more, or the connection is broken, also while bytes wait
    /// to be read.
    pub async fn ended(self) {
        // Urgent data is not asked for, so that this is the end of what comes, or of all.
        self.wait(Interest::PRIORITY).await;
    }

    /// Ready once the connection is broken, by a reset or since the peer is silent, also while
    /// bytes wait to be read.
    pub async fn broken(self) {
        self.wait(Interest::ERROR).await;
    }

    /// Waits in the registration that reads and writes have: for this, no system call is made.
    /// One that is polled often looks at nothing but what is known by then. Only a single
    /// `interest` can be looked at.
    async fn wait(&self, interest: Interest) {
        let mut change = pin!(self.stream.ready(interest));
        let mut waker: Option<Waker> = None;
        poll_fn(|context| {
            if self.stream.try_io(interest, || Ok(())).is_ok() {
                return Poll::Ready(());
            }
            if waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                return Poll::Pending;
            }
            waker = Some(context.waker().clone());
            change.as_mut().poll(context).map(drop)
        })
        .await;
    }

    /// Does `transfer`, which says how many of `wanted` bytes it transferred. Fewer than that
    /// show that no more can be transferred for now, which saves the next try.
    fn transfer(
        &self,
        interest: Interest,
        wanted: usize,
        transfer: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut partly = None;
        let all = self.stream.try_io(interest, || {
            let count = transfer()?;
            if (1..wanted).contains(&count) {
                partly = Some(count);
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        partly.map_or(all, Ok)
    }

    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        wanted: usize,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match self.transfer(Interest::WRITABLE, wanted, || write(&self.stream)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncRead for SharedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let read = self.transfer(Interest::READABLE, buffer.remaining(), || {
                self.stream.try_read_buf(buffer)
            });
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for SharedTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, bytes.len(), |stream| stream.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write) {
            // The peer has ended it already.
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            ended => Poll::Ready(ended),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        self.poll_write_with(context, wanted, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// Both ends of a connection: the peer's, and the one that is looked at.
    async fn connection() -> (TcpStream, SharedTcp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (peer, listener.accept().await.unwrap().0.into())
    }

    fn reset(peer: TcpStream) {
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
    }

    /// Whether `waits` would wait.
    async fn is_pending(mut waits: Pin<&mut impl Future>) -> bool {
        poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn the_end_is_seen_while_bytes_wait_to_be_read() {
        let (mut peer, near) = connection().await;
        peer.write_all(&[7; 50_000]).await.unwrap();
        near.readable().await.unwrap();
        let (ended, broken) = (near.clone().ended(), near.clone().broken());
        let (mut ended, mut broken) = (pin!(ended), pin!(broken));
        assert!(is_pending(ended.as_mut()).await, "there are bytes, and no end");
        peer.shutdown().await.unwrap();
        ended.await;
        assert!(is_pending(broken.as_mut()).await, "it reads on");
        reset(peer);
        broken.await;
        // What came before can be read nevertheless, and then the end.
        let mut rest = Vec::new();
        let _ = near.clone().read_to_end(&mut rest).await;
        assert_eq!(rest, [7; 50_000]);
    }

    #[tokio::test]
    async fn a_reset_is_an_end_for_all_who_wait() {
        let (mut peer, near) = connection().await;
        peer.write_all(b"unread").await.unwrap();
        let waits = async {
            tokio::join!(near.clone().ended(), near.clone().broken(), near.clone().ended());
        };
        let resets = async { reset(peer) };
        tokio::join!(waits, resets);
        near.clone().ended().await;
    }

    #[tokio::test]
    async fn what_was_read_in_part_shows_that_there_is_no_more() {
        let (mut peer, mut near) = connection().await;
        peer.write_all(b"one").await.unwrap();
        let mut buffer = [0; 16];
        assert_eq!(near.read(&mut buffer).await.unwrap(), 3);
        let is_readable = || near.try_io(Interest::READABLE, || Ok(())).is_ok();
        assert!(!is_readable(), "the next read is no system call");
        peer.write_all(b"twothree").await.unwrap();
        assert_eq!(near.read(&mut buffer[..3]).await.unwrap(), 3);
        assert_eq!(&buffer[..3], b"two");
        assert_eq!(near.read(&mut buffer).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn much_is_written_in_parts_while_the_peer_reads() {
        let (mut peer, mut near) = connection().await;
        let bytes: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
        let writes = async {
            near.write_all(&bytes[..2_000_000]).await.unwrap();
            let mut rest = &bytes[2_000_000..];
            while !rest.is_empty() {
                let (one, other) = rest.split_at(rest.len() / 2);
                let slices = [IoSlice::new(one), IoSlice::new(other)];
                let count = near.write_vectored(&slices).await.unwrap();
                rest = &rest[count..];
            }
            near.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let reads = async { peer.read_to_end(&mut read).await.unwrap() };
        tokio::join!(writes, reads);
        assert!(read == bytes, "{} bytes", read.len());
    }
}
