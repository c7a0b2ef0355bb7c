//! What is wrong with an object, told to its owner.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Key;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works as written, though perhaps not as meant.
    Info,
    /// Part of the object has no effect.
    Warning,
    /// Part of the object is closed: requests it names are refused.
    Error,
}

/// One finding about one field of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// The object.
    pub object: Key,
    /// The field, as in `spec.http[0].match[1].uri`; empty for the object as a whole.
    pub field: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what to do next, without the object and the field.
    pub message: String,
}

impl Diagnostic {
    /// An error in `field` of `object`.
    pub fn error(object: &Key, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, object, field, message)
    }

    /// A warning about `field` of `object`.
    pub fn warning(object: &Key, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, object, field, message)
    }

    /// A remark on `field` of `object`.
    pub fn info(object: &Key, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, object, field, message)
    }

    fn new(
        severity: Severity,
        object: &Key,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { object: object.clone(), field: field.into(), severity, message: message.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.object)?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}
