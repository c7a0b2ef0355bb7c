//! Upgrades that are refused, or half made.

use crate::world::{World, ok, server};

/// A wish for another protocol.
const WEBSOCKET: &str =
    "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

/// After a wish that is refused come requests, and what has two readings is refused there, too.
#[test]
fn what_follows_a_refused_upgrade_is_read_as_strictly_as_what_came_before() {
    let smuggled = "POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\
                    transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let bare = "GET /b HTTP/1.1\r\nhost: x\r\na: b\nc: d\r\n\r\n";
    let connect = "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n";
    for wish in [WEBSOCKET, connect] {
        for next in [smuggled, bare] {
            for at_once in [true, false] {
                let server = server(&[&ok("no"), &ok("smuggled")]);
                let proxy = World::new().spoken("http1", server.address).start();
                let mut client = proxy.client();
                if at_once {
                    client.say(&format!("{wish}{next}"));
                } else {
                    client.ask(wish);
                    client.say(next);
                }
                let answers = client.rest();
                assert!(answers.contains("HTTP/1.1 400 "), "{wish}{next}{answers}");
                assert!(server.heard().iter().all(|one| !one.contains("/b ")), "{wish}{next}");
            }
        }
    }
}

#[test]
fn requests_beside_a_refused_upgrade_are_answered_in_order() {
    let server = server(&[&ok("1"), &ok("2"), &ok("3"), &ok("4")]);
    let proxy = World::new().spoken("http1", server.address).start();
    let mut client = proxy.client();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let last = "GET /4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.say(&format!("{}{WEBSOCKET}{}{last}", get("/1"), get("/3")));
    let answers = client.rest();
    let bodies: Vec<&str> =
        answers.split("\r\n\r\n").skip(1).map(|body| &body[..body.len().min(1)]).collect();
    assert_eq!(bodies, ["1", "2", "3", "4"], "{answers}");
}
