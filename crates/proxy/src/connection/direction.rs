//! The direction of traffic, as far as it changes what is done to a request's head.

use crate::telemetry::metrics::Reporter;

/// The direction of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the application behind this proxy to other hosts.
    Outbound,
    /// To the application behind this proxy.
    Inbound,
    /// From outside the mesh into it.
    Edge,
}

impl From<Direction> for weft_decide::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Outbound => Self::Outbound,
            Direction::Inbound => Self::Inbound,
            Direction::Edge => Self::Edge,
        }
    }
}

impl Direction {
    /// Which end of the connection this proxy reports metrics as.
    pub fn reporter(self) -> Reporter {
        match self {
            Self::Inbound => Reporter::Destination,
            Self::Outbound | Self::Edge => Reporter::Source,
        }
    }

    /// The value of the header `server`.
    pub fn server(self) -> &'static str {
        match self {
            Self::Outbound => "envoy",
            Self::Inbound | Self::Edge => "istio-envoy",
        }
    }
}
