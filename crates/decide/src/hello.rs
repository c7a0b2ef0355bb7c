//! What a TLS client says before anything is encrypted, as far as servers are chosen by it.

use weft_config::HelloMatch;

/// What a TLS client says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server that it wants, in lower case; none if it does not say.
    pub server_name: Option<String>,
    /// The application protocols that it speaks, the preferred one first.
    pub protocols: Vec<Vec<u8>>,
}

/// How many names or ranges of a condition an explanation names.
pub(crate) const MOST_NAMED: usize = 3;

/// How exactly a condition is about a client: by the length of the name's known part, an exact
/// name before all wildcards, then by whether protocols are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exactness(usize, bool);

impl Exactness {
    /// That of a condition that is about every client.
    pub(crate) const ANY: Self = Self(0, false);
}

impl ClientHello {
    /// How exactly `condition` is about this client; none if it is about others.
    pub(crate) fn matches(&self, condition: &HelloMatch) -> Option<Exactness> {
        let offers = |wanted: &String| self.protocols.iter().any(|one| one == wanted.as_bytes());
        if !condition.protocols.is_empty() && !condition.protocols.iter().any(offers) {
            return None;
        }
        let names = match (condition.names.is_empty(), &self.server_name) {
            (true, _) => 0,
            (false, None) => return None,
            (false, Some(name)) => {
                let covering = condition.names.iter().filter(|host| host.covers(name));
                let length = |host: &weft_config::Host| match host.is_wildcard() {
                    true => host.as_str().len(),
                    false => usize::MAX,
                };
                covering.map(length).max()?
            }
        };
        Some(Exactness(names, !condition.protocols.is_empty()))
    }
}

/// What `condition` asks for, and what the client has of it, in words.
pub(crate) fn explain_hello(condition: &HelloMatch, hello: Option<&ClientHello>) -> String {
    let Some(hello) = hello else { return "the client does not begin TLS".to_owned() };
    let mut parts = Vec::new();
    if !condition.names.is_empty() {
        let first = condition.names.iter().take(MOST_NAMED);
        let mut named = first.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if let Some(more @ 1..) = condition.names.len().checked_sub(MOST_NAMED) {
            named.push_str(&format!(" and {more} more"));
        }
        let covering = |name: &str| condition.names.iter().find(|host| host.covers(name));
        parts.push(match &hello.server_name {
            None => format!("the client names no server, and {named} is asked for"),
            Some(name) => match covering(name) {
                None => format!("the server name `{name}` is not {named}"),
                Some(host) if host.is_wildcard() => {
                    format!("the server name `{name}` is covered by `{host}`")
                }
                Some(_) => format!("the server name is `{name}`"),
            },
        });
    }
    if !condition.protocols.is_empty() {
        let offers = |one: &String| hello.protocols.iter().any(|own| own == one.as_bytes());
        let offers =
            if condition.protocols.iter().any(offers) { "offers" } else { "does not offer" };
        parts.push(format!("the client {offers} one of {}", condition.protocols.join(", ")));
    }
    parts.join(", ")
}
