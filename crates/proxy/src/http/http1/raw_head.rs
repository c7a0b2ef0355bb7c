//! Heads of requests as they are on the wire, before the codec of HTTP/1 reads them.
//!
//! The codec takes a length away that stands beside chunks, and ends a line of a head at a bare
//! LF, but not one of trailers. Both are read in other ways by others (RFC 9112, sections 2.2 and 6.3), and nothing of it is left
//! to be seen in what the codec hands on. Nothing else is judged here: what the codec refuses is
//! the codec's business, and so is what follows. What follows a request to upgrade is not
//! known until that is answered.

use weft_decide::arrive::fields::MOST_FIELDS;

use super::chunk_size::{ChunkSize, Line};

/// Bytes of a line that are kept at most. The codec bounds heads and trailers more narrowly: a line
/// as long as this is one that it does not see as such.
const MOST_KEPT: usize = 1 << 20;

/// Follows the requests on one connection, from the first byte on.
#[derive(Debug, Default)]
pub struct RawHeads {
    place: Place,
    head: Head,
    /// The line so far, where it did not come at once.
    begun: Vec<u8>,
    violation: Option<Violation>,
}

/// What is wrong with a head that the codec refuses. The codec does not say so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A length stands beside chunks.
    LengthAndChunks,
    /// A field has a character that none may have (RFC 9110, section 5.5).
    Character,
    /// There are more fields than may be.
    TooManyFields,
}

/// Where in the messages the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In a head, or before one.
    #[default]
    Head,
    /// In so many bytes of a body.
    Body(u64),
    /// At the size of a chunk.
    Size(ChunkSize),
    /// In so many bytes of a chunk, with the end of its line.
    Chunk(u64),
    /// After the last chunk.
    Trailers,
    /// After a request to upgrade that has no answer yet.
    Upgrade,
    /// Nothing is known of what follows: another protocol, or what the codec refuses.
    Beyond,
}

/// What a head has said so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    begun: bool,
    length: Option<u64>,
    /// Whether there is a length that is no number.
    odd: bool,
    chunked: bool,
    fields: usize,
    /// Whether another protocol may follow.
    upgrade: bool,
}

/// What a look at bytes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that matters.
    Nothing,
    /// The byte at this place makes a head ambiguous, or a line longer than any that is meant.
    /// Nothing after it was looked at.
    Ambiguous(usize),
    /// At this place a head has ended that asks for another protocol. What follows is looked at
    /// once [`RawHeads::upgrade_answered`] says which.
    Upgrade(usize),
}

/// The answer to a request to upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeAnswer {
    /// The other protocol follows.
    Accepted,
    /// Requests follow.
    Refused,
}

impl RawHeads {
    /// Whether a request to upgrade has no answer yet.
    pub fn awaits_upgrade(&self) -> bool {
        self.place == Place::Upgrade
    }

    /// What is wrong with the first head that has one of the violations.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// The request to upgrade was answered.
    pub fn upgrade_answered(&mut self, answer: UpgradeAnswer) {
        self.place = match answer {
            UpgradeAnswer::Accepted => Place::Beyond,
            UpgradeAnswer::Refused => Place::Head,
        };
    }

