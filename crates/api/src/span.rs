//! Time spans as users write them: `1.5s`, `1h30m`, `250ms`.

use std::time::Duration;

/// Nanoseconds of each unit, longer names before the names that they begin with.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 6e10),
    ("h", 3.6e12),
];

/// Why a text is not a time span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// It is something else.
    #[error("`{0}` is not a time span such as `1.5s`, `250ms` or `1h`")]
    NotASpan(String),
    /// It is negative.
    #[error("`{0}` is negative")]
    Negative(String),
}

/// Reads a time span: numbers with units, one after the other; a bare `0` is allowed.
pub fn parse(text: &str) -> Result<Duration, SpanError> {
    let wrong = || SpanError::NotASpan(text.to_owned());
    if let Some(positive) = text.strip_prefix('-') {
        return match parse(positive)? {
            Duration::ZERO => Ok(Duration::ZERO),
            _ => Err(SpanError::Negative(text.to_owned())),
        };
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let unit = UNITS.iter().find_map(|(name, scale)| Some((rest.strip_prefix(name)?, scale)));
        let (after, scale) = unit.ok_or_else(wrong)?;
        rest = after;
        let seconds = number * scale / 1e9;
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        let milliseconds = parse(text).ok().map(|span| span.as_millis());
        assert_eq!(milliseconds, expected.map(u128::from), "{text}");
    }

    #[test]
    fn numbers_with_units_are_spans() {
        for (text, milliseconds) in [
            ("2s", 2000),
            ("1.5s", 1500),
            ("250ms", 250),
            ("1h1m", 3_660_000),
            ("0", 0),
            ("0s", 0),
            ("5000µs", 5),
            ("5000μs", 5),
        ] {
            check(text, Some(milliseconds));
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in ["", "5", "s", "1x", "1..5s", "-1s", "five", "9e9h", "9e99s", "1s2"] {
            check(text, None);
        }
    }
}
