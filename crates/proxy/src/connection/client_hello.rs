//! The first message of a TLS client, as far as it decides where a connection goes.
//!
//! Reads the server name and the application protocols (RFC 8446, section 4.1.2; RFC 6066,
//! section 3; RFC 7301, section 3.1) out of at most [`ENOUGH`] bytes, and nothing else of TLS.

use weft_decide::ClientHello;

/// A hello that is not complete within so many bytes is not waited for.
pub const ENOUGH: usize = 16 * 1024;
/// The longest server name, as of any host.
const LONGEST_NAME: usize = 253;
/// Application protocols that are read.
const MOST_PROTOCOLS: usize = 16;

/// Why there is no hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoHello {
    /// More bytes are needed.
    #[error("the TLS hello is not complete")]
    Incomplete,
    /// Not the beginning of TLS, or longer than is waited for.
    #[error("the connection does not begin with a TLS hello")]
    Malformed,
}

/// Reads the hello that `bytes`, the beginning of a connection, are.
pub fn read(bytes: &[u8]) -> Result<ClientHello, NoHello> {
    let message = match message(bytes) {
        Err(NoHello::Incomplete) if bytes.len() >= ENOUGH => return Err(NoHello::Malformed),
        message => message?,
    };
    hello(&message).ok_or(NoHello::Malformed)
}

/// The body of the hello, which records may cut into pieces anywhere.
fn message(bytes: &[u8]) -> Result<Vec<u8>, NoHello> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    const LONGEST_RECORD: usize = 1 << 14;
    let mut message = Vec::new();
    let mut rest = &bytes[..bytes.len().min(ENOUGH)];
    loop {
        match rest {
            [kind, ..] if *kind != HANDSHAKE => return Err(NoHello::Malformed),
            [_, major, ..] if *major != 3 => return Err(NoHello::Malformed),
            _ => {}
        }
        let Some((head, more)) = rest.split_first_chunk::<5>() else {
            return Err(NoHello::Incomplete);
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 || length > LONGEST_RECORD {
            return Err(NoHello::Malformed);
        }
        let piece = &more[..more.len().min(length)];
        message.extend_from_slice(piece);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(NoHello::Malformed);
        }
        if let [_, high, middle, low, body @ ..] = message.as_slice() {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if length > ENOUGH {
                return Err(NoHello::Malformed);
            }
            if let Some(body) = body.get(..length) {
                return Ok(body.to_vec());
            }
        }
        if piece.len() < length {
            return Err(NoHello::Incomplete);
        }
        rest = &more[length..];
    }
}

/// What the body of a hello says; none where it contradicts itself.
fn hello(body: &[u8]) -> Option<ClientHello> {
    const SERVER_NAME: u16 = 0;
    const PROTOCOLS: u16 = 16;
    let mut body = Reader(body);
    body.take(2 + 32)?;
    body.prefixed::<1>()?; // session
    body.prefixed::<2>()?; // cipher suites
    body.prefixed::<1>()?; // compression
    let mut hello = ClientHello::default();
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(body.prefixed::<2>()?);
    if !body.0.is_empty() {
        return None;
    }
    let (mut named, mut negotiated) = (false, false);
    while !extensions.0.is_empty() {
        let kind = u16::from_be_bytes(extensions.take(2)?.try_into().ok()?);
        let data = extensions.prefixed::<2>()?;
        match kind {
            SERVER_NAME if !std::mem::replace(&mut named, true) => {
                hello.server_name = Some(server_name(data)?);
            }
            PROTOCOLS if !std::mem::replace(&mut negotiated, true) => {
                hello.protocols = protocols(data)?;
            }
            // Which of two would count is for nobody to guess.
            SERVER_NAME | PROTOCOLS => return None,
            _ => {}
        }
    }
    Some(hello)
}

/// One name, of the only kind that there is.
fn server_name(data: &[u8]) -> Option<String> {
    let mut names = Reader(Reader(data).all_prefixed::<2>()?);
    let kind = names.take(1)?;
    let name = names.prefixed::<2>()?;
    if kind != [0] || !names.0.is_empty() {
        return None;
    }
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.iter().all(is_allowed) {
        return None;
    }
    Some(std::str::from_utf8(name).ok()?.to_ascii_lowercase())
}

