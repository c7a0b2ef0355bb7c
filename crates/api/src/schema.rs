//! Every field of every kind: its name, its type, and whether Weft honours it.
//!
//! The one table from which "unknown field", "wrong type" and "not honoured
//! yet" are told apart. What is said here about a field that is not honoured is compared
//! with what translation does by a test (`translate/tests/it/honoured.rs`).
//! Refuses to know what fields mean to each other; that is for `check`.

pub(crate) mod cluster;
pub(crate) mod destination_rule;
pub(crate) mod gateway;
pub(crate) mod ingress;
pub(crate) mod service;
pub(crate) mod service_entry;
pub(crate) mod sidecar;
pub mod settings;
mod stand_in;
pub(crate) mod virtual_service;
pub(crate) mod workload;

pub use stand_in::StandIn;

/// One field of an object.
#[derive(Debug)]
pub struct Field {
    /// Its name, in camelCase.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// What happens although it is set, if it is not honoured yet.
    pub instead: Option<Instead>,
    /// What is read in its place when its value cannot be used, where the object would do
    /// more without the field.
    pub stand_in: Option<StandIn>,
}

/// What happens in place of what a field asks for. A test sets each such field, and compares
/// what is translated with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The same as without the field; in words.
    Same(&'static str),
    /// The piece that the field is in is closed; in words.
    Closed(&'static str),
}

impl Instead {
    /// The words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Same(text) | Self::Closed(text) => text,
        }
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// A text.
    Text,
    /// A whole number between the two, both included.
    Whole(i64, i64),
    /// Any number.
    Number,
    /// True or false.
    Flag,
    /// A time span of at least a millisecond, such as `1.5s`.
    Span,
    /// A time span that may be nothing at all, such as `0s`.
    ShortSpan,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number between the two, or a text.
    WholeOrText(i64, i64),
    /// An amount: a number, or a number with a unit.
    Quantity,
    /// A list of the same.
    List(&'static Holds),
    /// A map from the user's own keys to the same.
    Map(&'static Holds),
    /// An object with these fields.
    Object(&'static [Field]),
    /// An object with these fields, of which only the named ones are left when a value in it
    /// cannot be used: without the value, the rest would do more than it says.
    Closing(&'static [Field], &'static [&'static str]),
    /// An object with these fields among others, which are not looked at.
    Partly(&'static [Field]),
    /// Anything: what is in it is not looked at.
    Anything,
}

/// Texts.
const TEXTS: Holds = Holds::List(&Holds::Text);
/// The user's own texts by the user's own keys.
const LABELS: Holds = Holds::Map(&Holds::Text);
/// A port.
const PORT: Holds = Holds::Whole(1, 65535);
/// A port by number or name.
const PORT_OR_NAME: Holds = Holds::WholeOrText(1, 65535);
/// What fits 32 bits, without sign.
const U32: Holds = Holds::Whole(0, u32::MAX as i64);
/// What fits 32 bits, with sign.
const I32: Holds = Holds::Whole(i32::MIN as i64, i32::MAX as i64);
/// What fits 64 bits.
const I64: Holds = Holds::Whole(i64::MIN, i64::MAX);
/// Objects whose fields Weft does not check.
const ANYTHINGS: Holds = Holds::List(&Holds::Anything);

/// A field that is honoured.
const fn field(name: &'static str, holds: Holds) -> Field {
    Field { name, holds, instead: None, stand_in: None }
}

/// A field that is honoured, and has a stand-in where its value cannot be used.
const fn guarded(name: &'static str, holds: Holds, stand_in: StandIn) -> Field {
    Field { stand_in: Some(stand_in), ..field(name, holds) }
}

/// A field that has no effect yet; `same` is what happens, with or without it.
const fn later(name: &'static str, holds: Holds, same: &'static str) -> Field {
    Field { instead: Some(Instead::Same(same)), ..field(name, holds) }
}

/// A field that closes the piece that it is in, as long as it is not honoured; `closed` is
/// what that means.
const fn closing(name: &'static str, holds: Holds, closed: &'static str) -> Field {
    Field { instead: Some(Instead::Closed(closed)), ..field(name, holds) }
}

/// `metadata` of every kind.
const METADATA: Holds = Holds::Object(&[
    field("name", Holds::Text),
    field("generateName", Holds::Text),
    field("namespace", Holds::Text),
    field("labels", LABELS),
    guarded("annotations", LABELS, StandIn::Annotations),
    field("uid", Holds::Text),
    field("resourceVersion", Holds::Text),
    field("generation", I64),
    field("creationTimestamp", Holds::Text),
    field("deletionTimestamp", Holds::Text),
    field("deletionGracePeriodSeconds", I64),
    field("finalizers", TEXTS),
    field("managedFields", ANYTHINGS),
    field("selfLink", Holds::Text),
    field(
        "ownerReferences",
        Holds::List(&Holds::Object(&[
            field("apiVersion", Holds::Text),
            field("kind", Holds::Text),
            field("name", Holds::Text),
            field("uid", Holds::Text),
            field("controller", Holds::Flag),
            field("blockOwnerDeletion", Holds::Flag),
        ])),
    ),
]);

/// `apiVersion`
const API_VERSION: Field = field("apiVersion", Holds::Text);
/// `kind`
const KIND: Field = field("kind", Holds::Text);
/// `status`, which users do not write.
const STATUS: Field = field("status", Holds::Anything);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn walk(path: &str, fields: &[Field], names: &mut Vec<String>) {
        for (position, field) in fields.iter().enumerate() {
            let path = format!("{path}.{}", field.name);
            assert_eq!(crate::camel_case(field.name), field.name, "{path} is not camelCase");
            let twice = fields[..position].iter().any(|other| other.name == field.name);
            assert!(!twice, "{path} stands twice");
            let mut holds = &field.holds;
            while let Holds::List(items) | Holds::Map(items) = holds {
                holds = items;
            }
            if let Holds::Object(fields) | Holds::Closing(fields, _) | Holds::Partly(fields) = holds
            {
                walk(&path, fields, names);
            }
            names.push(path);
        }
    }

    #[test]
    fn every_field_stands_once_and_in_camel_case() {
        for (kind, fields) in Kind::all().filter_map(|kind| Some((kind, kind.fields()?))) {
            let mut names = Vec::new();
            walk(kind.name(), fields, &mut names);
            assert!(names.contains(&format!("{kind}.metadata.name")), "{kind} has no metadata");
        }
    }
}
