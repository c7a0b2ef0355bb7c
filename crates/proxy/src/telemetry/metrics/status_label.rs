//! Statuses as metrics name them: those that a standard defines, and one value for
//! all others of a class, so that a peer cannot make series at will.

use std::fmt;

/// Statuses of the registry of HTTP (RFC 9110, section 16.2.1), as ranges.
const STANDARD: [(u16, u16); 11] = [
    (100, 103),
    (200, 208),
    (226, 226),
    (300, 308),
    (400, 418),
    (421, 426),
    (428, 429),
    (431, 431),
    (451, 451),
    (500, 508),
    (510, 511),
];

/// A status, or the class of one that no standard defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// There was none.
    Absent,
    /// One that a standard defines.
    Standard(u16),
    /// Another one, by its first digit.
    Class(u16),
    /// Not between 100 and 599.
    Invalid,
}

impl Status {
    /// The status `number`; 0 stands for "no status".
    pub fn of(number: u16) -> Self {
        match number {
            0 => Self::Absent,
            _ if STANDARD.iter().any(|(from, to)| (*from..=*to).contains(&number)) => {
                Self::Standard(number)
            }
            100..=599 => Self::Class(number / 100),
            _ => Self::Invalid,
        }
    }

    /// The class of the status.
    pub fn class(self) -> Self {
        match self {
            Self::Standard(number) => Self::Class(number / 100),
            other => other,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("0"),
            Self::Standard(number) => write!(f, "{number}"),
            Self::Class(digit) => write!(f, "{digit}xx"),
            Self::Invalid => f.write_str("invalid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_standard_defines_is_one_value_a_class() {
        for (number, expected) in [
            (0, "0"),
            (200, "200"),
            (299, "2xx"),
            (418, "418"),
            (499, "4xx"),
            (520, "5xx"),
            (600, "invalid"),
            (99, "invalid"),
            (u16::MAX, "invalid"),
        ] {
            assert_eq!(Status::of(number).to_string(), expected);
        }
        assert_eq!(Status::of(503).class().to_string(), "5xx");
        let all: std::collections::BTreeSet<Status> = (0..=u16::MAX).map(Status::of).collect();
        assert!(all.len() < 75, "{}", all.len());
    }
}
