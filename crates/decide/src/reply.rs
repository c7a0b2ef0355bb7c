//! Answers that a proxy gives itself.
//!
//! Every one carries details that name the cause, and the flags of access logs.

use std::{borrow::Cow, fmt, ops::Deref, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use weft_config::Origin;

use crate::{change::AnswerChanges, failure::Blame};

/// Says that a request was refused to spare a server.
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// An answer that a proxy gives itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status; none closes the connection.
    pub status: Option<u16>,
    /// The body, as plain text.
    pub body: Text,
    /// What the access log says of it in short.
    pub flags: Flags,
    /// Response code details, which name the cause.
    pub details: Cow<'static, str>,
    /// What a rule adds to it; most replies have nothing of it.
    pub by_rule: Option<Box<ByRule>>,
    /// The rule's name, for the access log.
    pub rule: Option<Arc<str>>,
    /// The backend that it would have gone to, for the access log.
    pub backend: Option<Arc<str>>,
    /// The object and rule that decided; absent where the request itself is the reason.
    pub origin: Option<Arc<Origin>>,
    /// Who is to look into it; absent where a rule says so.
    pub blame: Option<Blame>,
}

/// A text that is not copied for each reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Part of the program.
    Fixed(&'static str),
    /// Of a rule.
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// What a rule adds to a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByRule {
    /// Fields of the head.
    fields: Vec<(HeaderName, HeaderValue)>,
    /// For how long it is held up.
    delay: Option<Duration>,
    /// The status that gRPC clients get, where another one than the status means is wanted.
    grpc: Option<u8>,
    /// What is changed of the rule's answers, this one included.
    changes: Option<AnswerChanges>,
}

impl Reply {
    /// A reply without body and flags.
    pub fn new(status: u16, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: Some(status),
            body: Text::Fixed(""),
            flags: Flags::default(),
            details: details.into(),
            by_rule: None,
            rule: None,
            backend: None,
            origin: None,
            blame: None,
        }
    }

    /// The same reply, of the rule called `rule`.
    pub fn of_rule(self, rule: Option<&Arc<str>>) -> Self {
        Self { rule: rule.map(Arc::clone), ..self }
    }

    /// The same reply, changed as its rule says.
    pub fn changed_by(mut self, changes: Option<&AnswerChanges>) -> Self {
        if let Some(changes) = changes {
            self.by_rule().changes = Some(changes.clone());
        }
        self
    }

    /// The same reply, with these fields in its head.
    pub(crate) fn with_fields(mut self, fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.by_rule().fields = fields;
        self
    }

    /// The same reply; gRPC clients get `status`.
    pub(crate) fn with_grpc_status(mut self, status: u8) -> Self {
        self.by_rule().grpc = Some(status);
        self
    }

    fn by_rule(&mut self) -> &mut ByRule {
        self.by_rule.get_or_insert_default()
    }

    /// For how long a fault holds it up.
    pub fn delay(&self) -> Option<Duration> {
        self.by_rule.as_ref()?.delay
    }

    /// Writes what the head has, but for what frames the body: what kind of body it is, and what
    /// the rule says. `status` is the one that the client gets.
    pub fn write_head(&self, headers: &mut HeaderMap, status: u16) {
        if !self.body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        if self.flags.iter().next() == Some(Flag::Overflow) {
            headers.insert(OVERLOADED, HeaderValue::from_static("true"));
        }
        let Some(by_rule) = &self.by_rule else { return };
        for (name, value) in &by_rule.fields {
            headers.append(name, value.clone());
        }
        if let Some(changes) = &by_rule.changes {
            changes.apply(headers, status);
        }
    }

    /// The same reply, for whose request a fault waits so long.
    pub fn held_up(mut self, delay: Option<Duration>) -> Self {
        if delay.is_some() {
            self.flags = self.flags.iter().fold(Flags::of(Flag::Delayed), Flags::and);
            self.by_rule().delay = delay;
        }
        self
    }

    /// The same reply, because of `origin`.
    pub fn because_of(self, origin: &Arc<Origin>) -> Self {
        Self { origin: Some(Arc::clone(origin)), ..self }
    }

    /// The same reply, about the backend called `backend`.
    pub fn about(self, backend: &Arc<str>) -> Self {
        Self { backend: Some(Arc::clone(backend)), ..self }
    }

    /// The `grpc-status` that says the same to a gRPC client (Envoy's table). A client whose
    /// deadline has passed gets that status, not one that suggests a retry.
    pub fn grpc_status(&self) -> u8 {
        if let Some(status) = self.by_rule.as_ref().and_then(|by_rule| by_rule.grpc) {
            return status;
        }
        if self.flags.iter().any(|flag| flag == Flag::Duration) {
            return 4;
        }
        match self.status.unwrap_or(503) {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        }
    }
}

