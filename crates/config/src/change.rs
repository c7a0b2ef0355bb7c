//! What a rule changes of requests and of their answers.

use std::net::Ipv6Addr;

use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use crate::text_match::{self, NotAPattern};

/// What is changed of a request before it is sent on, and of its answer before the client gets
/// it. Of a rule's and its target's changes, the target's come first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Changes {
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathChange>,
    /// The host, with its port if it is to have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Fields of the request.
    #[serde(skip_serializing_if = "FieldChanges::is_empty")]
    pub request: FieldChanges,
    /// Fields of the answer, the proxy's own answers included.
    #[serde(skip_serializing_if = "FieldChanges::is_empty")]
    pub response: FieldChanges,
}

impl Changes {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of a path. The query stays.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PathChange {
    /// Instead of the part that the rule's condition names: a prefix, else the whole path; the
    /// first `/` where there is no condition (Envoy's `prefix_rewrite`).
    Matched(String),
    /// Instead of all of it.
    Whole(String),
    /// Instead of every match of `pattern` (RE2 syntax); `\1` to `\9` in `with` stand for its
    /// groups, `\0` for the match, `\\` for a backslash.
    Pattern {
        /// The pattern, which may match anywhere in the path.
        pattern: String,
        /// What stands instead.
        with: String,
    },
}

/// Changes of header fields: what is removed goes first, then `set`, then `add`, as in Envoy. A
/// value may have variables, as in `%REQ(name)%`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FieldChanges {
    /// Fields that get one more value, by name in lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<(String, String)>,
    /// Fields that have this value only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
    /// Fields that are taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl FieldChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.set.is_empty() && self.remove.is_empty()
    }
}

/// Where a client is sent instead; what is absent stays as the request has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// The status, as in 301.
    pub status: u16,
    /// The scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The host, with its port if it is to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The port; when absent the host's, as it is written, but for the old scheme's own where
    /// the scheme changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path. A query in it replaces the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathChange>,
}

impl Redirect {
    /// To the same over TLS.
    pub fn to_tls() -> Self {
        let scheme = Some("https".to_owned());
        Self { status: 301, scheme, authority: None, port: None, path: None }
    }
}

/// A part of a value of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePart {
    /// Stands for itself.
    Text(String),
    /// Is put in for each message.
    Variable(Variable),
}

/// Something that is put into values of header fields (Envoy's command operators).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `REQ(NAME)`: a field of the request, or `:method`, `:path`, `:authority`, `:scheme`.
    Request(String),
    /// `PROTOCOL`: the version of HTTP that the client speaks.
    Protocol,
    /// `RESPONSE_CODE`: the answer's status; in an answer only.
    Status,
    /// `DOWNSTREAM_REMOTE_ADDRESS`: the client's address and port.
    Client,
    /// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT`: the client's address.
    ClientAddress,
    /// `DOWNSTREAM_LOCAL_ADDRESS`: the address and port that the client dialled.
    Dialled,
    /// `DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT`: the address that the client dialled.
    DialledAddress,
    /// `DOWNSTREAM_LOCAL_PORT`: the port that the client dialled.
    DialledPort,
}

/// A part of what stands instead of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubstitutionPart {
    /// Stands for itself.
    Text(String),
    /// The group of this number; 0 is the match.
    Group(usize),
}

/// A change that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAChange {
    /// There is no variable of this name, or it is not honoured.
    #[error("the variable `%{0}%` is not honoured")]
    Variable(String),
    /// A `%` begins nothing.
    #[error("a `%` is neither doubled nor part of `%NAME%`")]
    Percent,
    /// No field has such a name.
    #[error("`{0}` is not the name of a header field")]
    Name(String),
    /// No rule changes this field.
    #[error("`{0}` is not for rules to change")]
    Fixed(HeaderName),
    /// A value is longer than a rule may give, or has too many variables.
    #[error(
        "the value is longer than {} KiB or has more than {MOST_VARIABLES} variables",
        LONGEST_VALUE >> 10
    )]
    Long,
    /// No path has such a part.
    #[error("`{0}` has characters that paths cannot have")]
    Target(String),
    /// No host is written so.
    #[error("`{0}` is not a host with or without a port")]
    Authority(String),
    /// No field has such a value.
    #[error("the value has characters that header fields cannot have")]
    Value,
    /// What stands instead of a match names a group that the pattern does not have.
    #[error("`\\{group}` names a group that the pattern does not have; it has {groups}")]
    Group {
        /// Its number.
        group: usize,
        /// How many groups there are.
        groups: usize,
    },
    /// A backslash stands alone.
    #[error("a `\\` stands before a character other than a digit or another `\\`")]
    Backslash,
    /// The pattern is invalid.
    #[error(transparent)]
    Pattern(#[from] NotAPattern),
}

