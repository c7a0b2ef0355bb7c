//! Connections to servers of HTTP/2 that many clients share, and wear out.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, channel},
    },
    thread,
};

use serde_json::json;

use crate::{
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Peer, RST_STREAM, frame, get},
    goaway::{OK, raw_server},
    world::World,
};

/// More than a codec puts up with on one connection.
const RESETS: u32 = 3600;

/// A server of HTTP/2 that says something about a stream after that was reset, and nothing
/// before.
struct LateServer {
    address: SocketAddr,
    /// Requests that have arrived.
    arrived: Arc<AtomicUsize>,
    /// Its ends of connections.
    connections: Receiver<Peer>,
}

fn late_server() -> LateServer {
    let (arrived, (sender, connections)) = (Arc::new(AtomicUsize::new(0)), channel());
    let counted = Arc::clone(&arrived);
    let address = raw_server(&[], move |_, peer| {
        let _ = sender.send(Peer::on(peer.0.try_clone().unwrap()));
        while let Some(next) = peer.next() {
            match next.kind {
                HEADERS => _ = counted.fetch_add(1, SeqCst),
                RST_STREAM => {
                    peer.say(&frame(HEADERS, END_HEADERS, next.stream, OK));
                    peer.say(&frame(DATA, END_STREAM, next.stream, b"late"));
                }
                _ => {}
            }
        }
    });
    LateServer { address, arrived, connections }
}

#[test]
fn a_connection_that_many_clients_reset_streams_on_is_replaced_and_its_streams_go_on() {
    let server = late_server();
    let until_arrived = |count: usize| {
        while server.arrived.load(SeqCst) < count {
            thread::yield_now();
        }
    };
    let limits = json!({ "prematureResets": u32::MAX });
    let proxy = World::new().limits(limits).spoken("http2", server.address).start();
    let mut long = proxy.client();
    long.say(&crate::world::get("x", "/long"));
    until_arrived(1);
    let mut first = server.connections.recv().unwrap();
    let mut peer = Peer::greeted(proxy.at("test"));
    for number in 0..RESETS {
        let stream = 2 * number + 1;
        peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &get()));
        until_arrived(number as usize + 2);
        peer.say(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    assert!(server.connections.recv().is_ok(), "another connection");
    first.say(&frame(HEADERS, END_HEADERS, 1, OK));
    first.say(&frame(DATA, END_STREAM, 1, b"whole"));
    let answer = long.hear();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nwhole\r\n"), "{answer}");
}
