//! The line with the size of a chunk, byte by byte: none of it is kept.
//!
//! The codec takes any number of zeros before a size and of blanks after it, so such a line need
//! never end. It bounds extensions itself.

/// Digits of a size: as many as fill 64 bits.
const MOST_DIGITS: u32 = 16;
/// Blanks after a size.
const MOST_BLANKS: u32 = 256;

/// What has come of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkSize {
    size: u64,
    part: Part,
}

/// The part of the line that the next byte belongs to, with its length so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Digits(u32),
    Blanks(u32),
    Extension,
    /// CR has come.
    End,
}

impl Default for Part {
    fn default() -> Self {
        Self::Digits(0)
    }
}

/// How far the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// More of it is to come.
    Begun,
    /// It has ended, and the chunk has this size.
    Ended(u64),
    /// The codec refuses it.
    Broken,
    /// It has more digits or blanks than any that is meant.
    TooLong,
}

impl ChunkSize {
    /// The next byte of the line has come.
    pub fn push(&mut self, byte: u8) -> Line {
        self.part = match (self.part, byte) {
            (Part::Digits(MOST_DIGITS), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
            | (Part::Blanks(MOST_BLANKS), b' ' | b'\t') => return Line::TooLong,
            (Part::Digits(count), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = self.size << 4 | u64::from(digit);
                Part::Digits(count + 1)
            }
            (Part::Digits(1..), b' ' | b'\t') => Part::Blanks(1),
            (Part::Blanks(count), b' ' | b'\t') => Part::Blanks(count + 1),
            (Part::Digits(1..) | Part::Blanks(_), b';') => Part::Extension,
            (Part::Digits(1..) | Part::Blanks(_) | Part::Extension, b'\r') => Part::End,
            (Part::End, b'\n') => return Line::Ended(self.size),
            (Part::Digits(_) | Part::Blanks(_) | Part::End, _) | (Part::Extension, b'\n') => {
                return Line::Broken;
            }
            (Part::Extension, _) => Part::Extension,
        };
        Line::Begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the line is when it is more than begun, and after how many bytes.
    fn read(line: &str) -> (Line, usize) {
        let mut size = ChunkSize::default();
        let mut bytes = line.bytes().zip(1..);
        let ends = bytes.find_map(|(byte, count)| match size.push(byte) {
            Line::Begun => None,
            line => Some((line, count)),
        });
        ends.unwrap_or((Line::Begun, line.len()))
    }

    #[test]
    fn sizes_are_read_as_the_codec_reads_them() {
        for (line, size) in [
            ("0\r\n", 0),
            ("1aF\r\n", 0x1af),
            ("00000400\r\n", 0x400),
            ("ffffffffffffffff\r\n", u64::MAX),
            ("4 \t\r\n", 4),
            ("4;a=b\r\n", 4),
            ("4 ; a=\"f\"\r\n", 4),
        ] {
            assert_eq!(read(line), (Line::Ended(size), line.len()), "{line:?}");
        }
        for line in ["x", "\r", ";", " ", "4x", "4 4", "4\n", "4;a\n", "4\rx", "4;a\r\r"] {
            assert_eq!(read(line), (Line::Broken, line.len()), "{line:?}");
        }
    }

    #[test]
    fn zeros_and_blanks_without_end_are_too_long() {
        assert_eq!(read(&"0".repeat(1000)), (Line::TooLong, 17));
        assert_eq!(read(&format!("4{}", " ".repeat(1000))), (Line::TooLong, 258));
        assert_eq!(read(&format!("4 {}", "\t".repeat(1000))), (Line::TooLong, 258));
    }
}
