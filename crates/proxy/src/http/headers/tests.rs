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

#[test]
fn responses_say_nothing_of_connections() {
    let mut headers =
        parse("server: mine\nconnection: close\nx: 1\nx-envoy-decorator-operation: o");
    finish_response(&mut headers, false);
    assert_eq!(print(&headers), "server: mine\nx: 1");
}

#[test]
fn a_host_that_http2_had_elsewhere_comes_first() {
    let mut headers = parse("a: 1\na: 2\nb: 3");
    host_first(&mut headers, HeaderValue::from_static("dock"));
    assert_eq!(print(&headers), "host: dock\na: 1\na: 2\nb: 3");
    without_http1(&mut headers);
    assert_eq!(print(&headers), "a: 1\na: 2\nb: 3");
}

#[track_caller]
fn framed(response: &str, expected: &str) {
    let mut headers = parse(response);
    finish_response(&mut headers, false);
    let lines: Vec<String> = print(&headers)
        .lines()
        .filter(|line| !line.starts_with("server"))
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.join("|"), expected);
}

#[test]
fn a_response_says_in_one_way_where_it_ends() {
    framed(
        "a: 1\ncontent-length: 5\ntransfer-encoding: chunked",
        "a: 1|transfer-encoding: chunked",
    );
    framed("content-length: 5\ncontent-length: 5\na: 1", "content-length: 5|a: 1");
    framed("content-length: 5, 5\na: 1", "content-length: 5|a: 1");
    framed("content-length: 5", "content-length: 5");
}
