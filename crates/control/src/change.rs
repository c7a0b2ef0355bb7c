//! What a source of objects says.

use weft_api::{Key, Object};

/// One thing that a source of objects says, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object is there, or is different, as of this resource version.
    Apply(Box<Object>, String),
    /// An object is gone, as of this resource version.
    Delete(Key, String),
    /// Every object that existed at the start has been told. Until then no
    /// proxy is answered.
    Synced,
}
