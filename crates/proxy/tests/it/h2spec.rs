//! The rules of HTTP/2 that h2spec checks, in RFC 9113's order, with bytes written by hand.

mod hpack;
mod messages;

use std::net::SocketAddr;

use crate::{
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PADDED, PING,
        PREFACE, PRIORITY, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, code, frame,
        get, post,
    },
    world::{Running, World, ok, server},
};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// What the server must do.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// End the connection with one of these codes.
    End(&'static [u32]),
    /// Reset the stream with one of these codes, or end the connection with it.
    Reset(&'static [u32]),
    /// Answer the request on stream 1.
    Answer,
    /// Answer a PING that follows.
    GoOn,
    /// Answer a PING that follows, or end without an error: the client has said that it leaves.
    GoOnOrLeave,
}

/// A proxy before a server that answers all requests.
fn proxy() -> Running {
    let server = server(&[&ok("body")]);
    World::new().spoken("http1", server.address).start()
}

/// Sends each of `cases` on a connection of its own after the handshake.
#[track_caller]
fn check(cases: &[(&str, Vec<Vec<u8>>, Must)]) {
    let proxy = proxy();
    for (name, frames, must) in cases {
        let mut peer = Peer::greeted(proxy.at("test"));
        peer.say(&frames.concat());
        judge(name, &mut peer, *must);
    }
}

#[track_caller]
fn judge(name: &str, peer: &mut Peer, must: Must) {
    let ping = frame(PING, 0, 0, b"still on");
    peer.say(&ping);
    let pong = Frame { kind: PING, flags: ACK, stream: 0, payload: b"still on".to_vec() };
    let mut seen = Vec::new();
    let done = loop {
        let Some(frame) = peer.next() else {
            // A connection may be closed before its GOAWAY could be read.
            break matches!(must, Must::End(_) | Must::Reset(_) | Must::GoOnOrLeave);
        };
        seen.push(frame.clone());
        match must {
            // The codec says PROTOCOL_ERROR where a rule has a more specific code.
            Must::End(codes) | Must::Reset(codes) if frame.kind == GOAWAY => {
                break codes.contains(&code(&frame)) || code(&frame) == PROTOCOL_ERROR;
            }
            Must::Reset(codes) if frame.kind == RST_STREAM => break codes.contains(&code(&frame)),
            Must::Answer if frame.kind == HEADERS && frame.stream == 1 => break true,
            Must::GoOn | Must::GoOnOrLeave if frame == pong => break true,
            Must::GoOnOrLeave if frame.kind == GOAWAY => break code(&frame) == NO_ERROR,
            Must::Answer | Must::GoOn if frame.kind == GOAWAY => break false,
            Must::End(_) if frame == pong => break false,
            _ => {}
        }
    };
    assert!(done, "{name}: must {must:?}, but {seen:?}");
}

fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &get())
}

fn begun(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &post())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn window(stream: u32, size: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &size.to_be_bytes())
}

const INITIAL_WINDOW_SIZE: u16 = 4;

#[test]
fn section_3_4_preface() {
    let proxy = proxy();
    let mut peer = Peer::to(proxy.at("test"));
    peer.say(PREFACE);
    peer.say(&frame(SETTINGS, 0, 0, &[]));
    assert_eq!(peer.next().map(|frame| frame.kind), Some(SETTINGS), "first of all");
    for wrong in [&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"] {
        let mut peer = Peer::to(proxy.at("test"));
        peer.say(wrong);
        peer.say(&frame(SETTINGS, 0, 0, &[]));
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut peer.0, &mut rest);
    }
    let mut peer = Peer::to(proxy.at("test"));
    peer.say(&[PREFACE, &frame(PING, 0, 0, &[0; 8])].concat());
    let end = peer.until(GOAWAY).map(|frame| code(&frame));
    assert_eq!(end, Some(PROTOCOL_ERROR), "SETTINGS come first");
}

