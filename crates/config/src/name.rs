//! Host names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A host name in lower case, perhaps with a leading `*`, or `*` alone; parsing
/// is the only way to get one.
///
/// Invariant: not empty, at most [`LONGEST`] bytes, no `*` but the first character, no
/// upper case, no white space, no port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

/// The most bytes of a host name (RFC 1035, section 2.3.4, as text).
pub const LONGEST: usize = 253;

/// A text that is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host name")]
pub struct NotAHost(pub String);

impl Host {
    /// Parses a host name or pattern.
    pub fn parse(text: &str) -> Result<Self, NotAHost> {
        let rest = text.strip_prefix('*').unwrap_or(text);
        let fits = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']')
        };
        let bad_dots = rest.contains("..") || rest == ".";
        let fits_length = (1..=LONGEST).contains(&text.len());
        match fits_length && rest.bytes().all(fits) && !bad_dots {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(NotAHost(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for many names.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether `name`, in lower case and without a port, falls under this host.
    pub fn covers(&self, name: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => suffix.len() < name.len() && name.ends_with(suffix),
            None => self.0 == name,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Host {
    type Error = NotAHost;

    fn try_from(text: String) -> Result<Self, NotAHost> {
        Self::parse(&text)
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

/// The endings of `host` that a wildcard may name, longest first: `.b.c`, `.c`
/// and the empty one for `a.b.c`.
///
/// A wildcard covers longer names only, so a host that begins with a dot is not
/// its own ending.
pub fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.')
        .map(|(at, _)| &host[at..])
        .filter(move |suffix| suffix.len() < host.len())
        .chain(std::iter::once(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_names_parse() {
        for good in ["*", "*.example.com", "hello", "Hello.Default", "a_b", "10.0.0.1", "[::1]"] {
            assert!(Host::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a..b", "a*", "*.*.b", "a/b", "é.example"] {
            assert_eq!(Host::parse(bad), Err(NotAHost(bad.to_owned())));
        }
        assert!(Host::parse(&"a".repeat(LONGEST)).is_ok());
        assert!(Host::parse(&"a".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn a_wildcard_covers_longer_names_only() {
        let covers = |pattern: &str, name: &str| Host::parse(pattern).unwrap().covers(name);
        assert!(covers("*.foo.com", "a.foo.com"));
        assert!(covers("*.foo.com", "a.b.foo.com"));
        assert!(!covers("*.foo.com", "foo.com"));
        assert!(!covers("*.foo.com", ".foo.com"));
        assert!(covers("*", "anything"));
        assert!(covers("Foo.com", "foo.com"));
        assert!(!covers("foo.com", "a.foo.com"));
    }

    #[test]
    fn suffixes_go_from_long_to_short() {
        assert_eq!(suffixes("a.b.c").collect::<Vec<_>>(), [".b.c", ".c", ""]);
        assert_eq!(suffixes("a").collect::<Vec<_>>(), [""]);
        assert_eq!(suffixes(".a").collect::<Vec<_>>(), [""]);
    }
}
