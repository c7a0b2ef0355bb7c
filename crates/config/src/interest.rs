//! What a proxy asks the control plane for.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Host;

/// What a proxy wants to know, as text: `self`, `directory/shared`,
/// `directory/own`, `HOST:PORT`, `ADDRESS:PORT`, `tls/HOST:PORT`.
///
/// It is the resource name on the stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Interest {
    /// What the proxy itself runs: listeners and settings.
    Own,
    /// Which hosts and addresses exist: the chunks of a part of the directory.
    Directory(Part),
    /// Requests for a host on a port that the client dialled.
    Host(Host, u16),
    /// Connections to an address and port.
    Address(SocketAddr),
    /// TLS connections for a server name, on a port that the client dialled.
    ServerName(Host, u16),
}

/// A part of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// What every client of the mesh may use.
    Shared,
    /// What this client may use besides.
    Own,
}

impl Part {
    /// Both parts, which together are a client's directory.
    pub const ALL: [Self; 2] = [Self::Shared, Self::Own];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Own => "own",
        })
    }
}

/// A text that names no interest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `self`, a part of the directory, HOST:PORT, ADDRESS:PORT or tls/HOST:PORT")]
pub struct NotAnInterest(pub String);

impl fmt::Display for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("self"),
            Self::Directory(part) => write!(f, "directory/{part}"),
            Self::Host(host, port) => {
                let text = format!("{host}:{port}");
                // A Host header may spell an address; `host/` keeps it apart from `Address`.
                match text.parse::<SocketAddr>() {
                    Ok(_) => write!(f, "host/{text}"),
                    Err(_) => f.write_str(&text),
                }
            }
            Self::Address(address) => write!(f, "{address}"),
            Self::ServerName(host, port) => write!(f, "tls/{host}:{port}"),
        }
    }
}

impl FromStr for Interest {
    type Err = NotAnInterest;

    fn from_str(text: &str) -> Result<Self, NotAnInterest> {
        match text {
            "self" => return Ok(Self::Own),
            "directory/shared" => return Ok(Self::Directory(Part::Shared)),
            "directory/own" => return Ok(Self::Directory(Part::Own)),
            _ => {}
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (of, spelled): (fn(Host, u16) -> Self, _) = match text.strip_prefix("tls/") {
            Some(spelled) => (Self::ServerName, spelled),
            None => (Self::Host, text.strip_prefix("host/").unwrap_or(text)),
        };
        let error = || NotAnInterest(text.to_owned());
        let (host, port) = spelled.rsplit_once(':').ok_or_else(error)?;
        let host = Host::parse(host).map_err(|_| error())?;
        Ok(of(host, port.parse().map_err(|_| error())?))
    }
}

impl TryFrom<String> for Interest {
    type Error = NotAnInterest;

    fn try_from(text: String) -> Result<Self, NotAnInterest> {
        text.parse()
    }
}

impl From<Interest> for String {
    fn from(interest: Interest) -> Self {
        interest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interests_are_read_as_they_are_written() {
        let host = |name: &str, port| Interest::Host(Host::parse(name).unwrap(), port);
        for (text, interest) in [
            ("self", Interest::Own),
            ("directory/shared", Interest::Directory(Part::Shared)),
            ("directory/own", Interest::Directory(Part::Own)),
            ("world:8080", host("world", 8080)),
            ("*.example.com:443", host("*.example.com", 443)),
            ("host/10.96.0.7:80", host("10.96.0.7", 80)),
            ("host/[fd00::1]:80", host("[fd00::1]", 80)),
            ("tls/a.example:443", Interest::ServerName(Host::parse("a.example").unwrap(), 443)),
            ("10.96.0.7:80", Interest::Address("10.96.0.7:80".parse().unwrap())),
            ("[fd00::1]:80", Interest::Address("[fd00::1]:80".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(interest.clone()), "{text}");
            assert_eq!(interest.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "world",
            "world:",
            "world:x",
            "world:65536",
            "a b:80",
            ":80",
            "directory/x",
            "tls/a",
        ] {
            assert_eq!(text.parse::<Interest>(), Err(NotAnInterest(text.to_owned())));
        }
    }
}
