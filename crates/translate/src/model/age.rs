//! Which of two objects is the older one.

use weft_api::Metadata;

/// How old an object is. The older is the smaller; objects of one age are ordered by
/// name, then by namespace.
///
/// Objects without a creation time are equally old, and younger than the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    undated: bool,
    /// RFC 3339 in UTC, as Kubernetes writes it: texts sort as times.
    created: String,
    name: String,
    namespace: String,
}

impl Age {
    /// The age of the object with this metadata.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let created = metadata.creation_timestamp.clone();
        Self {
            undated: created.is_none(),
            created: created.unwrap_or_default(),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
        }
    }
}
