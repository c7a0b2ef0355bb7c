//! HTTP/2 by hand: frames as bytes, for peers that break the rules.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::http1::{HANGS, in_time};

/// The client's preface (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Type of frame: a piece of a body.
pub const DATA: u8 = 0;
/// Type of frame: a head, or trailers.
pub const HEADERS: u8 = 1;
/// Type of frame, deprecated.
pub const PRIORITY: u8 = 2;
/// Type of frame: a stream ends at once.
pub const RST_STREAM: u8 = 3;
/// Type of frame: limits of its sender.
pub const SETTINGS: u8 = 4;
/// Type of frame: a request that the client did not make.
pub const PUSH_PROMISE: u8 = 5;
/// Type of frame: asks the peer to answer.
pub const PING: u8 = 6;
/// Type of frame: no new streams are served.
pub const GOAWAY: u8 = 7;
/// Type of frame: opens the window.
pub const WINDOW_UPDATE: u8 = 8;
/// Type of frame: a head goes on.
pub const CONTINUATION: u8 = 9;
/// Flag of SETTINGS and PING: the answer to one.
pub const ACK: u8 = 1;
/// Flag of DATA and HEADERS: nothing follows in this direction.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION: the head is whole.
pub const END_HEADERS: u8 = 4;
/// Flag of DATA and HEADERS: the payload begins with the length of the padding.
pub const PADDED: u8 = 8;
/// Flag of HEADERS: a priority comes before the fields.
pub const WITH_PRIORITY: u8 = 0x20;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What follows the nine bytes of its head.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// A block of header fields, written literally and never indexed (RFC 7541, section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&length(text.len()), text.as_bytes()].concat();
    let field = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    fields.iter().flat_map(field).collect()
}

/// The length of a literal that is not coded (RFC 7541, section 5.1: a prefix of seven bits).
fn length(length: usize) -> Vec<u8> {
    let byte = |number: usize| u8::try_from(number).unwrap();
    let Some(mut rest) = length.checked_sub(127) else { return vec![byte(length)] };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    bytes.push(byte(rest));
    bytes
}

/// The fields of a plain request.
pub fn get() -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")])
}

/// The fields of a request with a body.
pub fn post() -> Vec<u8> {
    block(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")])
}

/// One end of a connection.
pub struct Peer(pub TcpStream);

impl Peer {
    /// A client that has said nothing yet.
    pub fn to(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// An end that has said nothing yet.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANGS)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// A client after the handshake.
    pub fn greeted(address: SocketAddr) -> Self {
        let mut peer = Self::to(address);
        peer.say(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        loop {
            let frame = peer.next().expect("the server's settings");
            match (frame.kind, frame.flags) {
                (SETTINGS, ACK) => return peer,
                (SETTINGS, _) => peer.say(&self::frame(SETTINGS, ACK, 0, &[])),
                _ => {}
            }
        }
    }

    /// Writes; a connection that is gone is found out by reading.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Whether something has come that was not read.
    pub fn has_more(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let found = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        found.is_ok()
    }

    /// The next frame; none at the end of the connection.
    #[expect(clippy::should_implement_trait, reason = "it is read between other calls")]
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        in_time(self.0.read_exact(&mut head)).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length as usize];
        in_time(self.0.read_exact(&mut payload)).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of this type.
    pub fn until(&mut self, kind: u8) -> Option<Frame> {
        self.next_of(&[kind])
    }

    /// The next frame of one of these types.
    pub fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }
}

/// The error code in a GOAWAY or RST_STREAM.
pub fn code(frame: &Frame) -> u32 {
    let at = if frame.kind == GOAWAY { 4 } else { 0 };
    u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap())
}
