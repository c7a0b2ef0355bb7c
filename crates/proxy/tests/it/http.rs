//! Requests find their way, and bodies theirs.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::{
    frames::{END_HEADERS, END_STREAM, HEADERS, PREFACE, Peer, SETTINGS, block, frame},
    world::{World, brief, get, lines, ok, rule, server},
};

#[test]
fn rules_in_order_lead_to_backends() {
    let (one, two) = (server(&[&ok("one")]), server(&[&ok("two")]));
    let mut by_path = rule("two");
    by_path["conditions"] = json!({ "path": { "prefix": "/two" } });
    let mut by_header = rule("two");
    by_header["conditions"] = json!({ "headers": [["end-user", { "exact": "jason" }]] });
    let proxy = World::new()
        .backend("one", &[one.address])
        .backend("two", &[two.address])
        .route(&["shop.example"], json!([by_path, by_header, rule("one")]))
        .start();
    assert_eq!(brief(&proxy.ask(&get("shop.example", "/"))), "200 one");
    assert_eq!(brief(&proxy.ask(&get("SHOP.example:80", "/two/x?y=1"))), "200 two");
    let jason = "GET / HTTP/1.1\r\nHost: shop.example\r\nEnd-User: jason\r\n\r\n";
    assert_eq!(brief(&proxy.ask(jason)), "200 two");
    assert_eq!(brief(&proxy.ask(&get("cart.example", "/"))), "404 ");
}

#[test]
fn a_connection_serves_one_request_after_the_other_and_so_does_the_servers() {
    let server = server(&[&ok("a"), &ok("bc")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    assert_eq!(brief(&client.ask(&get("x", "/1"))), "200 a");
    for _ in 0..20 {
        assert_eq!(brief(&client.ask(&get("x", "/2"))), "200 bc");
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn bodies_of_every_framing_pass_both_ways() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let server =
        server(&[&ok("with length"), chunked, "HTTP/1.1 200 OK\r\n\r\nto the end then close"]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    let sized = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(brief(&client.ask(sized)), "200 with length");
    let pieces = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
                  2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    let answer = client.ask(pieces);
    assert!(answer.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{answer:?}");
    client.say(&get("x", "/"));
    assert!(client.hear().contains("to the end"));
    let heard = server.heard();
    assert!(heard[0].ends_with("\r\n\r\nhello"), "{}", heard[0]);
    assert!(heard[1].contains("he") && heard[1].contains("llo\r\n0\r\n\r\n"), "{}", heard[1]);
    assert!(heard[2].ends_with("\r\n\r\n") && !heard[2].contains("chunked"), "{}", heard[2]);
}

#[test]
fn a_head_request_gets_the_length_without_the_body() {
    let server = server(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", &ok("next")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.say("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n");
    client.say(&get("x", "/"));
    let both = [client.0.try_clone().unwrap()].map(|mut stream| {
        use std::io::Read;
        let mut text = String::new();
        while !text.ends_with("next") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        text
    });
    assert!(both[0].contains("content-length: 9\r\n"), "{}", both[0]);
}

/// What an answer of 304 says of its length to a client, which asks for more afterwards.
#[track_caller]
fn length_of_304(method: &str, (upstream, address): (&str, SocketAddr)) -> Option<String> {
    let (world, log) = World::new().spoken(upstream, address).log("%RESPONSE_CODE%");
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&format!("{method} / HTTP/1.1\r\nhost: x\r\n\r\n"));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 304"), "{head}");
    // It would be taken for the body that may not be there.
    client.say(&get("x", "/next"));
    assert!(client.head().starts_with("HTTP/1.1 "));
    assert_eq!(lines(&log, 2)[0], "304");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.map(str::to_owned)
}

#[test]
fn an_answer_of_304_keeps_its_length() {
    for length in ["9", "0", ""] {
        let field = match length {
            "" => String::new(),
            some => format!("content-length: {some}\r\n"),
        };
        let expected = (!length.is_empty()).then(|| length.to_owned());
        for method in ["GET", "HEAD"] {
            let fresh = format!("HTTP/1.1 304 Not Modified\r\n{field}etag: 1\r\n\r\n");
            let server = server(&[&fresh, &ok("next")]);
            assert_eq!(length_of_304(method, ("http1", server.address)), expected, "{method}");
        }
    }
}

#[test]
fn an_answer_of_304_keeps_its_length_from_a_server_of_http_2() {
    for method in ["GET", "HEAD"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut peer = Peer::on(listener.accept().unwrap().0);
            std::io::Read::read_exact(&mut peer.0, &mut [0; PREFACE.len()]).unwrap();
            peer.say(&frame(SETTINGS, 0, 0, &[]));
            let head = block(&[(":status", "304"), ("content-length", "9")]);
            while let Some(request) = peer.until(HEADERS) {
                peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, request.stream, &head));
            }
        });
        let length = length_of_304(method, ("http2", address));
        assert_eq!(length.as_deref(), Some("9"), "{method}");
    }
}

#[test]
fn large_bodies_stream_through() {
    let body = "x".repeat(3_000_000);
    let server = server(&[&ok(&body)]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let request = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n{body}");
    assert_eq!(brief(&proxy.ask(&request)), format!("200 {body}"));
    assert!(server.heard()[0].ends_with(&body));
}

#[test]
fn a_fixed_answer_needs_no_server() {
    let respond = json!([{ "name": "teapot", "origin": { "object": "x" }, "action": { "respond":
        { "status": 418, "body": "short and stout", "details": "direct_response" } } }]);
    let proxy = World::new().route(&["*"], respond).start();
    let answer = proxy.ask(&get("x", "/"));
    assert_eq!(brief(&answer), "418 short and stout");
    assert!(answer.contains("content-type: text/plain\r\n"), "{answer}");
    assert!(!answer.contains("date:"), "{answer}");
}

#[test]
fn a_rule_has_as_much_time_as_it_says() {
    let server = server(&["hang"]);
    let mut slow = rule("one");
    slow["timeout"] = json!("0.02s");
    let proxy = World::new().backend("one", &[server.address]).route(&["*"], json!([slow])).start();
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "504 upstream request timeout");
}

#[test]
fn weights_are_served_exactly() {
    let (one, two) = (server(&[&ok("one")]), server(&[&ok("two")]));
    let mut split = rule("one");
    split["action"] = json!({ "forward": [
        { "backend": "one", "weight": 90 }, { "backend": "two", "weight": 10 } ] });
    let proxy = World::new()
        .backend("one", &[one.address])
        .backend("two", &[two.address])
        .route(&["*"], json!([split]))
        .start();
    let mut client = proxy.client();
    let answers: Vec<_> = (0..20).map(|_| brief(&client.ask(&get("x", "/")))).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "200 two").count(), 2, "{answers:?}");
}

#[test]
fn what_is_under_way_ends_well_when_the_proxy_is_to_end() {
    let server = server(&[&ok("first"), &ok("second")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.ask(&get("x", "/"));
    client.say("GET / HTTP/1.1\r\nhost: x\r\n");
    proxy.stop();
    // The connection may have been taken for an idle one, and be closed already.
    let _ = std::io::Write::write_all(&mut client.0, b"\r\n");
    let last = client.hear();
    assert!(last.is_empty() || last.contains("connection: close"), "{last}");
    assert_eq!(client.rest(), "");
    proxy.end();
}
