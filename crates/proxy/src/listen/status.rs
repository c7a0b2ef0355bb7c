//! Whether each listener could be opened, for people, metrics and readiness.

use std::net::SocketAddr;

use serde::Serialize;

/// A listener as configured, and whether its socket is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: String,
    /// The address it was configured with.
    pub bind: SocketAddr,
    /// Whether its socket is open.
    #[serde(flatten)]
    pub state: ListenerState,
}

/// Whether a listener's socket is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "state")]
pub enum ListenerState {
    /// Connections are accepted.
    Open {
        /// The socket's own address: a configured port 0 has become a number.
        address: SocketAddr,
    },
    /// The socket could not be opened; opening is tried again with longer and longer pauses.
    Failed {
        /// Why, in the words of the operating system.
        error: String,
        /// How often it was tried.
        tries: u32,
    },
}

impl ListenerStatus {
    /// Whether its socket is open.
    pub fn is_open(&self) -> bool {
        matches!(self.state, ListenerState::Open { .. })
    }
}
