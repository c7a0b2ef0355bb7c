//! What connections cost while nothing happens on them.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::json;

use crate::world::{Client, World, alone, memory, message};

const CONNECTIONS: usize = 1000;
const UPGRADE: &str =
    "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// A server that keeps every connection, in one thread; says when it has one more.
fn keeping(upgrades: bool) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, taken) = channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if upgrades {
                message(&mut stream).unwrap();
                stream.write_all(SWITCH.as_bytes()).unwrap();
            }
            kept.push(stream);
            sender.send(()).unwrap();
        }
    });
    (address, taken)
}

/// Bytes of memory for each idle connection that is relayed, by an upgrade or from the start.
fn cost(upgrades: bool) -> u64 {
    let (address, taken) = keeping(upgrades);
    let world = match upgrades {
        true => World::new().all_to("one"),
        false => World::new().server("protocol", json!("tcp")).server(
            "tcp",
            json!([{ "backends": [["one", 1]], "origin": { "object": "Service/default/tcp" } }]),
        ),
    };
    let proxy = world.backend("one", &[address]).start();
    let connect = |_| {
        let mut client = proxy.client();
        if upgrades {
            client.say(UPGRADE);
            assert!(client.head().starts_with("HTTP/1.1 101"));
        }
        taken.recv().unwrap();
        client
    };
    let _first: Vec<Client> = (0..100).map(connect).collect();
    let before = memory();
    let _idle: Vec<Client> = (0..CONNECTIONS).map(connect).collect();
    memory().saturating_sub(before) / CONNECTIONS as u64
}

#[test]
fn an_idle_relay_or_websocket_costs_little() {
    alone("idle::relays_in_a_process_of_their_own");
}

#[test]
#[ignore = "run alone by another test, for others would use memory as well"]
fn relays_in_a_process_of_their_own() {
    for upgrades in [false, true] {
        let each = cost(upgrades);
        assert!(each < 16 * 1024, "{each} bytes for each; upgraded: {upgrades}");
    }
}
