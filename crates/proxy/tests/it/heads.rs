//! What servers and clients see of each other's heads.

use serde_json::json;

use crate::world::{World, get, ok, server};

/// The head that a server gets for `request`, line by line, sorted out by `edge`.
fn seen(edge: bool, request: &str) -> Vec<String> {
    let server = server(&[&ok("")]);
    let proxy = World::new()
        .server("edge", json!(edge))
        .backend("one", &[server.address])
        .all_to("one")
        .start();
    proxy.ask(request);
    let heard = server.heard().remove(0);
    heard.trim_end().split("\r\n").map(str::to_owned).collect()
}

fn id(line: &str) -> bool {
    line.strip_prefix("x-request-id: ")
        .is_some_and(|id| id.len() == 36 && id.as_bytes()[14] == b'4')
}

#[test]
fn a_server_sees_what_the_client_sent_in_its_spelling_and_order() {
    let head = seen(
        false,
        "GET /a//b%20?x=1 HTTP/1.1\r\nhOST: x\r\nX-B: 2\r\nConnection: keep-alive\r\nx-A: 1\r\n\
         x-envoy-decorator-operation: o\r\nx-envoy-attempt-count: 1\r\n\r\n",
    );
    assert_eq!(head[0], "GET /a//b%20?x=1 HTTP/1.1");
    assert_eq!(
        head[1..6],
        ["hOST: x", "X-B: 2", "x-A: 1", "x-envoy-attempt-count: 1", "x-forwarded-proto: http"]
    );
    // This listener does not lead to an application of its own, from which the count is kept.
    assert_eq!(head[6], "x-weft-hops: 2");
    assert!(id(&head[7]), "{head:?}");
    assert_eq!(head.len(), 8);
}

#[test]
fn at_the_edge_the_mesh_says_who_called() {
    let head = seen(
        true,
        "GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 9.9.9.9\r\nx-request-id: mine\r\n\r\n",
    );
    assert_eq!(head[1..3], ["host: x", "x-forwarded-for: 9.9.9.9,127.0.0.1"]);
    assert!(id(&head[3]), "{head:?}");
    for line in [
        "x-forwarded-proto: http",
        "x-envoy-external-address: 127.0.0.1",
        "x-envoy-decorator-operation: one.default.svc.cluster.local:80/*",
        "x-envoy-attempt-count: 1",
    ] {
        assert!(head.iter().any(|one| one == line), "{line} in {head:?}");
    }
}

#[test]
fn clients_see_who_answered_and_how_long_it_took() {
    let server = server(&[
        "HTTP/1.1 200 Fine By Me\r\nX-ReSp: 1\r\nserver: mine\r\nconnection: keep-alive\r\n\
         content-length: 0\r\n\r\n",
    ]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let answer = proxy.ask(&get("x", "/"));
    assert!(answer.contains("X-ReSp: 1\r\n"), "{answer}");
    assert!(answer.contains("server: istio-envoy\r\n"), "{answer}");
    assert!(answer.contains("x-envoy-upstream-service-time: "), "{answer}");
    assert!(!answer.contains("connection"), "{answer}");
    assert!(!answer.contains("date"), "{answer}");
}

#[test]
fn a_target_with_a_host_wins_over_the_field() {
    let head = seen(false, "GET http://dock/abs?x=1 HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(head[..2], ["GET /abs?x=1 HTTP/1.1", "Host: dock"]);
}

#[test]
fn routing_and_the_server_see_the_same_path() {
    let head = seen(false, "GET /a/../b/./%63 HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(head[0], "GET /b/c HTTP/1.1");
}

#[test]
fn a_target_without_a_path_is_the_root_for_rules_and_server() {
    let server = server(&[&ok("")]);
    let root = json!({
        "conditions": { "path": { "prefix": "/" } },
        "action": { "forward": [{ "backend": "one", "weight": 1 }] },
        "origin": { "object": "VirtualService/default/test" },
    });
    let proxy =
        World::new().backend("one", &[server.address]).route(&["svc"], json!([root])).start();
    for target in ["http://svc?x=1", "http://svc/?x=1", "http://svc#f"] {
        let answer = proxy.ask(&format!("GET {target} HTTP/1.1\r\nhost: other\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
    }
    let heard = server.heard();
    let lines: Vec<_> = heard.iter().map(|one| one.lines().next().unwrap()).collect();
    assert_eq!(lines, ["GET /?x=1 HTTP/1.1", "GET /?x=1 HTTP/1.1", "GET / HTTP/1.1"]);
}

#[test]
fn servers_always_learn_the_host() {
    let head = seen(false, "GET / HTTP/1.0\r\n\r\n");
    assert!(head[1].starts_with("host: 127.0.0.1:"), "{head:?}");
    let head = seen(false, "GET http://dock/ HTTP/1.1\r\nx-a: 1\r\n\r\n");
    assert_eq!(head[1..3], ["host: dock", "x-a: 1"]);
}

#[test]
fn several_cookie_fields_are_one_for_the_server() {
    let head = seen(
        false,
        "GET / HTTP/1.1\r\nhost: x\r\nCookie: a=1\r\nx-a: 1\r\nCookie: session=3; b=2\r\n\r\n",
    );
    assert_eq!(head[2..4], ["Cookie: a=1; session=3; b=2", "x-a: 1"]);
}

#[test]
fn an_answer_with_two_lengths_is_passed_on_with_one() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\n\
                3\r\nabc\r\n0\r\n\r\n";
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc";
    let server = server(&[both, twice]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    let answer = client.ask(&get("x", "/"));
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(!answer.contains("content-length"), "{answer}");
    assert!(answer.contains("3\r\nabc\r\n"), "{answer}");
    let answer = client.ask(&get("x", "/"));
    assert_eq!(answer.matches("content-length: 3").count(), 1, "{answer}");
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
}
