//! What is written and counted about exchanges.

use std::io::{Read, Write};

use serde_json::json;

use crate::{
    frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, frame},
    world::{Client, World, get, lines, ok, server},
};

const LOG: &str = "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %ROUTE_NAME%";

#[test]
fn every_exchange_is_one_line() {
    let server = server(&[&ok("12345")]);
    let (world, log) = World::new().backend("one", &[server.address]).all_to("one").log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.ask(&get("x", "/a?b=1"));
    client.ask("POST /p HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc");
    client.ask("GET /old HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n");
    assert_eq!(
        lines(&log, 3),
        [
            "GET /a?b=1 HTTP/1.1 200 - via_upstream 0 5 one default",
            "POST /p HTTP/1.1 200 - via_upstream 3 5 one default",
            "GET /old HTTP/1.1 400 DPE several_host_fields 0 11 - -",
        ]
    );
}

#[test]
fn a_client_that_left_is_noticed() {
    let server = server(&["hang"]);
    let (world, log) = World::new().backend("one", &[server.address]).all_to("one").log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&get("x", "/"));
    while server.heard().is_empty() {
        std::thread::yield_now();
    }
    drop(client);
    assert_eq!(
        lines(&log, 1),
        ["GET / HTTP/1.1 0 DC downstream_remote_disconnect 0 0 one default"]
    );
}

#[test]
fn an_answer_that_breaks_off_is_noticed() {
    let broken = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf then close";
    let server = server(&[broken]);
    let (world, log) = World::new().backend("one", &[server.address]).all_to("one").log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&get("x", "/"));
    assert!(client.rest().ends_with("half"));
    let details = "upstream_reset_after_response_started{protocol_error}";
    assert_eq!(lines(&log, 1), [format!("GET / HTTP/1.1 200 UPE {details} 0 4 one default")]);
}

#[test]
fn a_client_that_breaks_the_rules_of_http_2_is_one_line_of_its_connection() {
    let after = |frames: Vec<u8>| [frame(SETTINGS, 0, 0, &[]), frames].concat();
    // An index that no table has (RFC 7541, section 2.3.3).
    let bad_block = frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0x0f]);
    let (half, other) = (&PREFACE[..17], b"XX\r\n\r\n".to_vec());
    for (begin, bytes, about) in [
        (half, other, "half a preface"),
        (PREFACE, b"GARBAGE-GARBAGE-GARBAGE".to_vec(), "garbage"),
        (PREFACE, frame(PING, 0, 0, &[0; 8]), "no settings"),
        (PREFACE, after(frame(DATA, 0, 0, b"x")), "a body of no stream"),
        (PREFACE, after(frame(PING, 0, 0, b"x")), "a frame of a wrong size"),
        (PREFACE, after(bad_block), "fields that cannot be read"),
    ] {
        let (world, log) = World::new().all_to("none").log(LOG);
        let proxy = world.start();
        let mut client = proxy.client();
        client.0.write_all(begin).unwrap();
        // The proxy greets a client as soon as that speaks HTTP/2.
        client.0.read_exact(&mut [0; 9]).unwrap();
        client.0.write_all(&bytes).unwrap();
        let mut rest = Vec::new();
        let _ = client.0.read_to_end(&mut rest);
        assert_eq!(lines(&log, 1), ["- - - 0 DPE - 0 0 - -"], "{about}");
        proxy.end();
        assert_eq!(lines(&log, 1).len(), 1, "{about}");
    }
}

#[test]
fn a_client_of_http_2_that_leaves_in_order_or_not_is_no_line() {
    for last in
        [frame(GOAWAY, 0, 0, &[0; 8]), frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]), vec![]]
    {
        let (world, log) = World::new().all_to("none").log(LOG);
        let proxy = world.start();
        let mut client = proxy.client();
        client.0.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &last].concat()).unwrap();
        drop(client);
        // The line of this one comes after any of the other.
        proxy.ask("GET /last HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n");
        proxy.end();
        let found = lines(&log, 1);
        assert!(found.len() == 1 && found[0].contains("/last"), "{found:?}");
    }
}