fn protocols(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(Reader(data).all_prefixed::<2>()?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.prefixed::<1>()?;
        if protocol.is_empty() {
            return None;
        }
        if protocols.len() < MOST_PROTOCOLS {
            protocols.push(protocol.to_vec());
        }
    }
    (!protocols.is_empty()).then_some(protocols)
}

/// Takes pieces off the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes with their length before them, in `N` bytes.
    fn prefixed<const N: usize>(&mut self) -> Option<&'b [u8]> {
        let length = self.take(N)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.take(length)
    }

    /// The same, where nothing may follow.
    fn all_prefixed<const N: usize>(mut self) -> Option<&'b [u8]> {
        let all = self.prefixed::<N>()?;
        self.0.is_empty().then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::sync::Arc;

    /// What rustls says first.
    fn rustls_hello(name: &str, protocols: &[&str]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|one| one.as_bytes().to_vec()).collect();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same in records of `length` bytes.
    fn in_records(bytes: &[u8], length: usize) -> Vec<u8> {
        let pieces = bytes[5..].chunks(length);
        pieces
            .flat_map(|piece| {
                let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                [&[22, 3, 1][..], &length, piece].concat()
            })
            .collect()
    }

    #[test]
    fn name_and_protocols_are_read_however_the_hello_is_cut() {
        let expected = ClientHello {
            server_name: Some("a.example.com".to_owned()),
            protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let bytes = rustls_hello("A.example.com", &["h2", "http/1.1"]);
        assert_eq!(read(&bytes), Ok(expected.clone()));
        for length in [1, 3, 4, 5, 100] {
            assert_eq!(read(&in_records(&bytes, length)), Ok(expected.clone()), "{length}");
        }
        let with_more = [&bytes[..], b"\x17\x03\x03\0\x01x"].concat();
        assert_eq!(read(&with_more), Ok(expected));
    }

    #[test]
    fn an_address_is_no_name() {
        assert_eq!(read(&rustls_hello("10.0.0.1", &[])), Ok(ClientHello::default()));
    }

    #[test]
    fn every_beginning_is_incomplete() {
        let bytes = rustls_hello("a.example", &["h2"]);
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), Err(NoHello::Incomplete), "{length}");
        }
    }

    #[test]
    fn what_is_no_hello_or_never_ends_is_refused() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            &[22, 4, 1, 0, 1, 1],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0x40, 1],
            &[22, 3, 1, 0, 1, 2],
            // A hello of 16 MB.
            &[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
            // One without room for its random bytes.
            &[22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3],
        ] {
            assert_eq!(read(bad), Err(NoHello::Malformed), "{bad:?}");
        }
        let long = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &vec![0; ENOUGH]].concat();
        assert_eq!(read(&long), Err(NoHello::Malformed));
    }

    /// A hello with these extensions.
    fn with_extensions(extensions: &[u8]) -> Vec<u8> {
        let two = |bytes: &[u8]| -> Vec<u8> {
            [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
        };
        let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &two(extensions)];
        let body = body.concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1][..], &length[1..], &body].concat();
        [&[22, 3, 1][..], &two(&message)].concat()
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let name = [0, 0, 0, 6, 0, 4, 0, 0, 1, b'a'];
        let named = Some("a".to_owned());
        let hello = ClientHello { server_name: named, ..ClientHello::default() };
        assert_eq!(read(&with_extensions(&name)), Ok(hello));
        for bad in [
            [name, name].concat(),
            // Two names in one extension, a NUL, another kind of name, no name, a byte too many.
            vec![0, 0, 0, 10, 0, 8, 0, 0, 1, b'a', 0, 0, 1, b'b'],
            vec![0, 0, 0, 6, 0, 4, 0, 0, 1, 0],
            vec![0, 0, 0, 6, 0, 4, 1, 0, 1, b'a'],
            vec![0, 0, 0, 5, 0, 3, 0, 0, 0],
            vec![0, 0, 0, 7, 0, 4, 0, 0, 1, b'a', b'b'],
            // Protocols: an empty one, an empty list.
            vec![0, 16, 0, 3, 0, 1, 0],
            vec![0, 16, 0, 2, 0, 0],
        ] {
            assert_eq!(read(&with_extensions(&bad)), Err(NoHello::Malformed), "{bad:?}");
        }
    }
}