/// One flag of access logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flag {
    /// `NR`: no host or rule fits.
    NoRoute,
    /// `NC`: no such backend.
    NoBackend,
    /// `UH`: no endpoint.
    NoEndpoint,
    /// `UF`: no connection could be made.
    Connect,
    /// `UC`: the connection ended before the answer.
    Ended,
    /// `UT`: it took too long.
    Timeout,
    /// `DT`: it took longer than the client waits.
    Duration,
    /// `SI`: nothing passed for too long.
    StreamIdle,
    /// `UPE`: the answer was no HTTP.
    UpstreamProtocol,
    /// `UR`: the server refused or reset the stream.
    Reset,
    /// `URX`: no further try is left.
    TriesSpent,
    /// `DPE`: the request was no HTTP.
    Protocol,
    /// `DC`: the client left.
    ClientLeft,
    /// `DI`: a fault held it up.
    Delayed,
    /// `FI`: a fault answered it.
    Aborted,
    /// `UO`: the backend has as many connections, requests or further tries as it may.
    Overflow,
}

impl Flag {
    /// As in access logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "NR",
            Self::NoBackend => "NC",
            Self::NoEndpoint => "UH",
            Self::Connect => "UF",
            Self::Ended => "UC",
            Self::Timeout => "UT",
            Self::Duration => "DT",
            Self::StreamIdle => "SI",
            Self::UpstreamProtocol => "UPE",
            Self::Reset => "UR",
            Self::TriesSpent => "URX",
            Self::Protocol => "DPE",
            Self::ClientLeft => "DC",
            Self::Delayed => "DI",
            Self::Aborted => "FI",
            Self::Overflow => "UO",
        }
    }
}

/// The flags of one exchange, in the order in which they were raised; at most three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags([Option<Flag>; 3]);

impl Flags {
    /// One flag.
    pub fn of(flag: Flag) -> Self {
        Self([Some(flag), None, None])
    }

    /// These and `flag`; a fourth one is not kept.
    #[must_use]
    pub fn and(mut self, flag: Flag) -> Self {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(flag);
        }
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// The flags in order.
    pub fn iter(&self) -> impl Iterator<Item = Flag> {
        self.0.into_iter().flatten()
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (index, flag) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", flag.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    #[test]
    fn flags_print_in_the_order_in_which_they_were_raised() {
        assert_eq!(Flags::default().to_string(), "-");
        assert_eq!(Flags::of(Flag::TriesSpent).and(Flag::Connect).to_string(), "URX,UF");
    }

    #[test]
    fn grpc_clients_are_told_in_their_own_numbers() {
        assert_eq!(Failure::NoRoute.reply().grpc_status(), 12);
        assert_eq!(Failure::NoEndpoint.reply().grpc_status(), 14);
        assert_eq!(Failure::Timeout.reply().grpc_status(), 14);
        assert_eq!(Failure::ClientDeadline.reply().grpc_status(), 4);
        assert_eq!(Reply::new(418, "x").grpc_status(), 2);
    }
}
