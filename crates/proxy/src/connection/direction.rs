//! Which way a request goes, as far as it changes what is done to its head.

use crate::record::metrics::Reporter;

/// Which way a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From a client of this proxy to wherever it wants.
    Outgoing,
    /// To the application behind this proxy.
    Incoming,
    /// From beyond the mesh into it.
    Edge,
}

impl Side {
    /// From which end metrics are told.
    pub fn reporter(self) -> Reporter {
        match self {
            Self::Incoming => Reporter::Destination,
            Self::Outgoing | Self::Edge => Reporter::Source,
        }
    }

    /// What the header `server` says.
    pub fn server(self) -> &'static str {
        match self {
            Self::Outgoing => "envoy",
            Self::Incoming | Self::Edge => "istio-envoy",
        }
    }
}