/// The most fields that a rule or a target changes on one side.
pub const MOST_FIELDS: usize = 100;
/// The longest value that a rule gives a field, in bytes.
const LONGEST_VALUE: usize = 16 << 10;
/// The most variables in a value.
const MOST_VARIABLES: usize = 16;
/// The longest host, in bytes.
const LONGEST_HOST: usize = 253;

/// The host that is to stand in requests, with its port if it is to have one.
pub fn authority(text: &str) -> Result<HeaderValue, NotAChange> {
    match is_authority(text) {
        true => HeaderValue::try_from(text).map_err(|_| NotAChange::Value),
        false => Err(NotAChange::Authority(text.chars().take(100).collect())),
    }
}

fn is_authority(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        let is_end = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().is_ok() && is_end;
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=LONGEST_HOST).contains(&host.len())
        && host.bytes().all(fits)
        && !host.contains("..")
        && host != "."
        && port.is_none_or(is_port)
}

/// Checks what stands in place of a path, or of a part of it.
pub fn check_target(text: &str) -> Result<(), NotAChange> {
    let whole = format!("/{text}");
    match !text.contains('#') && PathAndQuery::try_from(whole).is_ok() {
        true => Ok(()),
        false => Err(NotAChange::Target(text.chars().take(100).collect())),
    }
}

/// Whether no rule changes a field: it says where a message ends, what becomes of its
/// connection, or how many proxies it came through.
pub fn is_fixed(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
    [CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || ["keep-alive", "proxy-connection", "http2-settings", "x-weft-hops"]
            .contains(&name.as_str())
}

/// The name of a field that a rule changes.
pub fn field_name(name: &str) -> Result<HeaderName, NotAChange> {
    let parsed = HeaderName::try_from(name).map_err(|_| NotAChange::Name(name.to_owned()))?;
    match is_fixed(&parsed) {
        true => Err(NotAChange::Fixed(parsed)),
        false => Ok(parsed),
    }
}

/// The pattern of a path's change and what stands instead of its matches.
pub fn substitution(
    pattern: &str,
    with: &str,
) -> Result<(Regex, Vec<SubstitutionPart>), NotAChange> {
    let pattern = text_match::compile_part(pattern)?;
    let parts = substitution_parts(with, pattern.captures_len() - 1)?;
    Ok((pattern, parts))
}

/// The parts of what stands instead of the matches of a pattern with so many groups.
pub fn substitution_parts(with: &str, groups: usize) -> Result<Vec<SubstitutionPart>, NotAChange> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = with.chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            text.push(next);
            continue;
        }
        match rest.next() {
            Some('\\') => text.push('\\'),
            Some(digit) if digit.is_ascii_digit() => {
                let group = digit as usize - '0' as usize;
                if group > groups {
                    return Err(NotAChange::Group { group, groups });
                }
                if !text.is_empty() {
                    parts.push(SubstitutionPart::Text(std::mem::take(&mut text)));
                }
                parts.push(SubstitutionPart::Group(group));
            }
            _ => return Err(NotAChange::Backslash),
        }
    }
    if !text.is_empty() {
        parts.push(SubstitutionPart::Text(text));
    }
    Ok(parts)
}

/// The parts of a field's value: `%%` is a `%`, `%NAME%` a variable.
pub fn value_parts(value: &str) -> Result<Vec<ValuePart>, NotAChange> {
    if HeaderValue::try_from(value).is_err() {
        return Err(NotAChange::Value);
    }
    if value.len() > LONGEST_VALUE || value.matches('%').count() > 2 * MOST_VARIABLES {
        return Err(NotAChange::Long);
    }
    let mut found = Vec::new();
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (name, after) = after.split_once('%').ok_or(NotAChange::Percent)?;
        rest = after;
        if name.is_empty() {
            text.push('%');
            continue;
        }
        if !text.is_empty() {
            found.push(ValuePart::Text(std::mem::take(&mut text)));
        }
        found.push(ValuePart::Variable(variable(name)?));
    }
    text.push_str(rest);
    if !text.is_empty() {
        found.push(ValuePart::Text(text));
    }
    Ok(found)
}

