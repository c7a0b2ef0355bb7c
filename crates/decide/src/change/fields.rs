//! Header fields that rules change, and what their values stand for.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use weft_config::{
    FieldChanges,
    change::{self, NotAChange, ValuePart, Variable},
};

use crate::arrive::{Arrived, fields};

/// Changes of fields, ready to be made.
#[derive(Clone, Debug, Default)]
pub(super) struct CompiledFields {
    remove: Vec<HeaderName>,
    /// Each with whether it replaces what is there.
    put: Vec<(HeaderName, bool, CompiledValue)>,
}

/// A value of a field.
#[derive(Clone, Debug)]
enum CompiledValue {
    Fixed(HeaderValue),
    Parts(Arc<[ValuePart]>),
}

impl CompiledFields {
    pub(super) fn new(changes: &FieldChanges) -> Result<Self, NotAChange> {
        let remove = changes.remove.iter().map(|name| change::field_name(name));
        let added = changes.add.iter().map(|one| (one, false));
        let set = changes.set.iter().map(|one| (one, true));
        let put = added.chain(set).map(|((name, value), replaces)| {
            Ok((change::field_name(name)?, replaces, CompiledValue::new(value)?))
        });
        let put = put.collect::<Result<_, NotAChange>>()?;
        Ok(Self { remove: remove.collect::<Result<_, _>>()?, put })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.put.is_empty()
    }

    /// Makes the changes; `facts` are what variables stand for.
    pub(super) fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        if self.remove.iter().any(|name| headers.contains_key(name)) {
            fields::rebuild(headers, |name| !self.remove.contains(name));
        }
        // Values are made before any field changes: they stand for what there was.
        let values = self.put.iter().map(|(name, replaces, value)| {
            value.made(headers, facts).map(|value| (name, *replaces, value))
        });
        for (name, replaces, value) in values.collect::<Vec<_>>().into_iter().flatten() {
            match replaces {
                true => headers.insert(name, value).is_some(),
                false => headers.append(name, value),
            };
        }
    }

    /// The same changes, in which only the answer's status is still a variable.
    pub(super) fn known(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Self {
        let put = self
            .put
            .iter()
            .map(|(name, replaces, value)| (name.clone(), *replaces, value.known(headers, facts)));
        Self { remove: self.remove.clone(), put: put.collect() }
    }

    /// Whether a value stands for something that only the request says.
    pub(super) fn asks_the_request(&self) -> bool {
        self.put.iter().any(|(_, _, value)| match value {
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

    /// The value; none where nothing is in it: such a change is not made, as in Envoy.
    fn made(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Option<HeaderValue> {
        let parts = match self {
            Self::Fixed(value) => return Some(value.clone()).filter(|value| !value.is_empty()),
            Self::Parts(parts) => parts,
        };
        let mut made = Vec::new();
        for part in &**parts {
            match part {
                ValuePart::Text(text) => made.extend_from_slice(text.as_bytes()),
                ValuePart::Variable(one) => made.extend_from_slice(&facts.of(one, headers)),
            }
        }
        HeaderValue::from_bytes(&made).ok().filter(|_| !made.is_empty())
    }

    fn known(&self, headers: &HeaderMap, facts: &Facts<'_>) -> Self {
        let Self::Parts(parts) = self else { return self.clone() };
        let parts = parts.iter().map(|part| match part {
            ValuePart::Variable(one) if *one != Variable::Status => {
                ValuePart::Text(String::from_utf8_lossy(&facts.of(one, headers)).into_owned())
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
