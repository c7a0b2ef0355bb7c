//! What the control plane says to an interest.

use serde::{Deserialize, Serialize};

use crate::{Host, Interest, Server};

/// The answer to one interest: an entry, and every resource needed to use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// What was asked for.
    pub interest: Interest,
    /// What it leads to.
    pub entry: Entry,
    /// Names of the resources that the entry needs, directly or not; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The wildcard that the answer stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<Covers>,
}

/// What an interest leads to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Entry {
    /// For `self`: all listeners and settings are among the needs.
    Own,
    /// For a part of the directory: its chunks are sent along, and are too many to
    /// be listed among the needs.
    Directory,
    /// For a host and port: the route with its rules.
    Route(String),
    /// For an address and port: what serves connections to it.
    Server(Box<Server>),
    /// Nothing in the mesh.
    Outside,
}

/// Names that need no question of their own: all names under a wildcard for
/// which the directory has nothing more specific.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Covers {
    /// The wildcard.
    pub pattern: Host,
}
