//! Hands a batch of packet rules to the kernel and waits for its verdict.
//!
//! Acts on the network namespace of the calling thread. Knows netlink's
//! framing, and not what the rules say.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::net::sockopt;

/// Room for a batch while the kernel has not read it.
const SEND_BUFFER: usize = 1 << 20;
/// The kind of a message that says how it went.
const ERROR: u16 = 2;
/// A message's fixed part, and the error number that follows it.
const HEADER: usize = 16;

/// Why the rules are not in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetfilterError {
    /// The batch holds no whole message.
    #[error("the batch of packet rules is not made of netlink messages")]
    Malformed,
    /// The kernel cannot be asked.
    #[error("talking to the kernel's packet filter (is the module nf_tables there?)")]
    Socket(#[source] io::Error),
    /// The kernel says no; nothing of the batch is in force.
    #[error("the kernel refuses packet rule message {message}")]
    Refused {
        /// Which message of the batch, counted from 1.
        message: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// The caller may not change rules here.
    #[error("changing packet rules needs CAP_NET_ADMIN in this network namespace")]
    Forbidden(#[source] io::Error),
}

/// Applies `batch` whole, or not at all. Its last message but one must ask for
/// an acknowledgement.
pub fn apply(batch: &[u8]) -> Result<(), NetfilterError> {
    let awaited = acknowledged(batch).ok_or(NetfilterError::Malformed)?;
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(NetfilterError::Socket)?;
    // Larger than the default where the system allows it; a batch that does not
    // fit is refused by `send`.
    let _ = sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
    socket.bind_auto().map_err(NetfilterError::Socket)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(NetfilterError::Socket)?;
    socket.send(batch, 0).map_err(NetfilterError::Socket)?;
    loop {
        let (answer, _) = socket.recv_from_full().map_err(NetfilterError::Socket)?;
        for (sequence, error) in verdicts(&answer) {
            if error != 0 {
                return Err(refusal(sequence, error));
            }
            if sequence == awaited {
                return Ok(());
            }
        }
    }
}

fn refusal(message: u32, error: i32) -> NetfilterError {
    let source = io::Error::from_raw_os_error(error);
    match source.kind() {
        io::ErrorKind::PermissionDenied => NetfilterError::Forbidden(source),
        _ => NetfilterError::Refused { message, source },
    }
}

/// Header fields of every message: kind, flags, sequence, and the body.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, u16, u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = rest.get(HEADER..length)?;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let flags = u16::from_ne_bytes([header[6], header[7]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, sequence, body))
    })
}

/// The number of the message that the kernel will acknowledge.
fn acknowledged(batch: &[u8]) -> Option<u32> {
    const ACKNOWLEDGE: u16 = 0x4;
    messages(batch)
        .filter(|(_, flags, _, _)| flags & ACKNOWLEDGE != 0)
        .map(|(_, _, sequence, _)| sequence)
        .last()
}

/// Message numbers and positive error numbers, zero for success.
fn verdicts(answer: &[u8]) -> Vec<(u32, i32)> {
    messages(answer)
        .filter(|(kind, ..)| *kind == ERROR)
        .filter_map(|(_, _, sequence, body)| {
            body.first_chunk::<4>().map(|code| (sequence, -i32::from_ne_bytes(*code)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_last_message_that_asks_is_the_one_awaited() {
        let batch = [message(16, 1, 1, &[0; 4]), message(0xa00, 5, 2, &[]), message(17, 1, 3, &[])];
        assert_eq!(acknowledged(&batch.concat()), Some(2));
        assert_eq!(acknowledged(&[1, 2, 3]), None);
    }

    #[test]
    fn an_error_names_the_message_it_is_about() {
        let answer = message(ERROR, 0, 7, &(-22i32).to_ne_bytes());
        assert_eq!(verdicts(&answer), [(7, 22)]);
        assert!(matches!(refusal(7, 1), NetfilterError::Forbidden(_)));
        assert!(matches!(refusal(7, 22), NetfilterError::Refused { message: 7, .. }));
    }

    #[test]
    fn a_length_beyond_the_end_is_not_read() {
        let mut cut = message(ERROR, 0, 7, &(-22i32).to_ne_bytes());
        cut.pop();
        assert_eq!(verdicts(&cut), []);
    }
}
