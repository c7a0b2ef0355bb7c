//! Peers that open many connections, and say nothing or take nothing.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::*;
use crate::admit;

/// What all clients of these tests have together: they are of one machine.
const MOST: usize = 64;

/// Makes the program at the other end take nothing more, and stay.
const HOLD: u8 = 0;

/// A relay to a program that sends back what it gets.
struct Relay {
    address: SocketAddr,
    peers: Arc<weft_process::peers::Peers>,
    tasks: [AbortHandle; 2],
}

impl Relay {
    async fn start() -> Self {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = echo.local_addr().unwrap();
        let echoing = tokio::spawn(async move {
            loop {
                let (mut stream, _) = echo.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut first = [1];
                    stream.peek(&mut first).await?;
                    if first == [HOLD] {
                        std::future::pending::<()>().await;
                    }
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let peers = admit::peers(MOST, MOST);
        let carry = move |outside, connection: Connection| async move {
            relay(outside, TcpStream::connect(target).await?, &connection).await
        };
        let relaying = tokio::spawn(admit::accept(listener, Arc::clone(&peers), carry));
        Self { address, peers, tasks: [echoing.abort_handle(), relaying.abort_handle()] }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Whether a new client is served.
    async fn echoes(&self) -> bool {
        echoes(&mut self.connect().await).await
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 5];
    let echoed = async {
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut answer).await
    };
    echoed.await.is_ok() && answer == *b"hello"
}

#[tokio::test]
async fn both_ways_end_on_their_own() {
    let relay = Relay::start().await;
    let mut stream = relay.connect().await;
    let sent = vec![7; 1 << 20];
    let (mut from, mut to) = stream.split();
    let sending = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (_, read) = tokio::join!(sending, from.read_to_end(&mut got));
    read.unwrap();
    assert_eq!(got, sent);
}

#[tokio::test]
async fn hundreds_of_connections_that_say_nothing_keep_no_other_out() {
    let relay = Relay::start().await;
    let mut held = Vec::new();
    for _ in 0..6 * MOST {
        held.push(relay.connect().await);
    }
    for _ in 0..4 {
        assert!(relay.echoes().await);
    }
    assert!(relay.peers.connections() <= MOST);
    assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0, "it has made room");
}

#[tokio::test]
async fn hundreds_of_connections_that_are_half_closed_keep_no_other_out() {
    let relay = Relay::start().await;
    let mut held = Vec::new();
    for _ in 0..6 * MOST {
        let stream = relay.connect().await;
        stream.try_write(&[HOLD]).unwrap();
        socket2::SockRef::from(&stream).shutdown(std::net::Shutdown::Write).unwrap();
        held.push(stream);
    }
    for _ in 0..4 {
        assert!(relay.echoes().await);
    }
    assert!(relay.peers.connections() <= MOST);
}

/// It says a byte from time to time, and none of the others does.
#[tokio::test]
async fn a_connection_that_is_in_use_is_not_the_one_that_makes_room() {
    let relay = Relay::start().await;
    let mut used = relay.connect().await;
    assert!(echoes(&mut used).await);
    let mut held = Vec::new();
    for _ in 0..MOST - 1 {
        held.push(relay.connect().await);
    }
    assert!(echoes(held.last_mut().unwrap()).await, "all have been accepted");
    tokio::time::pause();
    tokio::time::advance(USED_AGAIN).await;
    tokio::time::resume();
    assert!(echoes(&mut used).await);
    for _ in 0..MOST / 2 {
        assert!(relay.echoes().await);
    }
    assert!(echoes(&mut used).await);
    assert_eq!(held[0].read(&mut [0]).await.unwrap_or(0), 0, "it has made room");
}
