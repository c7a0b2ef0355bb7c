//! What could be read in two ways, or never ends, is refused.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{Arc, Barrier},
};

use crate::{
    peers::read_head,
    world::{World, brief, get, lines, message, ok, server, serving},
};

/// The status that a proxy answers `request` with; 0 when it just closes.
#[track_caller]
fn check(request: &str, status: u16) {
    let server = server(&[&ok("")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.say(request);
    let answer = client.hear();
    let found = answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    assert_eq!(found, status, "{request:?} {answer}");
    if status >= 400 {
        assert!(server.heard().is_empty(), "{request:?} reached the server");
    }
}

#[test]
fn ambiguous_lengths_are_refused() {
    for fields in [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: +3\r\n",
        "content-length: 3x\r\n",
        "content-length: 0x3\r\n",
        "transfer-encoding: identity\r\n",
    ] {
        check(&format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\nabc"), 400);
    }
}

#[test]
fn what_has_two_readings_is_refused_and_the_connection_ends() {
    let server = server(&[&ok("")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    for fields in [
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "x-a: 1\ntransfer-encoding: chunked\r\n",
    ] {
        let mut client = proxy.client();
        // The second request on a connection is looked at like the first.
        client.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n1\n\n2");
        assert!(client.hear().starts_with("HTTP/1.1 200 "));
        client.say(&format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n1\r\na\r\n0\r\n\r\n"));
        let _ = client.0.write_all(b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n");
        let refused = client.rest();
        assert!(refused.starts_with("HTTP/1.1 400 "), "{fields}: {refused}");
        assert!(refused.ends_with("\r\n\r\nBad Request"), "{fields}: {refused}");
    }
    let heard = server.heard();
    assert_eq!(heard.len(), 3, "{heard:?}");
}

#[test]
fn trailers_with_two_readings_hide_no_request() {
    let server = server(&[&ok("")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.say(
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\n\r\n\
         X /x HTTP/1.1\r\ncontent-length: 100000\r\n\r\n",
    );
    let _ = client.0.write_all(b"GET /hidden HTTP/1.1\r\nhost: x\nx-a: b\r\n\r\n");
    assert!(!client.rest().contains("HTTP/1.1 200 "));
    assert!(!server.heard().iter().any(|one| one.contains("/hidden")), "{:?}", server.heard());
}

#[test]
fn a_chunks_size_without_end_is_refused_and_the_connection_ends() {
    let server = server(&[&ok("")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    for (size, rest) in [("", "0"), ("5", " ")] {
        let mut client = proxy.client();
        client.say("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        client.say(&format!("{size}{}", rest.repeat(512)));
        let refused = client.rest();
        assert!(refused.starts_with("HTTP/1.1 400 "), "{rest:?}: {refused}");
        let mut client = proxy.client();
        client.say("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        // It ends before all of this has been taken.
        let _ = client.0.write_all(format!("{size}{}", rest.repeat(1 << 20)).as_bytes());
        client.rest();
    }
}

/// A server that answers with `begin`, and then says `rest` again and again.
fn endless(begin: &'static str, rest: &'static str) -> SocketAddr {
    serving(move |mut stream| {
        message(&mut stream);
        let _ = stream.write_all(begin.as_bytes());
        let rest = rest.repeat(1000);
        while stream.write_all(rest.as_bytes()).is_ok() {}
    })
}

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

#[test]
fn a_server_that_informs_without_end_is_an_error_of_the_server() {
    let address = endless("", "HTTP/1.1 103 E\r\n\r\n");
    let (world, log) = World::new().spoken("http1", address).log(LOG);
    let answer = world.start().ask(&get("x", "/"));
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let details = "upstream_reset_before_response_started{protocol_error}";
    assert_eq!(lines(&log, 1), [format!("502 UPE {details}")]);
}

#[test]
fn a_server_may_inform_again_and_again() {
    let informed = format!("{}{}", "HTTP/1.1 102 P\r\n\r\n".repeat(1000), ok("last"));
    let server = server(&[&informed]);
    let proxy = World::new().spoken("http1", server.address).start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(brief(&client.ask(&get("x", "/"))), "200 last");
    }
}

#[test]
fn a_chunks_size_of_a_server_without_end_ends_its_answer() {
    let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let blanks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n5";
    for (begin, rest) in [(begin, "0"), (blanks, " ")] {
        let (world, log) = World::new().spoken("http1", endless(begin, rest)).log(LOG);
        let proxy = world.start();
        let mut client = proxy.client();
        client.say(&get("x", "/"));
        let answer = client.rest();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("abc\r\n"), "{answer}");
        let details = "upstream_reset_after_response_started{protocol_error}";
        assert_eq!(lines(&log, 1), [format!("200 UPE {details}")]);
    }
}

#[test]
fn a_request_with_a_body_asks_for_no_other_protocol() {
    let server = server(&[&ok("plain")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    for body in ["content-length: 3\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let wish = "connection: upgrade\r\nupgrade: websocket";
        let answer = proxy.ask(&format!("POST / HTTP/1.1\r\nhost: x\r\n{wish}\r\n{body}"));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("plain"), "{answer}");
    }
    assert!(server.heard().iter().all(|one| !one.contains("upgrade")), "{:?}", server.heard());
}

#[test]
fn an_answer_without_a_body_that_is_framed_oddly_is_an_error_of_the_server() {
    let head = |answer: &str| {
        let server = server(&[answer]);
        let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
        let mut client = proxy.client();
        client.say("HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.rest()
    };
    for length in ["", "x", "-3", "+3", "3, 4", "00000000000000000003"] {
        let answer = head(&format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 502 "), "{length}: {answer}");
    }
    let answer = head("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let answer = head("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
    assert!(answer.contains("content-length: 3\r\n"), "{answer}");
    let answer = head("HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 204 ") && !answer.contains("content-length"), "{answer}");
}

#[test]
fn encodings_other_than_chunks_are_not_implemented() {
    for encoding in ["gzip, chunked", "chunked, chunked", "chunked\r\ntransfer-encoding: chunked"] {
        let fields = format!("transfer-encoding: {encoding}\r\n");
        check(&format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n0\r\n\r\n"), 501);
    }
}

#[test]
fn a_length_that_is_said_twice_is_said_once_to_the_server() {
    let server = server(&[&ok("")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    client.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc");
    assert!(client.hear().starts_with("HTTP/1.1 200"));
    let heard = server.heard();
    assert_eq!(heard[0].matches("content-length: 3\r\n").count(), 1, "{heard:?}");
    assert!(heard[0].ends_with("\r\n\r\nabc"), "{heard:?}");
}

#[test]
fn ambiguous_hosts_and_targets_are_refused() {
    check("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET ftp://x/ HTTP/1.1\r\nhost: x\r\n\r\n", 400);
    check("GET /%00 HTTP/1.1\r\nhost: x\r\n\r\n", 400);
    check("GET x:80 HTTP/1.1\r\nhost: other\r\n\r\n", 400);
    check("GET * HTTP/1.1\r\nhost: x\r\n\r\n", 400);
    check("CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n", 404);
    check("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 404);
}

#[test]
fn what_is_not_a_host_is_refused_before_routing() {
    let long = "a".repeat(254);
    for host in [
        "",
        ":80",
        "a/b",
        "a b",
        "user@a",
        "a:80@b",
        "a%20b",
        "a,b.example.com",
        "a..example.com",
        "*.a",
        "a\\b",
        "[::1",
        "a:b:80",
        &long,
    ] {
        check(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), 400);
    }
    for host in ["a:", "a_b.C:80", "[::1]:80", "a.", &long[1..]] {
        check(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), 200);
    }
    check("GET http://user@x/ HTTP/1.1\r\nhost: x\r\n\r\n", 400);
}

#[test]
fn only_websockets_may_take_over_a_connection() {
    let upgrade = |protocol: &str| {
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n")
    };
    check(&upgrade("anything"), 403);
    check(&upgrade("websocket, anything"), 403);
    check(&upgrade("WebSocket"), 200);
    check("GET / HTTP/1.1\r\nhost: x\r\nupgrade: anything\r\n\r\n", 200);
}

#[test]
fn a_switch_that_the_client_did_not_ask_for_is_an_error_of_the_server() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                  \r\nGET /smuggled HTTP/1.1\r\n\r\n";
    let server = server(&[switch]);
    let (world, log) = World::new()
        .backend("one", &[server.address])
        .all_to("one")
        .log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%");
    let proxy = world.start();
    let mut client = proxy.client();
    assert!(client.ask(&get("x", "/")).starts_with("HTTP/1.1 502 "));
    let expected = "502 UPE upstream_reset_before_response_started{protocol_error}";
    assert_eq!(lines(&log, 1), [expected]);
    // The client's connection goes on, and its next request is one.
    assert!(client.ask(&get("x", "/")).starts_with("HTTP/1.1 502 "));
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_switch_to_another_protocol_than_was_asked_for_is_an_error_of_the_server() {
    let switch = |fields: &str| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n";
        format!("{head}{fields}\r\nGET /smuggled HTTP/1.1\r\n\r\n")
    };
    for (fields, status) in [
        ("upgrade: other\r\n", 502),
        ("upgrade: websocket, other\r\n", 502),
        ("", 502),
        ("upgrade: websocket\r\ncontent-length: 3\r\n", 502),
        ("upgrade: WebSocket\r\ncontent-length: 0\r\n", 101),
    ] {
        let server = server(&[&switch(fields)]);
        let world = World::new().backend("one", &[server.address]).all_to("one");
        let proxy = world.start();
        let answer = proxy.ask(WEBSOCKET);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields:?} {answer}");
        assert!(!answer.contains("content-length: 0"), "{answer}");
    }
}

const WEBSOCKET: &str =
    "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

#[test]
fn a_handshake_that_fails_is_passed_on_and_logged_as_such() {
    let server = server(&[&ok("no")]);
    let (world, log) = World::new()
        .backend("one", &[server.address])
        .all_to("one")
        .log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%");
    let proxy = world.start();
    assert!(proxy.ask(WEBSOCKET).ends_with("\r\n\r\nno"));
    assert_eq!(lines(&log, 1), ["200 - websocket_handshake_unsuccessful"]);
}

#[test]
fn a_target_of_https_is_refused_where_clients_outside_speak_without_tls() {
    for (edge, status) in [(true, "403"), (false, "200")] {
        let server = server(&[&ok("")]);
        let proxy = World::new()
            .server("edge", serde_json::json!(edge))
            .backend("one", &[server.address])
            .all_to("one")
            .start();
        let answer = proxy.ask("GET https://x/ HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
}

#[test]
fn malformed_heads_are_refused() {
    check("GET / HTTP/1.1\r\nhost: x\r\nx bad: 1\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost: x\r\nx-bad : 1\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost: x\r\nno-colon\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\nhost: x\r\nx-nul: a\0b\r\n\r\n", 400);
    let many: String = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect();
    check(&format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 431);
    let large = "b".repeat(70_000);
    check(&format!("GET / HTTP/1.1\r\nhost: x\r\nx-big: {large}\r\n\r\n"), 431);
}

#[test]
fn any_token_is_a_method() {
    check("FOO / HTTP/1.1\r\nhost: x\r\n\r\n", 200);
}

#[test]
fn what_is_no_http_on_a_port_of_http_is_told_so_or_closed() {
    check("HELLO WORLD\r\n\r\n", 400);
    check("\u{16}\u{3}\u{1}hello", 0);
}

#[test]
fn random_hosts_leave_nothing_behind() {
    let proxy = World::new().start();
    let mut client = proxy.client();
    for number in 0..500 {
        let request = format!("GET / HTTP/1.1\r\nhost: h{number}.example\r\n\r\n");
        assert!(client.ask(&request).starts_with("HTTP/1.1 404 "));
    }
    let metrics = proxy.get("merged", "/stats/prometheus");
    let series = metrics.lines().filter(|line| line.starts_with("istio_requests_total{")).count();
    assert_eq!(series, 1);
}

#[test]
fn heads_that_cannot_be_read_are_told_so_in_words() {
    let proxy = World::new().start();
    let long = "l".repeat(70_000);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nx bad: 1\r\n\r\n", "400 Bad Request"),
        (
            &format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"),
            "431 Request Header Fields Too Large",
        ),
    ] {
        let answer = proxy.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert!(answer.contains("content-type: text/plain\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{}", &status[4..])), "{answer}");
    }
}

#[test]
fn content_that_reads_like_the_codecs_own_answer_passes_as_it_is() {
    for status in ["400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large"] {
        let content =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let (length, text) = (content.len(), content.clone());
        let head_came = Arc::new(Barrier::new(2));
        let goes_on = Arc::clone(&head_came);
        let address = serving(move |mut stream| {
            loop {
                let head = read_head(&mut stream);
                if head.starts_with("GET /content ") {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                    goes_on.wait();
                    stream.write_all(text.as_bytes()).unwrap();
                } else if head.is_empty() || stream.write_all(ok("next").as_bytes()).is_err() {
                    return;
                }
            }
        });
        let proxy = World::new().spoken("http1", address).start();
        let mut client = proxy.client();
        client.say(&get("x", "/content"));
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        head_came.wait();
        let mut body = vec![0; length];
        client.0.read_exact(&mut body).unwrap();
        assert_eq!(String::from_utf8_lossy(&body), content);
        assert_eq!(brief(&client.ask(&get("x", "/next"))), "200 next");
        let refused = client.ask("GET / HTTP/1.1\r\nx bad: 1\r\n\r\n");
        assert_eq!(brief(&refused), "400 Bad Request", "what is the codec's own has a body");
    }
}
