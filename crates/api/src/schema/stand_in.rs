//! What is read in the place of values that cannot be used.
//!
//! A field that restricts its object must not be read as absent when its value is broken:
//! that would make the object wider than its owner meant. The stand-ins are plain values
//! of the field's own type, which translation reads as any other.

use serde_json::{Map, Value, json};

use crate::metadata::EXPORT_TO;

/// What is read in the place of a value that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// No namespace sees the object.
    Nobody,
    /// Only the object's own namespace sees what is meant for every namespace.
    OwnNamespace,
    /// A host that no request names.
    NoHost,
    /// Labels that no workload has.
    NoWorkload,
    /// A selector of workloads, with labels that no workload has.
    NoSelectedWorkload,
    /// A selector of workloads in which they are called `labels`, with labels that no workload has.
    NoLabelledWorkload,
    /// Sidecars see nothing.
    NoEgress,
    /// Endpoints are those that are given, and no name is looked up.
    NoResolution,
    /// One item without anything in it: a rule without a condition and without a destination, an
    /// endpoint without an address. Only for a value that is not a list at all, since items that
    /// cannot be used are closed one by one.
    ClosedRule,
    /// The field is left out, and the object is closed as a whole: its field `closed`, which
    /// users cannot write, names the field.
    Closed,
    /// The object is closed as a whole, and every namespace sees it.
    ClosedEverywhere,
    /// Nothing is sent twice.
    NoRetries,
    /// Traffic to hosts that the mesh does not know is refused.
    NothingOutside,
    /// The annotation that says who sees a Service names nobody; the others are left out.
    Annotations,
}

/// Of namespaces: none. Of names and values of labels: one that no object can have.
const NONE: &str = "~";

impl StandIn {
    /// Whether a single broken value inside of the field is enough. Otherwise the field as a
    /// whole must be of a wrong type.
    pub(crate) fn is_for_parts(self) -> bool {
        !matches!(self, Self::ClosedRule | Self::Annotations)
    }

    /// Whether the object is closed as a whole.
    pub(crate) fn closes_object(self) -> bool {
        matches!(self, Self::Closed | Self::ClosedEverywhere)
    }

    /// The value, if there is one in the field's place.
    pub(crate) fn value(self) -> Option<Value> {
        let none = || Value::Object(Map::from_iter([(NONE.to_owned(), NONE.into())]));
        Some(match self {
            Self::Nobody => json!([NONE]),
            Self::OwnNamespace => json!(["."]),
            Self::ClosedEverywhere => json!(["*"]),
            Self::NoHost => json!(NONE),
            Self::NoWorkload => none(),
            Self::NoSelectedWorkload => json!({"matchLabels": none()}),
            Self::NoLabelledWorkload => json!({"labels": none()}),
            Self::NoEgress => json!([{"hosts": ["~/*"]}]),
            Self::NoResolution => json!("STATIC"),
            Self::ClosedRule => json!([{}]),
            Self::Closed => return None,
            Self::NoRetries => json!({"attempts": 0}),
            Self::NothingOutside => json!({"mode": "REGISTRY_ONLY"}),
            Self::Annotations => json!({EXPORT_TO: NONE}),
        })
    }
}
