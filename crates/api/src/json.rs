//! JSON whose memory is bounded before it is read.
//!
//! A map of one entry is six bytes of JSON and 640 bytes in memory, so the size of a text
//! says little about what reading it costs. A pass over the text counts first.

use serde_json::Value;

/// Why a text is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Reading it would take too much memory.
    #[error("more than {maps} maps or {values} values")]
    TooLarge {
        /// The most maps that are allowed.
        maps: usize,
        /// The most values that are allowed.
        values: usize,
    },
    /// It is not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// How much a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Maps; each takes about 640 bytes.
    pub maps: usize,
    /// Values of any kind, maps included; each takes about 32 bytes.
    pub values: usize,
}

/// Reads `text`, unless there is more than `most` in it.
pub fn parse(text: &[u8], most: Most) -> Result<Value, JsonError> {
    let (mut maps, mut values) = (0, 1);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' => (maps, values) = (maps + 1, values + 1),
            b'[' | b',' => values += 1,
            _ => {}
        }
        if maps > most.maps || values > most.values {
            return Err(JsonError::TooLarge { maps: most.maps, values: most.values });
        }
    }
    Ok(serde_json::from_slice(text)?)
}

/// Moves behind the quotation mark that ends a string.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, (maps, values): (usize, usize), fits: bool) {
        let read = parse(text.as_bytes(), Most { maps, values });
        assert_eq!(read.is_ok(), fits, "{text}: {read:?}");
    }

    #[test]
    fn values_are_counted_before_they_are_read() {
        check("[1,2,3]", (0, 5), true);
        check("[1,2,3]", (0, 3), false);
        check("{\"a\":{}}", (2, 9), true);
        check("{\"a\":{}}", (1, 9), false);
        check(r#"["{{{{,,,,", "\"{{{", "\\"]"#, (0, 4), true);
        check("[1", (9, 9), false);
    }
}
