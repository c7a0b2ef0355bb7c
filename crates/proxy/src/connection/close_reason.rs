//! Connections that were closed before anything was served on them, counted by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was closed before anything was served on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum CloseReason {
    /// The client left without a byte.
    ClientLeft,
    /// The client sent nothing, or not enough to detect a protocol, within the limits.
    Silent,
    /// Reading from the client failed.
    Broken,
    /// The PROXY protocol header is missing or malformed.
    ProxyHeader,
    /// The kernel does not know where the connection was meant to go.
    NoDestination,
    /// The connection was meant for this proxy itself.
    Loop,
    /// TLS where the listener expects plaintext.
    UnexpectedTls,
    /// The proxy ends, and the client has sent nothing yet.
    Drained,
    /// The listener or the proxy has as many connections as it may have.
    Overload,
    /// The connection was the idlest when there were too many.
    Shed,
    /// No worker takes connections.
    NoWorker,
}

impl CloseReason {
    const ALL: [Self; 11] = [
        Self::ClientLeft,
        Self::Silent,
        Self::Broken,
        Self::ProxyHeader,
        Self::NoDestination,
        Self::Loop,
        Self::UnexpectedTls,
        Self::Drained,
        Self::Overload,
        Self::Shed,
        Self::NoWorker,
    ];

    /// The reason as metrics and access logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "client_left",
            Self::Silent => "silent",
            Self::Broken => "broken",
            Self::ProxyHeader => "proxy_header",
            Self::NoDestination => "no_destination",
            Self::Loop => "loop",
            Self::UnexpectedTls => "unexpected_tls",
            Self::Drained => "drained",
            Self::Overload => "overload",
            Self::Shed => "shed",
            Self::NoWorker => "no_worker",
        }
    }
}

/// How many connections were closed for each reason, by all threads together.
#[derive(Debug, Default)]
pub struct CloseCounts([AtomicU64; CloseReason::ALL.len()]);

impl CloseCounts {
    /// Counts one more.
    pub fn count(&self, reason: CloseReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Every reason and its count.
    pub fn all(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL.into_iter().map(|reason| (reason, self.of(reason)))
    }

    fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_count_of_its_own() {
        let counts = CloseCounts::default();
        for reason in CloseReason::ALL {
            counts.count(reason);
        }
        counts.count(CloseReason::NoWorker);
        let all: Vec<_> = counts.all().map(|(_, count)| count).collect();
        assert_eq!(all, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
    }
}
