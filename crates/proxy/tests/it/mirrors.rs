//! Copies of requests: what their servers hear, and that nothing they do reaches the client.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use weft_testkit::waiting::eventually;

use crate::{
    faults::server2,
    frames::{
        DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, Peer, RST_STREAM, SETTINGS, block,
        code, frame, post,
    },
    world::{Client, Server, World, backend, brief, get, lines, ok, rule, server, serving},
};

/// Nothing here takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(20);

/// A rule for backend `main`, with copies of all requests to `copy`.
fn mirrored(besides: &Value) -> Value {
    let mut rule = rule("main");
    rule["mirrors"] = json!([{"backend": "copy", "share": 1_000_000}]);
    rule.as_object_mut().unwrap().extend(besides.as_object().cloned().unwrap_or_default());
    rule
}

fn world(main: SocketAddr, copy: SocketAddr, besides: &Value) -> World {
    let world = World::new().backend("main", &[main]).backend("copy", &[copy]);
    world.route(&["*"], json!([mirrored(besides)]))
}

/// A server that does `serve` with a connection, and what it found.
fn telling<T: Send + 'static>(serve: fn(TcpStream) -> T) -> (SocketAddr, Receiver<T>) {
    let (sender, found) = channel();
    let address = serving(move |stream| {
        let _ = sender.send(serve(stream));
    });
    (address, found)
}

#[test]
fn a_copy_is_the_request_that_the_rule_makes_and_its_answer_is_nobodys() {
    let (main, copy) =
        (server(&[&ok("main")]), server(&["HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\ncopy"]));
    let changes =
        json!({"changes": {"path": {"whole": "/new"}, "request": {"set": [["x-set", "1"]]}}});
    let (world, log) =
        world(main.address, copy.address, &changes).log("%REQ(:PATH)% %RESPONSE_CODE%");
    let proxy = world.start();
    let mut client = proxy.client();
    for body in ["", "five!"] {
        let request = format!(
            "POST /old HTTP/1.1\r\nHost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(brief(&client.ask(&request)), "200 main");
    }
    copy.until_heard(2);
    let heard = |server: &Server, hops: &str| {
        let mut heard = server.heard();
        heard.sort();
        assert!(heard.iter().all(|one| one.contains(hops)), "{heard:?}");
        heard.iter().map(|one| one.replace(hops, "")).collect::<Vec<_>>()
    };
    let sent = heard(&main, "x-weft-hops: 1\r\n");
    assert_eq!(heard(&copy, "x-weft-hops: 2\r\n"), sent);
    assert!(sent[0].starts_with("POST /new HTTP/1.1\r\nHost: x\r\n"), "{sent:?}");
    assert!(sent[0].contains("\r\nx-set: 1\r\n") && sent.iter().any(|one| one.ends_with("five!")));
    assert_eq!(lines(&log, 2), ["/old 200", "/old 200"], "copies are in no log");
}

#[test]
fn a_long_body_without_a_length_goes_to_both() {
    let (main, copy) = (server(&[&ok("main")]), server(&[&ok("copy")]));
    let proxy = world(main.address, copy.address, &json!({})).start();
    let mut client = proxy.client();
    client.say("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for at in 0..100_u8 {
        // These are no digits of the sizes of chunks.
        let piece = char::from(b'g' + at % 20).to_string().repeat(10_000);
        client.say(&format!("2710\r\n{piece}\r\n"));
    }
    client.say("0\r\n\r\n");
    assert_eq!(brief(&client.hear()), "200 main");
    copy.until_heard(1);
    let letters = |heard: &str| {
        let body = heard.split_once("\r\n\r\n").unwrap().1;
        let is_size = |line: &&str| u64::from_str_radix(line, 16).is_ok();
        body.split("\r\n").filter(|line| !is_size(line)).collect::<String>()
    };
    let (sent, copied) = (letters(&main.heard()[0]), letters(&copy.heard()[0]));
    assert_eq!((sent.len(), copied == sent), (1_000_000, true), "{}", copied.len());
}

/// The same, where both servers speak HTTP/2.
fn of_http2(main: SocketAddr, copy: SocketAddr, besides: &Value) -> World {
    let of = |name: &str, address: SocketAddr| {
        let mut backend = backend(name, json!({"fixed": address}));
        backend["upstream"] = json!("http2");
        json!({"backend": backend})
    };
    let world = World::new().resource(of("main", main)).resource(of("copy", copy));
    world.route(&["*"], json!([mirrored(besides)]))
}

/// The bytes of a request on a stream of HTTP/2, to its end.
fn upload(frames: &Receiver<Frame>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let frame = frames.recv_timeout(HANGS).unwrap();
        if frame.kind == DATA {
            bytes.extend(&frame.payload);
        }
        if frame.kind <= HEADERS && frame.flags & END_STREAM != 0 {
            return bytes;
        }
    }
}

#[test]
fn calls_of_grpc_are_copied_message_by_message() {
    let ((main, sent), (copy, copied)) = (server2(), server2());
    let proxy = of_http2(main, copy, &json!({})).start();
    let mut peer = Peer::greeted(proxy.at("test"));
    let head =
        [post(), block(&[("content-type", "application/grpc"), ("te", "trailers")])].concat();
    peer.say(&frame(HEADERS, END_HEADERS, 1, &head));
    peer.say(&frame(DATA, 0, 1, b"\0\0\0\0\x03one"));
    peer.say(&frame(DATA, END_STREAM, 1, b"\0\0\0\0\x03two"));
    assert!(peer.until(HEADERS).is_some());
    let call = b"\0\0\0\0\x03one\0\0\0\0\x03two";
    assert_eq!((upload(&sent), upload(&copied)), (call.to_vec(), call.to_vec()));
}

