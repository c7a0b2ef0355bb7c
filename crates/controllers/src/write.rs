//! What a step wants written. Objects say their own `apiVersion` and `kind`.

use serde_json::Value;

/// One write that a step asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new object.
    Create(Value),
    /// An object with other metadata or specification.
    Update(Value),
    /// An object with another status.
    Status(Value),
    /// The end of an object.
    Delete(Value),
    /// A namespace with nothing left in it.
    Finalize(Value),
}
