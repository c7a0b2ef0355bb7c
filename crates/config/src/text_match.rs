//! How one text is compared.

use serde::{Deserialize, Serialize};

/// How one text is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TextMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches as a whole (RE2 syntax).
    Regex(String),
    /// Is there, with any value.
    Present,
}