#[test]
fn section_4_frames() {
    check(&[
        ("4.1 unknown type", vec![frame(0x16, 0, 0, &[0; 8])], Must::GoOn),
        ("4.1 undefined flags", vec![frame(PING, 0x16, 0, &[0; 8])], Must::GoOn),
        ("4.1 reserved bit", vec![frame(PING, 0, 1 << 31, &[0; 8])], Must::GoOn),
        (
            "4.2 the largest frame",
            vec![begun(1), frame(DATA, END_STREAM, 1, &[0; 16_384])],
            Must::Answer,
        ),
        (
            "4.2 DATA too large",
            vec![begun(1), frame(DATA, END_STREAM, 1, &[0; 16_385])],
            Must::Reset(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.2 HEADERS too large",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0; 16_385])],
            Must::End(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.3 invalid block",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x8a\x8a\x8a\x8a")],
            Must::End(&[COMPRESSION_ERROR]),
        ),
        (
            "4.3 PRIORITY within a block",
            vec![frame(HEADERS, END_STREAM, 1, &get()), frame(PRIORITY, 0, 1, &[0; 5])],
            Must::End(&[PROTOCOL_ERROR]),
        ),
        (
            "4.3 HEADERS within a block",
            vec![frame(HEADERS, END_STREAM, 1, &get()), request(3)],
            Must::End(&[PROTOCOL_ERROR]),
        ),
    ]);
}

#[test]
fn section_5_1_states_of_streams() {
    let data = |stream| frame(DATA, END_STREAM, stream, b"test");
    let rest = |stream| frame(CONTINUATION, END_HEADERS, stream, &get());
    const CLOSED: Must = Must::Reset(&[STREAM_CLOSED]);
    check(&[
        ("idle: DATA", vec![data(1)], Must::End(&[PROTOCOL_ERROR])),
        ("idle: RST_STREAM", vec![reset(1)], Must::End(&[PROTOCOL_ERROR])),
        ("idle: WINDOW_UPDATE", vec![window(1, 100)], Must::End(&[PROTOCOL_ERROR])),
        ("idle: CONTINUATION", vec![rest(1)], Must::End(&[PROTOCOL_ERROR])),
        ("half closed: DATA", vec![request(1), data(1)], CLOSED),
        ("half closed: HEADERS", vec![request(1), request(1)], CLOSED),
        ("half closed: CONTINUATION", vec![request(1), rest(1)], Must::End(&[PROTOCOL_ERROR])),
        ("reset: DATA", vec![begun(1), reset(1), data(1)], CLOSED),
        ("reset: HEADERS", vec![begun(1), reset(1), request(1)], CLOSED),
        ("reset: CONTINUATION", vec![begun(1), reset(1), rest(1)], Must::End(&[PROTOCOL_ERROR])),
        ("even number", vec![request(2)], Must::End(&[PROTOCOL_ERROR])),
        ("smaller number", vec![request(5), request(3)], Must::End(&[PROTOCOL_ERROR])),
    ]);
}