fn variable(name: &str) -> Result<Variable, NotAChange> {
    let unknown = || NotAChange::Variable(name.to_owned());
    if let Some(field) = name.strip_prefix("REQ(").and_then(|rest| rest.strip_suffix(')')) {
        let field = field.to_ascii_lowercase();
        let is_pseudo = [":method", ":path", ":authority", ":scheme"].contains(&field.as_str());
        return match is_pseudo || HeaderName::try_from(&field).is_ok() {
            true => Ok(Variable::Request(field)),
            false => Err(unknown()),
        };
    }
    Ok(match name {
        "PROTOCOL" => Variable::Protocol,
        "RESPONSE_CODE" => Variable::Status,
        "DOWNSTREAM_REMOTE_ADDRESS" => Variable::Client,
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Variable::ClientAddress,
        "DOWNSTREAM_LOCAL_ADDRESS" => Variable::Dialled,
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Variable::DialledAddress,
        "DOWNSTREAM_LOCAL_PORT" => Variable::DialledPort,
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ValuePart {
        ValuePart::Text(text.to_owned())
    }

    #[test]
    fn values_have_texts_and_variables() {
        let read = value_parts("a%REQ(X-In)%b%%c").unwrap();
        let named = ValuePart::Variable(Variable::Request("x-in".to_owned()));
        assert_eq!(read, [text("a"), named, text("b%c")]);
        assert_eq!(value_parts("%PROTOCOL%").unwrap(), [ValuePart::Variable(Variable::Protocol)]);
        assert_eq!(value_parts("").unwrap(), []);
    }

    #[test]
    fn a_value_that_cannot_be_made_is_refused() {
        let unknown = |name: &str| Err(NotAChange::Variable(name.to_owned()));
        assert_eq!(value_parts("100%"), Err(NotAChange::Percent));
        assert_eq!(value_parts("%NONSENSE%"), unknown("NONSENSE"));
        assert_eq!(value_parts("%REQ(a?b)%"), unknown("REQ(a?b)"));
        assert_eq!(value_parts("a\r\nb: c"), Err(NotAChange::Value));
    }

    #[test]
    fn hosts_and_targets_are_what_requests_can_have() {
        for good in ["a", "a_b.example", "a:80", "10.0.0.1:1", "[::1]", "[::1]:80"] {
            assert!(authority(good).is_ok(), "{good}");
        }
        for bad in ["", "::::", "[", "a..b", "a:b", "a:b:c", "a:", "a:0", "a b", "[x]", "[::1]80"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
        for good in ["", "/", "/a?b", "a"] {
            assert!(check_target(good).is_ok(), "{good}");
        }
        for bad in ["/a b", "/a#b", "/\r\n"] {
            assert!(check_target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_frames_messages_and_counts_proxies_is_not_changed() {
        for name in ["Content-Length", "connection", "x-weft-hops"] {
            assert!(matches!(field_name(name), Err(NotAChange::Fixed(_))), "{name}");
        }
    }

    #[test]
    fn a_value_has_a_bound() {
        assert_eq!(value_parts(&"x".repeat(LONGEST_VALUE + 1)), Err(NotAChange::Long));
        assert_eq!(value_parts(&"%REQ(x)%".repeat(MOST_VARIABLES + 1)), Err(NotAChange::Long));
        assert!(value_parts(&"%REQ(x)%".repeat(MOST_VARIABLES)).is_ok());
    }

    #[test]
    fn groups_are_those_of_the_pattern() {
        let parts = |with: &str| substitution("(a)(b)", with).map(|(_, parts)| parts);
        let text = |text: &str| SubstitutionPart::Text(text.to_owned());
        let group = SubstitutionPart::Group;
        let expected = vec![text("/x"), group(2), text("-$1\\"), group(0)];
        assert_eq!(parts(r"/x\2-$1\\\0"), Ok(expected));
        assert_eq!(parts(r"\3"), Err(NotAChange::Group { group: 3, groups: 2 }));
        assert_eq!(parts(r"\q"), Err(NotAChange::Backslash));
        assert!(matches!(substitution("(", ""), Err(NotAChange::Pattern(_))));
    }
}