#[test]
fn what_the_codec_refuses_is_logged_too() {
    let (world, log) = World::new().log(LOG);
    let proxy = world.start();
    let many = "x: y\r\n".repeat(101);
    for (at, (fields, expected)) in [
        ("x bad: 1\r\n", "400 DPE http1.codec_error 0 11"),
        ("x: a\0b\r\n", "400 DPE http1.invalid_characters 0 11"),
        (
            "content-length: 3\r\ntransfer-encoding: chunked\r\n",
            "400 DPE http1.content_length_and_chunked_not_allowed 0 11",
        ),
        (many.as_str(), "431 DPE http1.too_many_headers 0 31"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = proxy.ask(&format!("GET / HTTP/1.1\r\n{fields}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {}", &expected[..3])), "{answer}");
        assert_eq!(lines(&log, at + 1)[at], format!("- - HTTP/1.1 {expected} - -"));
    }
}

#[test]
fn requests_are_counted_by_where_they_went_and_how_they_ended() {
    let server = server(&[&ok("12345")]);
    let (world, _log) = World::new()
        .server("edge", json!(true))
        .backend("one", &[server.address])
        .all_to("one")
        .log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    for _ in 0..3 {
        client.ask(&get("x", "/"));
    }
    // Counted when the answer is through, which the next request on it proves.
    client.ask("GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n");
    let metrics = proxy.get("merged", "/stats/prometheus");
    let line = metrics
        .lines()
        .find(|line| line.starts_with("istio_requests_total{") && line.contains("\"200\""))
        .unwrap();
    for part in [
        "reporter=\"source\"",
        "source_workload=\"tester\"",
        "destination_service=\"one.default.svc.cluster.local\"",
        "destination_service_name=\"one\"",
        "response_flags=\"-\"",
        "request_protocol=\"http\"",
        "} 3",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(metrics.contains("response_code=\"400\""), "{metrics}");
}

#[test]
fn the_ports_say_what_runs() {
    let server = server(&[&ok("")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    assert!(proxy.get("readiness", "/healthz/ready").starts_with("HTTP/1.1 200 "));
    assert!(proxy.get("admin", "/ready").ends_with("LIVE\n"));
    assert!(proxy.get("admin", "/listeners").contains("http.80"));
    let dump = proxy.get("admin", "/config_dump");
    assert!(dump.contains("\"backend\"") && dump.contains("\"route\""), "{dump}");
    let backends = proxy.get("admin", "/backends");
    assert!(backends.contains(&server.address.to_string()), "{backends}");
    let loud = "POST /logging?level=weft=loud HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(Client::to(proxy.at("admin")).ask(loud).starts_with("HTTP/1.1 400 "));
}

#[test]
fn probes_and_metrics_of_the_application_come_through() {
    let application = server(&[&ok("app_requests 1\n")]);
    let port = application.address.port();
    let mut world = World::new();
    let probes = json!({
        "/app-health/web/readyz": { "httpGet": { "path": "/up", "port": port,
            "httpHeaders": [{ "name": "X-Probe", "value": "yes" }] }, "timeoutSeconds": 5 },
        "/app-health/web/livez": { "tcpSocket": { "port": port } },
    });
    world.options.application.probes = Some(probes.to_string());
    let metrics = format!("http://127.0.0.1:{port}/metrics");
    world.options.application.metrics = Some(metrics);
    let proxy = world.start();
    assert!(proxy.get("merged", "/app-health/web/readyz").starts_with("HTTP/1.1 200 "));
    assert!(proxy.get("merged", "/app-health/web/livez").starts_with("HTTP/1.1 200 "));
    assert!(proxy.get("merged", "/app-health/web/other").starts_with("HTTP/1.1 404 "));
    let heard = application.heard();
    assert!(heard[0].starts_with("GET /up HTTP/1.1\r\n"), "{heard:?}");
    assert!(heard[0].contains("\r\nx-probe: yes\r\n"), "{heard:?}");
    let merged = proxy.get("merged", "/stats/prometheus");
    assert!(merged.contains("app_requests 1") && merged.contains("istio_requests_total"));
}

#[test]
fn the_end_can_be_asked_for_over_http() {
    let proxy = World::new().start();
    let mut client = Client::to(proxy.at("merged"));
    assert!(client.ask("GET /quitquitquit HTTP/1.1\r\nhost: x\r\n\r\n").contains("405"));
    assert!(client.ask("POST /quitquitquit HTTP/1.1\r\nhost: x\r\n\r\n").contains("OK"));
    proxy.end();
}
