//! What the control plane says to an interest.

use serde::{Deserialize, Serialize};

use crate::{Host, Interest, Server};

/// The answer to one interest: an entry, and every resource needed to use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// For `self`: all listeners, settings and the directory are among the needs.
    Own,
    /// For a host and port: the route with its rules.
    Route(String),
    /// For an address and port: what serves connections to it.
    Server(Box<Server>),
    /// Nothing in the mesh.
    Outside,
}

/// Names that need no question of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Covers {
    /// The wildcard.
    pub pattern: Host,
    /// Hosts and wildcards under it that are decided otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Host>,
}

impl Covers {
    /// Whether the answer holds for `host`, in lower case and without a port.
    pub fn holds_for(&self, host: &str) -> bool {
        self.pattern.covers(host) && !self.except.iter().any(|except| except.covers(host))
    }
}
