//! RFC 9113, section 8: requests.

use super::{Must, PROTOCOL_ERROR, begun, check, request};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PUSH_PROMISE, block, frame, get};

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "x");
const RESET: Must = Must::Reset(&[PROTOCOL_ERROR]);

#[track_caller]
fn refused(name: &str, fields: &[(&str, &str)]) {
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    check(&[(name, vec![head], RESET)]);
}

#[test]
fn section_8_1_framing() {
    let trailers =
        |flags, fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    check(&[
        ("a second head", vec![begun(1), trailers(0, &[("x-test", "ok")])], RESET),
        // The codec takes them out and does not tell, so the server gets none of them either.
        (
            "pseudo fields in trailers",
            vec![begun(1), trailers(END_STREAM, &[(":method", "200")])],
            Must::Answer,
        ),
        (
            "trailers",
            vec![begun(1), frame(DATA, 0, 1, b"x"), trailers(END_STREAM, &[("x-test", "ok")])],
            Must::Answer,
        ),
        ("a request after another", vec![request(1), request(3)], Must::Answer),
    ]);
}

#[test]
fn section_8_2_names_and_connections() {
    let with = |field| [METHOD, SCHEME, PATH, AUTHORITY, field];
    refused("upper case", &with(("X-TEST", "ok")));
    refused("connection", &with(("connection", "keep-alive")));
    refused("keep-alive", &with(("keep-alive", "timeout=5")));
    refused("proxy-connection", &with(("proxy-connection", "keep-alive")));
    refused("transfer-encoding", &with(("transfer-encoding", "chunked")));
    refused("upgrade", &with(("upgrade", "websocket")));
    refused("te", &with(("te", "trailers, deflate;q=0.5")));
    let te = [METHOD, SCHEME, PATH, AUTHORITY, ("te", "trailers")];
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&te));
    check(&[("te: trailers", vec![head], Must::Answer)]);
}

#[test]
fn section_8_3_pseudo_fields() {
    refused("unknown", &[METHOD, SCHEME, PATH, AUTHORITY, (":test", "ok")]);
    refused("of responses", &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]);
    refused("after others", &[METHOD, SCHEME, AUTHORITY, ("x-test", "ok"), PATH]);
    refused("empty path", &[METHOD, SCHEME, (":path", ""), AUTHORITY]);
    refused("no method", &[SCHEME, PATH, AUTHORITY]);
    refused("no scheme", &[METHOD, PATH, AUTHORITY]);
    refused("no path", &[METHOD, SCHEME, AUTHORITY]);
    refused("two methods", &[METHOD, METHOD, SCHEME, PATH, AUTHORITY]);
    refused("two schemes", &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]);
    refused("two paths", &[METHOD, SCHEME, PATH, PATH, AUTHORITY]);
    refused("two authorities", &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY]);
}

#[test]
fn section_8_1_1_lengths() {
    let head = |length| {
        let fields = [(":method", "POST"), SCHEME, PATH, AUTHORITY, ("content-length", length)];
        frame(HEADERS, END_HEADERS, 1, &block(&fields))
    };
    let data = |flags| frame(DATA, flags, 1, b"test");
    check(&[
        ("one frame", vec![head("1"), data(END_STREAM)], RESET),
        ("several frames", vec![head("1"), data(0), data(END_STREAM)], RESET),
        ("too little", vec![head("9"), data(0), data(END_STREAM)], RESET),
        ("right", vec![head("8"), data(0), data(END_STREAM)], Must::Answer),
    ]);
}

#[test]
fn section_8_4_push() {
    let promise = [&2_u32.to_be_bytes()[..], &get()].concat();
    let promise = frame(PUSH_PROMISE, END_HEADERS, 1, &promise);
    check(&[("from a client", vec![begun(1), promise], Must::End(&[PROTOCOL_ERROR]))]);
}
