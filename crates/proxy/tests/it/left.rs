//! Clients of HTTP/1 and of relays that leave while bytes of theirs wait unread.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use serde_json::json;
use socket2::SockRef;
use weft_testkit::waiting::eventually;

use crate::{
    peers::{busy, read_head},
    world::{Client, Running, World, brief, get, lines, ok, serving},
};

/// Nothing here takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(20);
/// As many clients as there may be connections.
const ROOM: usize = 4;
/// More than the proxy reads ahead.
const MUCH: usize = 64 * 1024;

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// With a FIN, and reads on.
    HalfClosing,
    /// With a RST.
    Resetting,
}

impl Leaves {
    /// What is left of the client.
    fn leave(self, client: Client) -> Option<Client> {
        match self {
            Self::HalfClosing => {
                client.0.shutdown(Shutdown::Write).unwrap();
                Some(client)
            }
            Self::Resetting => {
                SockRef::from(&client.0).set_linger(Some(Duration::ZERO)).unwrap();
                None
            }
        }
    }
}

/// A server that answers requests of `/ok` alone; says when another has come, and when its
/// connection has ended.
fn silent() -> (SocketAddr, Receiver<&'static str>) {
    let (sender, said) = channel();
    let address = serving(move |mut stream: TcpStream| {
        if read_head(&mut stream).starts_with("GET /ok ") {
            return stream.write_all(ok("x").as_bytes()).unwrap();
        }
        sender.send("asked").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        sender.send("ended").unwrap();
    });
    (address, said)
}

/// Ends when nobody holds the places of the listener.
fn until_free(proxy: &Running) {
    let served = || {
        let mut clients: Vec<Client> = (0..ROOM - 1).map(|_| proxy.client()).collect();
        let served = |client: &mut Client| {
            // One that is not let in may be reset before it has asked.
            let asked = client.0.write_all(get("x", "/ok").as_bytes());
            asked.is_ok() && brief(&client.hear()) == "200 x"
        };
        clients.iter_mut().all(served).then_some(())
    };
    eventually(HANGS, served).expect("places for new clients");
}

#[test]
fn clients_that_leave_with_bytes_unread_hold_neither_places_nor_requests() {
    let next = get("x", "/next");
    let upgrade = "GET /u HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    for (first, rest) in [
        (&*get("x", "/first"), &*next),
        (&get("x", "/first"), &next.repeat(MUCH / next.len())),
        (upgrade, &"x".repeat(MUCH)),
    ] {
        for leaves in [Leaves::HalfClosing, Leaves::Resetting] {
            let (address, said) = silent();
            let world = World::new().spoken("http1", address);
            let (world, log) = world.log("%RESPONSE_CODE% %RESPONSE_FLAGS%");
            let proxy = world.limits(json!({ "connections": ROOM })).start();
            let mut left = Vec::new();
            for _ in 0..ROOM {
                let mut client = proxy.client();
                client.say(&format!("{first}{rest}"));
                assert_eq!(said.recv_timeout(HANGS), Ok("asked"), "{leaves:?}");
                left.push(client);
            }
            let left: Vec<_> = left.into_iter().map(|client| leaves.leave(client)).collect();
            for _ in 0..ROOM {
                assert_eq!(said.recv_timeout(HANGS), Ok("ended"), "{leaves:?} {}", rest.len());
            }
            until_free(&proxy);
            // At its end all lines are written, those of other requests among them.
            proxy.end();
            let mine = lines(&log, 2 * ROOM - 1).into_iter().filter(|line| line == "0 DC").count();
            assert_eq!(mine, ROOM, "the requests behind the first are never begun");
            drop(left);
        }
    }
}

/// Writes until nobody takes any more, for twice as long as one write may wait; how much that
/// was.
fn until_stuck(client: &mut Client) -> usize {
    client.0.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let (mut written, mut quiet) = (0, 0);
    while quiet < 2 {
        match client.0.write(&[b'x'; MUCH]) {
            Ok(count) => (written, quiet) = (written + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                quiet += 1;
            }
        }
    }
    written
}

/// Of an upload that is stuck, and of a relay.
#[test]
fn clients_that_reset_while_their_server_takes_nothing_are_gone() {
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n";
    for relayed in [false, true] {
        let (sender, came) = channel();
        let (end, ends) = channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        let address = serving(move |mut stream: TcpStream| {
            stream.read_exact(&mut [0; 4]).unwrap();
            sender.send(()).unwrap();
            let _ = ends.lock().unwrap().recv();
        });
        let world = World::new().limits(json!({ "connections": 1 }));
        let world = match relayed {
            false => world.spoken("http1", address),
            true => {
                let to = json!([{ "backends": [["one", 1]], "origin": { "object": "x" } }]);
                world.server("protocol", json!("tcp")).server("tcp", to).backend("one", &[address])
            }
        };
        let proxy = world.start();
        for is_last in [false, true] {
            let began = || {
                let mut client = proxy.client();
                // One that is not let in is closed.
                let said = client.0.write_all(head.as_bytes());
                said.is_ok().then(|| came.recv_timeout(HANGS / 20).ok()).flatten()?;
                Some(client)
            };
            let mut client = eventually(HANGS, began).expect("the place of the one before");
            if is_last {
                break;
            }
            let written = until_stuck(&mut client);
            assert!(written > 8 * MUCH, "{written} bytes");
            Leaves::Resetting.leave(client);
            let is_free = || (busy(&proxy) == 0).then_some(());
            eventually(HANGS, is_free).expect("nothing under way");
        }
        drop(end);
    }
}
