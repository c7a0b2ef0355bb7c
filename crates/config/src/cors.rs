//! Which pages of other origins may use an answer.

use serde::{Deserialize, Serialize};

use crate::TextMatch;

/// What browsers are told about requests of pages of other origins (the Fetch standard's CORS
/// protocol). A preflight request from an origin of the list is answered by the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Cors {
    /// Origins that may; the exact text `*` means all of them.
    pub origins: Vec<TextMatch>,
    /// Methods that may be used; `*` alone for the one that is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Fields that may be sent; `*` alone for those that are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Fields of the answer that pages may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// For how many seconds browsers may keep the answer to a preflight request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
    /// Whether credentials may be sent, and if so or not so this is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<bool>,
    /// Whether preflight requests from other origins are answered as well, with nothing allowed,
    /// instead of being sent on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub answers_others: bool,
}