#[test]
fn section_5_1_closed_streams() {
    let proxy = proxy();
    for (name, late) in [
        ("DATA", frame(DATA, END_STREAM, 1, b"test")),
        ("HEADERS", request(1)),
        ("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, &get())),
    ] {
        let mut peer = Peer::greeted(proxy.at("test"));
        peer.say(&request(1));
        while peer.next().unwrap().flags & END_STREAM == 0 {}
        peer.say(&late);
        judge(name, &mut peer, Must::Reset(&[STREAM_CLOSED, PROTOCOL_ERROR]));
    }
}

#[test]
fn section_5_1_2_concurrent_streams() {
    let silent = server(&["hang"]);
    let proxy = World::new().spoken("http1", silent.address).start();
    let mut peer = Peer::greeted(proxy.at("test"));
    // A sidecar serves 256 at a time.
    let all: Vec<u8> = (0..300).flat_map(|number| request(2 * number + 1)).collect();
    peer.say(&all);
    judge("too many at a time", &mut peer, Must::Reset(&[PROTOCOL_ERROR, REFUSED_STREAM]));
}

#[test]
fn sections_5_3_to_5_5() {
    let itself = [&1_u32.to_be_bytes()[..], &[255]].concat();
    let block = [&itself[..], &get()].concat();
    let flags = END_HEADERS | END_STREAM | WITH_PRIORITY;
    check(&[
        (
            "5.3.1 HEADERS that depend on themselves",
            vec![frame(HEADERS, flags, 1, &block)],
            Must::Reset(&[PROTOCOL_ERROR]),
        ),
        ("5.4.1 an error of the connection", vec![frame(PING, 0, 3, &[0; 8])], Must::End(&[1])),
        ("5.5 unknown extension", vec![frame(0xff, 0, 0, b"unknown")], Must::GoOn),
        (
            "5.5 unknown extension within a block",
            vec![frame(HEADERS, END_STREAM, 1, &get()), frame(0xff, 0, 0, b"unknown")],
            Must::End(&[PROTOCOL_ERROR]),
        ),
    ]);
}

#[test]
fn section_6_1_to_6_4_data_headers_priority_and_resets() {
    let padded = [&[200][..], &get()].concat();
    check(&[
        ("6.1 DATA on 0", vec![frame(DATA, END_STREAM, 0, b"test")], Must::End(&[PROTOCOL_ERROR])),
        (
            "6.1 padding too long",
            vec![begun(1), frame(DATA, PADDED | END_STREAM, 1, b"\x06test")],
            Must::End(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 HEADERS on 0",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 0, &get())],
            Must::End(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 padding too long",
            vec![frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &padded)],
            Must::End(&[PROTOCOL_ERROR]),
        ),
        ("6.3 PRIORITY on 0", vec![frame(PRIORITY, 0, 0, &[0; 5])], Must::End(&[PROTOCOL_ERROR])),
        (
            "6.3 PRIORITY too short",
            vec![begun(1), frame(PRIORITY, 0, 1, &[0; 4])],
            Must::Reset(&[FRAME_SIZE_ERROR]),
        ),
        ("6.4 RST_STREAM on 0", vec![reset(0)], Must::End(&[PROTOCOL_ERROR])),
        (
            "6.4 RST_STREAM too short",
            vec![begun(1), frame(RST_STREAM, 0, 1, &[0; 3])],
            Must::End(&[FRAME_SIZE_ERROR]),
        ),
    ]);
}

#[test]
fn section_6_5_settings() {
    const ENABLE_PUSH: u16 = 2;
    const MAX_FRAME_SIZE: u16 = 5;
    check(&[
        ("ACK with payload", vec![frame(SETTINGS, ACK, 0, &[0])], Must::End(&[FRAME_SIZE_ERROR])),
        ("on a stream", vec![frame(SETTINGS, 0, 1, &[])], Must::End(&[PROTOCOL_ERROR])),
        ("odd length", vec![frame(SETTINGS, 0, 0, &[0; 3])], Must::End(&[FRAME_SIZE_ERROR])),
        ("ENABLE_PUSH", vec![setting(ENABLE_PUSH, 2)], Must::End(&[PROTOCOL_ERROR])),
        (
            "INITIAL_WINDOW_SIZE",
            vec![setting(INITIAL_WINDOW_SIZE, 1 << 31)],
            Must::End(&[FLOW_CONTROL_ERROR]),
        ),
        ("small frames", vec![setting(MAX_FRAME_SIZE, 16_383)], Must::End(&[PROTOCOL_ERROR])),
        ("large frames", vec![setting(MAX_FRAME_SIZE, 1 << 24)], Must::End(&[PROTOCOL_ERROR])),
        ("unknown", vec![setting(0xff, 1)], Must::GoOn),
    ]);
    let proxy = proxy();
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&frame(SETTINGS, 0, 0, &[]));
    assert_eq!(peer.until(SETTINGS).map(|frame| frame.flags), Some(ACK));
}

#[test]
fn section_6_7_to_6_9_pings_goodbyes_and_windows() {
    const MOST: u32 = (1 << 31) - 1;
    check(&[
        ("6.7 ACK nobody asked for", vec![frame(PING, ACK, 0, b"invalid!")], Must::GoOn),
        ("6.7 on a stream", vec![frame(PING, 0, 1, &[0; 8])], Must::End(&[PROTOCOL_ERROR])),
        ("6.7 too short", vec![frame(PING, 0, 0, &[0; 6])], Must::End(&[FRAME_SIZE_ERROR])),
        ("6.8 on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], Must::End(&[PROTOCOL_ERROR])),
        ("6.9 by nothing", vec![window(0, 0)], Must::End(&[PROTOCOL_ERROR])),
        ("6.9 by nothing", vec![begun(1), window(1, 0)], Must::Reset(&[PROTOCOL_ERROR])),
        (
            "6.9 too short",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            Must::End(&[FRAME_SIZE_ERROR]),
        ),
        (
            "6.9.1 connection",
            vec![window(0, MOST), window(0, MOST)],
            Must::End(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.1 stream",
            vec![begun(1), window(1, MOST), window(1, MOST)],
            Must::Reset(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.2 too large after a change",
            vec![setting(INITIAL_WINDOW_SIZE, 1 << 31)],
            Must::End(&[FLOW_CONTROL_ERROR]),
        ),
    ]);
}

/// The lengths of DATA on stream 1, until its end or `count` frames.
fn lengths(peer: &mut Peer, count: usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    while lengths.len() < count {
        let frame = peer.until(DATA).unwrap();
        lengths.push(frame.payload.len());
    }
    lengths
}

#[test]
fn section_6_9_windows_are_kept() {
    let proxy = proxy();
    let at: SocketAddr = proxy.at("test");
    let mut peer = Peer::greeted(at);
    peer.say(&[setting(INITIAL_WINDOW_SIZE, 1), request(1)].concat());
    assert_eq!(lengths(&mut peer, 1), [1], "6.9.1 a window of one");
    let both = [&setting(INITIAL_WINDOW_SIZE, 100)[9..], &setting(INITIAL_WINDOW_SIZE, 1)[9..]];
    let mut peer = Peer::greeted(at);
    peer.say(&[frame(SETTINGS, 0, 0, &both.concat()), request(1)].concat());
    assert_eq!(lengths(&mut peer, 1), [1], "6.5.3 the last of two values counts");
    let mut peer = Peer::greeted(at);
    peer.say(&[setting(INITIAL_WINDOW_SIZE, 0), request(1)].concat());
    assert!(peer.until(HEADERS).is_some());
    peer.say(&setting(INITIAL_WINDOW_SIZE, 1));
    assert_eq!(lengths(&mut peer, 1), [1], "6.9.2 a change counts for open streams");
    let mut peer = Peer::greeted(at);
    peer.say(&[setting(INITIAL_WINDOW_SIZE, 3), request(1)].concat());
    assert_eq!(lengths(&mut peer, 1), [3]);
    peer.say(&[setting(INITIAL_WINDOW_SIZE, 2), window(1, 2)].concat());
    assert_eq!(lengths(&mut peer, 1), [1], "6.9.2 a window may be below nothing");
}

#[test]
fn section_6_10_continuation_and_7_codes() {
    let fields = get();
    let (first, rest) = fields.split_at(10);
    let (second, third) = rest.split_at(10);
    let head = |payload: &[u8]| frame(HEADERS, END_STREAM, 1, payload);
    let more = |flags, payload: &[u8]| frame(CONTINUATION, flags, 1, payload);
    const WRONG: Must = Must::End(&[PROTOCOL_ERROR]);
    let unknown = |kind, stream, payload: &[u8]| frame(kind, 0, stream, payload);
    check(&[
        ("several", vec![head(first), more(0, second), more(END_HEADERS, third)], Must::Answer),
        ("DATA within", vec![head(first), frame(DATA, END_STREAM, 1, b"test")], WRONG),
        ("on 0", vec![head(first), frame(CONTINUATION, END_HEADERS, 0, rest)], WRONG),
        ("after the end", vec![begun(1), more(END_HEADERS, &fields)], WRONG),
        (
            "after the last",
            vec![head(first), more(END_HEADERS, rest), more(END_HEADERS, &fields)],
            WRONG,
        ),
        ("after DATA", vec![begun(1), frame(DATA, 0, 1, b"x"), more(END_HEADERS, rest)], WRONG),
        (
            "7 unknown code of RST_STREAM",
            vec![begun(1), unknown(RST_STREAM, 1, &[0, 0, 0, 0xff])],
            Must::GoOn,
        ),
        (
            "7 unknown code of GOAWAY",
            vec![unknown(GOAWAY, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff])],
            Must::GoOnOrLeave,
        ),
    ]);
}
