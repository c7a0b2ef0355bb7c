//! Which of two objects is the older one.

use weft_api::Metadata;

/// Orders objects by age: oldest first, then by name, then by namespace.
///
/// Objects without a creation time are equally old, and younger than the others.
pub(crate) fn age(metadata: &Metadata) -> (bool, &str, &str, &str) {
    let created = metadata.creation_timestamp.as_deref();
    (
        created.is_none(),
        created.unwrap_or_default(),
        metadata.name.as_str(),
        metadata.namespace.as_str(),
    )
}
