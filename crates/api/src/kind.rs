//! The table of kinds: everything that is known about a kind of object stands in one row.
//!
//! Watches, permissions, definitions, waiting for acknowledgement, warnings and checks
//! read this table. Its group and its name together identify a kind.

mod table;

use std::{fmt, str::FromStr};

use crate::schema::Field;

pub use table::Kind;

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster as a whole.
    Cluster,
}

/// What objects of a kind do to traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They decide about it; the control plane watches them.
    Decides,
    /// They decide about it, and are written to change it: who changes one waits until the
    /// proxies have it.
    Configures,
    /// Nothing, and nobody expects it.
    Unrelated,
    /// Nothing yet, although users of Istio and of the Gateway API expect it.
    NotYet,
}

/// One row of the table.
#[derive(Debug)]
struct Row {
    /// What users write in `kind`.
    name: &'static str,
    /// How the kind is called in the names of objects; its name if that is empty.
    text: &'static str,
    /// The API group, empty for the core group.
    group: &'static str,
    /// The versions in which it is read, newest first; the first is the stored one.
    versions: &'static [&'static str],
    /// Groups and versions in which it was once written, and in which it is read as well.
    older: &'static [&'static str],
    /// The name in URLs.
    plural: &'static str,
    /// Abbreviations.
    short: &'static [&'static str],
    scope: Scope,
    effect: Effect,
    /// Whether the mesh brings the kind's definition.
    defined: bool,
    /// Columns of its tables, and where their values are.
    columns: &'static [(&'static str, &'static str)],
    /// Its fields, where Weft looks at them.
    fields: Option<&'static [Field]>,
}

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.iter().copied()
    }

    /// Every kind that decides something about traffic.
    pub fn deciding() -> impl Iterator<Item = Self> + Clone {
        Self::all().filter(|kind| kind.decides())
    }

    /// The name that users write in `kind`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The API group, empty for the core group.
    pub fn group(self) -> &'static str {
        self.row().group
    }

    /// The versions of the group in which the kind is read, newest first.
    pub fn versions(self) -> &'static [&'static str] {
        self.row().versions
    }

    /// What users write in `apiVersion` for the newest version.
    pub fn api_version(self) -> String {
        let version = self.versions()[0];
        match self.group() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// The name in URLs.
    pub fn plural(self) -> &'static str {
        self.row().plural
    }

    /// Abbreviations of the name.
    pub fn short_names(self) -> &'static [&'static str] {
        self.row().short
    }

    /// The columns of its tables, and where their values are.
    pub fn columns(self) -> &'static [(&'static str, &'static str)] {
        self.row().columns
    }

    /// Whether objects of the kind live in a namespace.
    pub fn namespaced(self) -> bool {
        self.row().scope == Scope::Namespaced
    }

    /// What objects of the kind do to traffic.
    pub fn effect(self) -> Effect {
        self.row().effect
    }

    /// Whether objects of the kind decide something about traffic.
    pub fn decides(self) -> bool {
        matches!(self.effect(), Effect::Decides | Effect::Configures)
    }

    /// Whether the mesh brings the kind's definition.
    pub fn is_defined_by_mesh(self) -> bool {
        self.row().defined
    }

    /// The fields of the kind's objects, at their top, where Weft looks at them.
    pub fn fields(self) -> Option<&'static [Field]> {
        self.row().fields
    }

    /// The kind that `api_version` and `kind` of a document name.
    ///
    /// `extensions/v1beta1` and `apps/v1beta*` name the same Deployments and ReplicaSets. A
    /// kind that has no effect yet has none in any version.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::all().find(|known| {
            let row = known.row();
            let any = row.effect == Effect::NotYet;
            row.name == kind
                && (row.group == group && (any || row.versions.contains(&version))
                    || row.older.contains(&api_version))
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row();
        f.write_str(if row.text.is_empty() { row.name } else { row.text })
    }
}

/// A text that names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind that Weft reads")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Reads `NAME`, or `NAME.GROUP` where that is needed or wanted.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let (name, group) = match text.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        let meant = |kind: &Self| match group {
            Some(group) => kind.name() == name && kind.group() == group,
            None => kind.row().text.is_empty() && kind.name() == name,
        };
        Self::all().find(meant).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

impl TryFrom<String> for Kind {
    type Error = UnknownKind;

    fn try_from(text: String) -> Result<Self, UnknownKind> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_text_of_its_own_that_is_read_again() {
        let mut texts = BTreeSet::new();
        for kind in Kind::all() {
            let text = kind.to_string();
            assert_eq!(text.parse(), Ok(kind));
            assert_eq!(format!("{}.{}", kind.name(), kind.group()).parse(), Ok(kind));
            assert_eq!(Kind::of(&kind.api_version(), kind.name()), Some(kind));
            assert!(texts.insert(text), "{kind}");
        }
    }

    #[test]
    fn two_kinds_of_one_name_are_told_apart() {
        let istio = Kind::of("networking.istio.io/v1beta1", "Gateway").unwrap();
        let other = Kind::of("gateway.networking.k8s.io/v1", "Gateway").unwrap();
        assert_ne!(istio, other);
        assert_eq!(istio.to_string(), "Gateway");
        assert_eq!(other.to_string(), "Gateway.gateway.networking.k8s.io");
    }

    #[test]
    fn a_kind_that_decides_has_fields_and_older_names_are_read() {
        assert!(Kind::deciding().all(|kind| kind.fields().is_some()));
        assert_eq!(Kind::of("extensions/v1beta1", "Deployment"), Some(Kind::Deployment));
        assert_eq!(Kind::of("apps/v1beta3", "Deployment"), None);
        assert_eq!(Kind::of("v1", "Gateway"), None);
    }
}
