//! The PROXY protocol, versions 1 and 2, receiving side.
//!
//! Only reads the header; whether its sender is trusted is decided where the listener
//! is configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1 fits into 107 bytes with its line end.
const LONGEST_LINE: usize = 107;
/// Version 2 with all extensions that this side is willing to skip.
const LONGEST_BINARY: usize = 16 + 4096;

/// A header, as far as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it takes.
    pub length: usize,
    /// Source and destination; none when the connection is the sender's own.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// Why no header could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoHeader {
    /// More bytes are needed.
    #[error("the PROXY protocol header is not complete")]
    Incomplete,
    /// Not a PROXY protocol header.
    #[error("the connection does not begin with a PROXY protocol header")]
    Malformed,
}

/// Reads the header that `bytes` begin with.
pub fn read(bytes: &[u8]) -> Result<Header, NoHeader> {
    let begun = &bytes[..bytes.len().min(SIGNATURE.len())];
    if SIGNATURE.starts_with(begun) {
        return match begun.len() < SIGNATURE.len() {
            true => Err(NoHeader::Incomplete),
            false => binary(bytes),
        };
    }
    let word = b"PROXY ";
    let begun = &bytes[..bytes.len().min(word.len())];
    if !word.starts_with(begun) {
        return Err(NoHeader::Malformed);
    }
    match bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') {
        Some(end) => line(&bytes[..end]).map(|addresses| Header { length: end + 1, addresses }),
        None if bytes.len() >= LONGEST_LINE => Err(NoHeader::Malformed),
        None => Err(NoHeader::Incomplete),
    }
}

fn line(line: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, NoHeader> {
    let text = line
        .strip_suffix(b"\r")
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(NoHeader::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let mut word = || words.next().ok_or(NoHeader::Malformed);
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (source, destination, from, to) = (word()?, word()?, word()?, word()?);
    let address = |host: &str, port: &str| {
        let host: IpAddr = match family {
            "TCP4" => host.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => host.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| Some(SocketAddr::new(host, port.parse().ok()?)))?
    };
    match (address(source, from), address(destination, to), words.next()) {
        (Some(source), Some(destination), None) => Ok(Some((source, destination))),
        _ => Err(NoHeader::Malformed),
    }
}

fn binary(bytes: &[u8]) -> Result<Header, NoHeader> {
    let Some([version_command, family, high, low]) = bytes.get(12..16) else {
        return Err(NoHeader::Incomplete);
    };
    let length = 16 + usize::from(u16::from_be_bytes([*high, *low]));
    if version_command >> 4 != 2 || length > LONGEST_BINARY {
        return Err(NoHeader::Malformed);
    }
    let body = bytes.get(16..length).ok_or(NoHeader::Incomplete)?;
    let addresses = match (version_command & 0xf, family) {
        (0, _) => None,
        (1, 0x11) => Some(binary_addresses::<4, 12>(body)?),
        (1, 0x21) => Some(binary_addresses::<16, 36>(body)?),
        (1, _) => None,
        _ => return Err(NoHeader::Malformed),
    };
    Ok(Header { length, addresses })
}

fn binary_addresses<const HOST: usize, const ALL: usize>(
    body: &[u8],
) -> Result<(SocketAddr, SocketAddr), NoHeader> {
    let body: &[u8; ALL] = body.first_chunk().ok_or(NoHeader::Malformed)?;
    let host = |at: usize| -> Option<IpAddr> {
        let bytes = &body[at..at + HOST];
        <[u8; 4]>::try_from(bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
            .ok()
    };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let (source, destination) = host(0).zip(host(HOST)).ok_or(NoHeader::Malformed)?;
    Ok((SocketAddr::new(source, port(2 * HOST)), SocketAddr::new(destination, port(2 * HOST + 2))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let found = match read(bytes) {
            Ok(Header { length, addresses: None }) => format!("{length} local"),
            Ok(Header { length, addresses: Some((from, to)) }) => format!("{length} {from} {to}"),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(bytes));
    }

    fn second(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, body].concat()
    }

    #[test]
    fn version_one_tells_both_ends() {
        check(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 80\r\nGET", "33 1.2.3.4:9 5.6.7.8:80");
        check(b"PROXY TCP6 ::1 ::2 9 80\r\n", "25 [::1]:9 [::2]:80");
        check(b"PROXY UNKNOWN ffff:: x\r\n", "24 local");
    }

    #[test]
    fn version_one_is_strict() {
        for bad in [
            "PROXY TCP4 ::1 ::2 9 80\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 +80\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 80 7\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 80\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 99999\r\n",
            "PROXY  TCP4 1.2.3.4 5.6.7.8 9 80\r\n",
            "GET / HTTP/1.1\r\n",
        ] {
            check(bad.as_bytes(), "Malformed");
        }
        check(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat(), "Malformed");
    }

    #[test]
    fn version_two_tells_both_ends_and_skips_extensions() {
        let four = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0, 80, 0xff, 0, 1, 7];
        check(&second(1, 0x11, &four), "32 1.2.3.4:9 5.6.7.8:80");
        let mut six = [0; 36];
        (six[15], six[31], six[33], six[35]) = (1, 2, 9, 80);
        check(&second(1, 0x21, &six), "52 [::1]:9 [::2]:80");
        check(&second(0, 0, &[]), "16 local");
        check(&second(1, 0x31, &[0; 216]), "232 local");
    }

    #[test]
    fn version_two_never_reads_past_its_length() {
        check(&second(1, 0x11, &[1, 2, 3]), "Malformed");
        check(&second(2, 0x11, &[0; 12]), "Malformed");
        check(&second(1, 0x11, &[0; 5000]), "Malformed");
        let mut first = second(1, 0x11, &[0; 12]);
        first[12] = 0x11;
        check(&first, "Malformed");
    }

    #[test]
    fn every_beginning_of_a_header_is_incomplete() {
        for whole in [b"PROXY TCP4 1.2.3.4 5.6.7.8 9 80\r\n".to_vec(), second(1, 0x11, &[0; 12])] {
            for length in 0..whole.len() {
                check(&whole[..length], "Incomplete");
            }
        }
    }
}
