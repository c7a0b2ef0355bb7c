//! What makes two connections to servers differ.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use weft_config::Limits;

use crate::upstream::dial::DialTarget;

/// Everything that makes two connections to servers differ. Requests share a connection only
/// if their keys are equal, so whatever a connection is made by has to be in here: a setting
/// that is left out would hold for the requests of those that do not have it.
///
/// The version of HTTP is not, since a pool keeps connections of each version apart. Neither
/// is the backend, unless it has settings for its connections: without TLS the connections of two
/// backends to one address are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Where the connection leads, and from where.
    pub target: DialTarget,
    /// How it is driven.
    pub transport: Transport,
    /// The settings of its backend for connections, where it has some.
    pub policy: Option<u64>,
}

/// How a connection is driven: its buffers, windows, deadlines. It is compared by a hash,
/// which is made once for each listener and not for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transport(u64);

impl Transport {
    /// A connection for requests of a listener with `limits`.
    pub fn of(limits: &Limits) -> Self {
        Self(BuildHasherDefault::<DefaultHasher>::default().hash_one(limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, time::Duration};

    #[test]
    fn every_part_tells_keys_apart() {
        let (edge, sidecar) = (Limits::edge(), Limits::sidecar());
        let slow = Limits { stalled: Duration::from_secs(7), ..edge };
        let mut keys = HashSet::new();
        for port in [80, 81] {
            for application in [true, false] {
                for limits in [edge, sidecar, slow, edge] {
                    for policy in [None, Some(1), Some(2)] {
                        let address = ([10, 0, 0, 1], port).into();
                        let target = DialTarget { address, application };
                        let transport = Transport::of(&limits);
                        keys.insert(PoolKey { target, transport, policy });
                    }
                }
            }
        }
        assert_eq!(keys.len(), 2 * 2 * 3 * 3);
    }
}
