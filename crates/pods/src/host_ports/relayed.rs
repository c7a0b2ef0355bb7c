//! A port of the host on which this process accepts, and relays to an endpoint.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{self, TcpStream},
    task::AbortHandle,
    time::timeout,
};
use weft_process::peers::{Connection, Peers};

use crate::{
    admit::{self, reset},
    relay::relay,
};

/// How long an endpoint may take to accept a connection.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// A socket on which this process accepts; it has one descriptor of it, which its task shares.
pub(super) struct RelayedSocket {
    listener: Arc<net::TcpListener>,
    task: AbortHandle,
}

impl RelayedSocket {
    /// Relays what comes to `listener` to `target`.
    pub(super) fn start(
        listener: TcpListener,
        target: SocketAddr,
        peers: Arc<Peers>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = Arc::new(net::TcpListener::from_std(listener)?);
        let carry = move |outside, connection| carry(outside, connection, target);
        let accepting = admit::accept(Arc::clone(&listener), peers, carry);
        Ok(Self { listener, task: tokio::spawn(accepting).abort_handle() })
    }

    /// Accepts no longer; the socket, which goes on listening.
    pub(super) fn stop(self) -> io::Result<TcpListener> {
        self.task.abort();
        // The task lets its share go when the runtime gets to it.
        Ok(self.listener.as_fd().try_clone_to_owned()?.into())
    }
}

async fn carry(outside: TcpStream, connection: Connection, target: SocketAddr) -> io::Result<()> {
    let inside = {
        let _busy = connection.begin();
        timeout(DIAL_DEADLINE, TcpStream::connect(target)).await
    };
    match inside {
        Ok(Ok(inside)) => relay(outside, inside, &connection).await,
        Ok(Err(_)) | Err(_) => reset(&outside),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    const ANYWHERE: &str = "127.0.0.1:0";

    /// Descriptors of this process that are the socket which listens at `address`.
    fn descriptors(address: SocketAddr) -> usize {
        let (ip, port) = (u32::from_ne_bytes([127, 0, 0, 1]), address.port());
        let local = format!("{ip:08X}:{port:04X}");
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        let listens = |fields: &Vec<&str>| fields[1] == local && fields[3] == "0A";
        let mut sockets = sockets.lines().map(|line| line.split_whitespace().collect());
        let inode = sockets.find(listens).unwrap()[9];
        let target = format!("socket:[{inode}]");
        let own = fs::read_dir("/proc/self/fd").unwrap().flatten();
        own.filter(|one| fs::read_link(one.path()).is_ok_and(|path| path.as_os_str() == &*target))
            .count()
    }

    #[tokio::test]
    async fn a_port_takes_one_descriptor_and_can_be_served_and_lent_by_turns() {
        let inside = net::TcpListener::bind(ANYWHERE).await.unwrap();
        let target = inside.local_addr().unwrap();
        let mut listener = TcpListener::bind(ANYWHERE).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..3 {
            let relay = RelayedSocket::start(listener, target, admit::peers(4, 4)).unwrap();
            let (client, accepted) = tokio::join!(TcpStream::connect(address), inside.accept());
            drop(accepted.unwrap());
            assert_eq!(client.unwrap().read(&mut [0]).await.unwrap_or(0), 0, "it ends");
            assert_eq!(descriptors(address), 1);
            listener = relay.stop().unwrap();
            tokio::task::yield_now().await;
            assert_eq!(descriptors(address), 1);
        }
    }

    /// Such as a pod that has stopped: its queue is full, and more get no answer.
    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_does_not_accept_has_a_deadline() {
        let socket = net::TcpSocket::new_v4().unwrap();
        socket.bind(ANYWHERE.parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let target = full.local_addr().unwrap();
        let _queue = [(); 2].map(|()| std::net::TcpStream::connect(target).unwrap());
        let listener = TcpListener::bind(ANYWHERE).unwrap();
        let address = listener.local_addr().unwrap();
        let _relay = RelayedSocket::start(listener, target, admit::peers(4, 4)).unwrap();
        let begun = tokio::time::Instant::now();
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(client.read(&mut [0]).await.is_err(), "it is reset");
        assert!(begun.elapsed() >= DIAL_DEADLINE);
    }
}