    /// Looks at the next bytes.
    pub fn look(&mut self, bytes: &[u8]) -> Found {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.place {
                Place::Beyond => return Found::Nothing,
                Place::Upgrade => return Found::Upgrade(at),
                Place::Body(left) | Place::Chunk(left) => {
                    let rest = (bytes.len() - at) as u64;
                    let taken = rest.min(*left);
                    *left -= taken;
                    at += usize::try_from(taken).unwrap_or(usize::MAX);
                    match self.place {
                        Place::Body(0) => self.place = Place::Head,
                        Place::Chunk(0) => self.place = Place::Size(ChunkSize::default()),
                        _ => {}
                    }
                }
                Place::Size(line) => {
                    let line = line.push(bytes[at]);
                    at += 1;
                    match line {
                        Line::Begun => {}
                        Line::Ended(0) => self.place = Place::Trailers,
                        Line::Ended(size) => self.place = Place::Chunk(size.saturating_add(2)),
                        Line::Broken => self.place = Place::Beyond,
                        Line::TooLong => return self.ambiguous(at - 1),
                    }
                }
                Place::Head | Place::Trailers => {
                    let rest = &bytes[at..];
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        if self.begun.len() + rest.len() > MOST_KEPT {
                            return self.ambiguous(at);
                        }
                        self.begun.extend_from_slice(rest);
                        return Found::Nothing;
                    };
                    let is_clear = match self.begun.is_empty() {
                        true => self.line(&rest[..end]),
                        false => {
                            let mut line = std::mem::take(&mut self.begun);
                            line.extend_from_slice(&rest[..end]);
                            self.line(&line)
                        }
                    };
                    at += end + 1;
                    if !is_clear {
                        return self.ambiguous(at - 1);
                    }
                }
            }
        }
        match self.place {
            Place::Upgrade => Found::Upgrade(at),
            _ => Found::Nothing,
        }
    }

    /// Nothing after this byte is looked at.
    fn ambiguous(&mut self, at: usize) -> Found {
        self.place = Place::Beyond;
        self.begun = Vec::new();
        Found::Ambiguous(at)
    }

    /// A line without its LF; whether it leaves the head with one reading.
    fn line(&mut self, line: &[u8]) -> bool {
        match self.place {
            Place::Trailers => {
                if line == b"\r" {
                    self.place = Place::Head;
                }
                line.ends_with(b"\r")
            }
            _ => self.line_of_head(line),
        }
    }

    fn line_of_head(&mut self, line: &[u8]) -> bool {
        let head = &mut self.head;
        if matches!(line, [] | [b'\r']) && !head.begun {
            // Empty lines before a request are skipped (RFC 9112, section 2.2).
            return true;
        }
        let Some(line) = line.strip_suffix(b"\r") else { return false };
        if line.is_empty() {
            self.place = match std::mem::take(head) {
                Head { odd: true, .. } => Place::Beyond,
                // A request with a body asks for nothing else.
                Head { chunked: true, .. } => Place::Size(ChunkSize::default()),
                Head { length: Some(length @ 1..), .. } => Place::Body(length),
                Head { upgrade: true, .. } => Place::Upgrade,
                _ => Place::Head,
            };
            return true;
        }
        if !head.begun {
            head.begun = true;
            head.upgrade = line.starts_with(b"CONNECT ");
            return true;
        }
        head.fields += 1;
        if head.fields > MOST_FIELDS {
            self.violation.get_or_insert(Violation::TooManyFields);
        }
        if has_control(line) {
            self.violation.get_or_insert(Violation::Character);
        }
        if let Some(value) = field(line, b"content-length") {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            head.odd |= number.is_none() || head.length.is_some_and(|first| Some(first) != number);
            head.length = number.or(Some(0));
        } else if field(line, b"transfer-encoding").is_some() {
            head.chunked = true;
        } else if field(line, b"upgrade").is_some() {
            head.upgrade = true;
        }
        if head.chunked && head.length.is_some() {
            self.violation.get_or_insert(Violation::LengthAndChunks);
            return false;
        }
        true
    }
}

/// Whether a line has a character that no value of a field has.
fn has_control(line: &[u8]) -> bool {
    let is_control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    // Without an early end, so that many bytes are compared at once.
    line.iter().fold(false, |found, byte| found | is_control(*byte))
}

