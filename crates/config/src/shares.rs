//! Which share of a backend's requests an endpoint gets, besides what its load says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an endpoint that is new gets its share, as Envoy's slow start does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Warmup {
    /// How long it takes until it has all of it.
    #[serde(with = "crate::seconds")]
    pub duration: Duration,
    /// What it begins with, in percent.
    pub percent: f64,
    /// 1 grows evenly, more grows faster at first.
    pub aggression: f64,
}

/// How the place of an endpoint decides its share. A place is a region, a zone and a subzone,
/// separated by `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LocalityPolicy {
    /// Shares of places; the first that is for the proxy's place counts, before all below.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub distribute: Vec<Distribution>,
    /// Whether endpoints that are further away are used only as far as closer ones fail.
    pub tiers: bool,
    /// Which of the other regions come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failover: Vec<Failover>,
    /// Labels that make an endpoint close if it has the proxy's own value, or the one after `=`,
    /// the most important first; in place of regions and zones. `:region`, `:zone` and `:subzone`
    /// are the parts of its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<String>,
}

/// Shares of places, for the proxies of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Distribution {
    /// Whose requests; `*` stands for any part.
    pub from: String,
    /// The places and their shares; others get nothing.
    pub to: Vec<(String, u32)>,
}

/// The region that comes next after a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failover {
    /// The proxy's own.
    pub from: String,
    /// The other.
    pub to: String,
}
