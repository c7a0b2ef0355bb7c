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

/// How exactly a condition is about a client: by the length of the name's known part, an exact
/// name before all wildcards, then by whether protocols are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exactness(usize, bool);

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