/// The value of a field that is called `name`.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where one of `pieces` becomes ambiguous, in all of them; requests to upgrade are answered
    /// with `answer`.
    fn ambiguous(pieces: &[&[u8]], answer: UpgradeAnswer) -> Option<usize> {
        let (mut heads, mut before) = (RawHeads::default(), 0);
        for piece in pieces {
            let mut at = 0;
            loop {
                match heads.look(&piece[at..]) {
                    Found::Nothing => break,
                    Found::Ambiguous(place) => return Some(before + at + place),
                    Found::Upgrade(place) => {
                        assert!(heads.awaits_upgrade());
                        assert_eq!(heads.look(&piece[at + place..]), Found::Upgrade(0));
                        heads.upgrade_answered(answer);
                        at += place;
                    }
                }
            }
            before += piece.len();
        }
        None
    }

    /// Where `text` becomes ambiguous, however it is cut into pieces.
    #[track_caller]
    fn found_when(text: &str, answer: UpgradeAnswer) -> Option<&str> {
        let at = ambiguous(&[text.as_bytes()], answer);
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(ambiguous(&[first, second], answer), at, "cut at {cut}");
        }
        at.map(|at| &text[at..])
    }

    #[track_caller]
    fn found(text: &str) -> Option<&str> {
        found_when(text, UpgradeAnswer::Accepted)
    }

    #[test]
    fn a_length_beside_chunks_is_found_in_either_order() {
        let length_first =
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTRANSFER-ENCODING:chunked\r\n\r\n";
        assert_eq!(found(length_first), Some("\n\r\n"));
        let chunks_first =
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: x\r\n\r\n";
        assert_eq!(found(chunks_first), Some("\n\r\n"));
    }

    #[test]
    fn what_is_wrong_with_a_head_is_known() {
        let wrong = |fields: &str| {
            let mut heads = RawHeads::default();
            heads.look(format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes());
            heads.violation()
        };
        assert_eq!(wrong("x: a\tb\u{e4}\r\n"), None);
        assert_eq!(wrong("x: a\0b\r\ncontent-length: 3\r\n"), Some(Violation::Character));
        let both = "content-length: 3\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(wrong(both), Some(Violation::LengthAndChunks));
        assert_eq!(wrong(&"x: y\r\n".repeat(MOST_FIELDS - 1)), None);
        assert_eq!(wrong(&"x: y\r\n".repeat(MOST_FIELDS)), Some(Violation::TooManyFields));
    }

    #[test]
    fn a_bare_line_feed_is_found_in_any_line_of_a_head() {
        assert_eq!(found("GET / HTTP/1.1\nhost: a\r\n\r\n"), Some("\nhost: a\r\n\r\n"));
        assert_eq!(found("GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n"), Some("\nc: d\r\n\r\n"));
        assert_eq!(found("GET / HTTP/1.1\r\na: b\r\n\n"), Some("\n"));
        assert_eq!(found("\n\r\n\nGET / HTTP/1.1\r\na: b\r\n\r\n"), None, "before a request");
    }

    #[test]
    fn a_bare_line_feed_is_found_in_trailers() {
        let chunks = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
        let hidden = "\n\r\nX /x HTTP/1.1\r\ncontent-length: 100000\r\n\r\n";
        for before in ["a: b", "", "a: b\r\nc: d"] {
            assert_eq!(found(&format!("{chunks}{before}{hidden}")), Some(hidden), "{before}");
        }
        // The codec refuses it at the size of a chunk.
        assert_eq!(found("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\na\n"), None);
    }

    #[test]
    fn bodies_are_passed_over_and_the_next_head_is_not() {
        let odd = "GET /\n";
        for before in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 6\r\ncontent-length: 6\r\n\r\na\nb\n\nc",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
             4;x=y\r\na\nb\n\r\nA \r\n0\r\n\r\n\n\n\n\n\n\r\n0\r\nx: y\r\n\r\n\r\n",
        ] {
            assert_eq!(found(before), None, "{before}");
            assert_eq!(found(&format!("{before}{odd}")), Some("\n"), "{before}");
        }
    }

    #[test]
    fn a_size_without_end_is_found_and_none_of_it_is_kept() {
        let head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let zeros = [b'0'; 4096];
        let blanks = [&b"5"[..], &[b' '; 4096]].concat();
        let extension = [&b"5;"[..], &[b'x'; 4096]].concat();
        for (line, place) in [(&zeros[..], Some(16)), (&blanks, Some(257)), (&extension, None)] {
            let place = place.map(|place| head.len() + place);
            let whole = [head, line].concat();
            assert_eq!(ambiguous(&[&whole], UpgradeAnswer::Accepted), place);
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(ambiguous(&bytes, UpgradeAnswer::Accepted), place);
            let mut heads = RawHeads::default();
            heads.look(&whole);
            assert_eq!(heads.begun.capacity(), 0);
        }
    }

    #[test]
    fn a_line_without_end_is_kept_up_to_a_bound() {
        let chunks = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
        for before in ["GET / HTTP/1.1\r\n", chunks] {
            let mut heads = RawHeads::default();
            heads.look(before.as_bytes());
            for _ in 0..MOST_KEPT / 4096 {
                assert_eq!(heads.look(&[b'x'; 4096]), Found::Nothing);
            }
            assert_eq!(heads.look(b"x"), Found::Ambiguous(0));
            assert_eq!(heads.begun.capacity(), 0);
            assert_eq!(heads.look(&[b'x'; 4096]), Found::Nothing);
        }
    }

    #[test]
    fn after_a_refused_upgrade_come_requests() {
        let upgrade = "GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        for head in [upgrade, "CONNECT a:80 HTTP/1.1\r\n\r\n"] {
            let next = format!("{head}{upgrade}GET / HTTP/1.1\na: b\r\n\r\n");
            assert_eq!(found_when(&next, UpgradeAnswer::Refused), Some("\na: b\r\n\r\n"), "{head}");
            assert_eq!(found_when(&next, UpgradeAnswer::Accepted), None, "{head}");
        }
        // With a body no upgrade is asked for.
        let body = "POST / HTTP/1.1\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n\n\n";
        assert_eq!(found(&format!("{body}GET /\n")), Some("\n"));
    }

    #[test]
    fn what_is_no_request_is_let_be() {
        for head in [
            "GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 3, 3\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
        ] {
            assert_eq!(found(&format!("{head}a\nb\n\n")), None, "{head}");
        }
    }
}
