//! Heads as text: what came, what goes on.

use super::*;

fn parse(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.lines() {
        let (name, value) = line.trim().split_once(": ").unwrap();
        headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    headers
}

fn print(headers: &HeaderMap) -> String {
    let lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.join("\n")
}

#[track_caller]
fn check(direction: Direction, request: &str, expected: &[&str]) {
    let mut headers = parse(request);
    let findings = inspect(&headers, direction);
    if findings.unwanted {
        strip_request(&mut headers, direction, findings.upgrade);
    }
    announce(&mut headers, direction, || HeaderValue::from_static("10.0.0.9"), || request_id(0, 0));
    assert_eq!(print(&headers).lines().collect::<Vec<_>>(), expected);
}

const ID: &str = "x-request-id: 00000000-0000-4000-8000-000000000000";

#[test]
fn what_belongs_to_one_connection_is_left_out_and_order_is_kept() {
    check(
        Direction::Outbound,
        "host: dock\na: 1\nconnection: close, x-hop\nx-hop: 1\nkeep-alive: 5\nb: 2\nte: trailers",
        &["host: dock", "a: 1", "b: 2", "te: trailers", "x-forwarded-proto: http", ID],
    );
}

#[test]
fn connection_cannot_name_what_others_rely_on() {
    check(
        Direction::Outbound,
        "host: dock\nconnection: x-forwarded-for, authorization, host\nx-forwarded-for: 1.1.1.1\n\
         authorization: x",
        &[
            "host: dock",
            "x-forwarded-for: 1.1.1.1",
            "authorization: x",
            "x-forwarded-proto: http",
            ID,
        ],
    );
}

#[test]
fn an_upgrade_is_asked_for_unless_it_is_to_http2() {
    check(
        Direction::Outbound,
        "connection: keep-alive, Upgrade\nupgrade: websocket",
        &["connection: Upgrade", "upgrade: websocket", "x-forwarded-proto: http", ID],
    );
    check(
        Direction::Outbound,
        "connection: Upgrade, HTTP2-Settings\nupgrade: h2c\nhttp2-settings: AAM",
        &["x-forwarded-proto: http", ID],
    );
    check(Direction::Outbound, "upgrade: websocket", &["x-forwarded-proto: http", ID]);
}

#[test]
fn clients_do_not_steer_proxies() {
    check(
        Direction::Inbound,
        "x-envoy-retry-on: 5xx\nx-envoy-decorator-operation: z\nx-envoy-attempt-count: 1\n\
         x-forwarded-client-cert: By=x\nx-forwarded-proto: https\nx-request-id: mine",
        &["x-envoy-attempt-count: 1", "x-forwarded-proto: https", "x-request-id: mine"],
    );
}

#[test]
fn what_comes_from_beyond_the_mesh_is_not_believed() {
    check(
        Direction::Edge,
        "x-forwarded-for: 1.2.3.4\nx-forwarded-proto: https\nx-request-id: mine\n\
         x-envoy-external-address: 6.6.6.6\nx-envoy-original-path: /o\nforwarded: for=1.1.1.1",
        &[
            "x-forwarded-for: 1.2.3.4,10.0.0.9",
            "x-forwarded-proto: http",
            ID,
            "forwarded: for=1.1.1.1",
            "x-envoy-external-address: 10.0.0.9",
        ],
    );
}

#[test]
fn a_second_host_is_noticed() {
    assert_eq!(inspect(&parse("host: a\nhost: b"), Direction::Outbound).hosts, 2);
}

#[test]
fn responses_say_which_side_they_come_from_and_nothing_of_connections() {
    let mut headers =
        parse("server: mine\nconnection: close\nx: 1\nx-envoy-decorator-operation: o");
    finish_response(&mut headers, Direction::Edge, false);
    assert_eq!(print(&headers), "server: istio-envoy\nx: 1");
}

#[test]
fn a_host_that_http2_had_elsewhere_comes_first() {
    let mut headers = parse("a: 1\na: 2\nb: 3");
    host_first(&mut headers, HeaderValue::from_static("dock"));
    assert_eq!(print(&headers), "host: dock\na: 1\na: 2\nb: 3");
    without_http1(&mut headers);
    assert_eq!(print(&headers), "a: 1\na: 2\nb: 3");
}
