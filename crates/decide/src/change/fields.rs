//! Header fields that rules change, and what their values stand for.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use weft_config::{
    FieldChanges,
    change::{self, NotAChange, ValuePart, Variable},
};

use crate::arrive::{Arrived, fields};

/// The most bytes that the values of all fields which a rule changes have together: as much as
/// a head may have.
const MOST_BYTES: usize = 60 << 10;

/// Changes of fields, ready to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct CompiledFields {
    remove: Vec<HeaderName>,
    changes: Vec<FieldChange>,
}

/// One value that a field gets.
#[derive(Clone, Debug)]
struct FieldChange {
    name: HeaderName,
    mode: Mode,
    value: CompiledValue,
}

/// What becomes of the values that a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Append,
    Replace,
}

/// A head that would grow beyond what one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// A value of a field.
#[derive(Clone, Debug)]
enum CompiledValue {
    Fixed(HeaderValue),
    Parts(Arc<[ValuePart]>),
}

impl CompiledFields {
    pub(super) fn new(changes: &FieldChanges) -> Result<Self, NotAChange> {
        let remove = changes.remove.iter().map(|name| change::field_name(name));
        let set = changes.set.iter().map(|one| (one, Mode::Replace));
        let added = changes.add.iter().map(|one| (one, Mode::Append));
        let changes = set.chain(added).map(|((name, value), mode)| {
            let (name, value) = (change::field_name(name)?, CompiledValue::new(value)?);
            Ok(FieldChange { name, mode, value })
        });
        let changes = changes.collect::<Result<_, NotAChange>>()?;
        Ok(Self { remove: remove.collect::<Result<_, _>>()?, changes })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.changes.is_empty()
    }

    /// Makes the changes; `facts` are what variables stand for. What does not fit is left out,
    /// with the values that it would have replaced.
    pub(super) fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) -> Result<(), TooLarge> {
        if self.remove.iter().any(|name| headers.contains_key(name)) {
            fields::rebuild(headers, |name| !self.remove.contains(name));
        }
        // Values are rendered before any field changes: they stand for what there was.
        let mut left = MOST_BYTES;
        let rendered = self.changes.iter().map(|change| {
            let value = change.value.rendered(headers, facts, left);
            left -= value.as_ref().map_or(0, |value| value.as_ref().map_or(0, HeaderValue::len));
            (change, value)
        });
        let mut fits = Ok(());
        for (FieldChange { name, mode, .. }, value) in rendered.collect::<Vec<_>>() {
            let is_put = match (value, mode) {
                (Ok(None), _) => true,
                (Ok(Some(value)), Mode::Replace) => headers.try_insert(name, value).is_ok(),
                (Ok(Some(value)), Mode::Append) => headers.try_append(name, value).is_ok(),
                (Err(TooLarge), _) => false,
            };
            if !is_put {
                fits = Err(TooLarge);
                if *mode == Mode::Replace {
                    headers.remove(name);
                }
            }
        }
        fits
    }

    /// The same changes, in which only the answer's status is still a variable.
    pub(super) fn resolved(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Self {
        let mut left = MOST_BYTES;
        let changes = self.changes.iter().map(|change| FieldChange {
            value: change.value.resolved(headers, facts, &mut left),
            ..change.clone()
        });
        Self { remove: self.remove.clone(), changes: changes.collect() }
    }

    /// Whether a value stands for something that only the request says.
    pub(super) fn asks_the_request(&self) -> bool {
        self.changes.iter().any(|change| match &change.value {
            CompiledValue::Fixed(_) => false,
            CompiledValue::Parts(parts) => parts
                .iter()
                .any(|part| matches!(part, ValuePart::Variable(one) if *one != Variable::Status)),
        })
    }
}

impl CompiledValue {
    fn new(value: &str) -> Result<Self, NotAChange> {
        let parts = change::value_parts(value)?;
        Ok(match &parts[..] {
            [] => Self::Fixed(HeaderValue::from_static("")),
            [ValuePart::Text(text)] => {
                Self::Fixed(HeaderValue::try_from(text).map_err(|_| NotAChange::Value)?)
            }
            _ => Self::Parts(parts.into()),
        })
    }

    /// The value, of at most `most` bytes; none where nothing is in it: such a change is not
    /// made, as in Envoy.
    fn rendered(
        &self,
        headers: &HeaderMap,
        facts: &Facts<'_>,
        most: usize,
    ) -> Result<Option<HeaderValue>, TooLarge> {
        let mut text = Vec::new();
        let value = match self {
            Self::Fixed(value) => value.clone(),
            Self::Parts(parts) => {
                for part in &**parts {
                    match part {
                        ValuePart::Text(more) => text.extend_from_slice(more.as_bytes()),
                        ValuePart::Variable(one) => {
                            text.extend_from_slice(&facts.of(one, headers));
                        }
                    }
                    if text.len() > most {
                        return Err(TooLarge);
                    }
                }
                HeaderValue::from_bytes(&text).map_err(|_| TooLarge)?
            }
        };
        match value.len() <= most {
            true => Ok(Some(value).filter(|value| !value.is_empty())),
            false => Err(TooLarge),
        }
    }

    /// The same value with what the request says, of which at most `left` bytes are kept.
    fn resolved(&self, headers: &HeaderMap, facts: &Facts<'_>, left: &mut usize) -> Self {
        let Self::Parts(parts) = self else { return self.clone() };
        let parts = parts.iter().map(|part| match part {
            ValuePart::Variable(one) if *one != Variable::Status => {
                let value = facts.of(one, headers);
                let kept = value.len().min(*left);
                *left -= kept;
                ValuePart::Text(String::from_utf8_lossy(&value[..kept]).into_owned())
            }
            other => other.clone(),
        });
        Self::Parts(parts.collect())
    }
}

/// What variables stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) request: Option<&'a Arrived>,
    pub(super) status: Option<u16>,
}

impl Facts<'_> {
    /// What `variable` stands for; `headers` are the request's.
    fn of<'h>(&self, variable: &Variable, headers: &'h HeaderMap) -> Cow<'h, [u8]> {
        let text = |text: String| Cow::Owned(text.into_bytes());
        let nothing = Cow::Borrowed(&b""[..]);
        if *variable == Variable::Status {
            return self.status.map_or(nothing, |status| text(status.to_string()));
        }
        let Some(arrived) = self.request else { return nothing };
        let arrival = arrived.arrival();
        let client = |one: fn(&SocketAddr) -> String| {
            text(arrival.client.as_ref().map_or_else(|| "-".to_owned(), one))
        };
        match variable {
            Variable::Status => nothing,
            Variable::Request(name) => {
                let request = arrived.request();
                match name.as_str() {
                    ":method" => text(request.method.to_string()),
                    ":path" => text(request.path_and_query.to_owned()),
                    ":authority" | "host" => text(request.authority.to_owned()),
                    ":scheme" => Cow::Owned(request.scheme().to_vec()),
                    name => headers.get(name).map_or(nothing, |v| Cow::Borrowed(v.as_bytes())),
                }
            }
            Variable::Protocol => Cow::Borrowed(match arrived.head().version {
                Version::HTTP_2 => b"HTTP/2",
                Version::HTTP_10 | Version::HTTP_09 => b"HTTP/1.0",
                _ => b"HTTP/1.1",
            }),
            Variable::Client => client(SocketAddr::to_string),
            Variable::ClientAddress => client(|client| client.ip().to_string()),
            Variable::Dialled => text(arrival.destination.to_string()),
            Variable::DialledAddress => text(arrival.destination.ip().to_string()),
            Variable::DialledPort => text(arrival.destination.port().to_string()),
        }
    }
}