#[test]
fn a_stream_for_which_there_is_no_window_is_reset_in_time() {
    let (main, _heard) = server2();
    let (copy, reset) = telling(|stream| {
        let mut peer = Peer::on(stream);
        peer.0.read_exact(&mut [0; PREFACE.len()]).unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        peer.say(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
        peer.until(RST_STREAM).map(|frame| code(&frame))
    });
    let proxy = of_http2(main, copy, &json!({"timeout": "0.5s"})).start();
    let request = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\n";
    let got = proxy.client().ask(&format!("{request}{}", "x".repeat(50_000)));
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
    assert_eq!(reset.recv_timeout(HANGS).unwrap(), Some(8), "the copy is cancelled");
}

/// Reads a request of `LONG` bytes, and answers it.
fn takes_long(mut stream: TcpStream) {
    let mut client = Client(stream.try_clone().unwrap());
    client.head();
    let mut piece = vec![0; 1 << 16];
    let mut left = LONG;
    while left > 0 {
        left -= stream.read(&mut piece).unwrap();
    }
    stream.write_all(ok("main").as_bytes()).unwrap();
}

const LONG: usize = 48 << 20;

/// Connections of this machine to `address` that nobody has ended.
fn connections_to(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let is_open = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|remote| remote.ends_with(&port)) && fields.get(3) == Some(&"01")
    };
    table.lines().skip(1).filter(is_open).count()
}

#[test]
fn a_server_of_copies_that_takes_nothing_is_left_behind() {
    let (main, _done) = telling(takes_long);
    let (sender, held) = channel();
    let copy = serving(move |stream| drop(sender.send(stream)));
    let proxy = world(main, copy, &json!({"timeout": "1s"})).start();
    let mut client = proxy.client();
    client.say(&format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {LONG}\r\n\r\n"));
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..LONG >> 20 {
        client.0.write_all(&piece).unwrap();
    }
    assert_eq!(brief(&client.hear()), "200 main");
    let mut stream = held.recv_timeout(HANGS).unwrap();
    // It has taken nothing, and never will: its connection is ended nevertheless.
    let ended = || (connections_to(copy) == 0).then_some(());
    eventually(HANGS, ended).expect("the copy is given up");
    stream.set_read_timeout(Some(HANGS)).unwrap();
    let mut taken = 0;
    let mut piece = vec![0; 1 << 16];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        taken += count;
    }
    assert!(taken < LONG, "all of {taken} bytes was kept for it");
}

#[test]
fn a_copy_is_given_up_when_its_answer_is_late_or_too_long() {
    let main = server(&[&ok("main")]);
    let silent = server(&["hang"]);
    let proxy = world(main.address, silent.address, &json!({"timeout": "0.5s"})).start();
    let mut client = proxy.client();
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 main");
    silent.until_closed(1);
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 main");

    let (endless, found) = telling(|mut stream| {
        Client(stream.try_clone().unwrap()).head();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let piece = [b"10000\r\n", &[b'x'; 1 << 16][..], b"\r\n"].concat();
        while stream.write_all(&piece).is_ok() {}
    });
    let proxy = world(main.address, endless, &json!({"timeout": "3600s"})).start();
    assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "200 main");
    found.recv_timeout(HANGS).expect("nobody reads an answer without an end");

    let broken = server(&["close"]);
    let proxy = world(main.address, broken.address, &json!({})).start();
    assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "200 main");
    broken.until_heard(1);
    let nowhere = World::new().backend("main", &[main.address]);
    let proxy = nowhere.route(&["*"], json!([mirrored(&json!({}))])).start();
    assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "200 main");
}

#[test]
fn a_copy_ends_where_the_clients_request_breaks_off() {
    let main = server(&[&ok("main")]);
    let (begun, heard) = channel();
    let (ended, end) = channel();
    let copy = serving(move |mut stream| {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"part") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        begun.send(()).unwrap();
        let rest = stream.read_to_end(&mut bytes).map(|_| bytes.ends_with(b"part"));
        let _ = ended.send(rest.unwrap_or(true));
    });
    let proxy = world(main.address, copy, &json!({"timeout": "3600s"})).start();
    let mut client = proxy.client();
    client.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\npart");
    heard.recv_timeout(HANGS).expect("the copy begins with the request");
    drop(client);
    assert!(end.recv_timeout(HANGS).expect("the copy ends"), "nothing more was sent");
}

#[test]
fn what_is_no_longer_http_and_what_is_a_copy_is_not_copied() {
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let (main, copy) = (server(&[switching, &ok("main")]), server(&[&ok("copy")]));
    let proxy = world(main.address, copy.address, &json!({})).start();
    let mut client = proxy.client();
    client.say("GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let mut client = proxy.client();
    let again = "GET /copy HTTP/1.1\r\nhost: x\r\nx-weft-hops: 2\r\n\r\n";
    assert_eq!(brief(&client.ask(again)), "200 main");
    assert_eq!(brief(&client.ask(&get("x", "/plain"))), "200 main");
    copy.until_heard(1);
    let heard = copy.heard();
    assert!(heard.len() == 1 && heard[0].starts_with("GET /plain "), "{heard:?}");
}

#[test]
fn many_copies_that_hang_take_no_more_than_their_share() {
    let main = server(&[&ok("main")]);
    let silent = server(&["hang"]);
    let proxy = world(main.address, silent.address, &json!({})).start();
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let mut client = proxy.client();
            thread::spawn(move || {
                for _ in 0..400 {
                    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 main");
                }
            })
        })
        .collect();
    asking.into_iter().for_each(|one| one.join().unwrap());
    let workers = thread::available_parallelism().unwrap().get();
    let count = silent.connections();
    assert!((1..=256 * workers).contains(&count), "{count} connections");
}
