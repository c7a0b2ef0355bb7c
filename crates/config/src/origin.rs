//! Where a piece of configuration comes from.

use serde::{Deserialize, Serialize};

/// The object and rule that a piece of configuration comes from; words for
/// people and logs, never compared on the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// The object, as in `VirtualService/default/hello`.
    pub object: String,
    /// The rule in it, as in `http[0].match[1]`; empty for the object as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
}

impl Origin {
    /// Rule `rule` of `object`.
    pub fn new(object: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { object: object.into(), rule: rule.into() }
    }
}
