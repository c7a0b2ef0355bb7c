//! How many descriptors the process may have, and how many connections that allows.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weft_config::ProcessLimits;

/// A client's connection, and the one to a server that it needs.
const PER_CONNECTION: u64 = 2;

/// While half of the descriptors are used, one client may have this part of them.
const PART_OF_CLIENT: u64 = 32;

/// Raises the limit of this process to what it is allowed to raise it to.
pub fn raise_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// The most connections of clients that `limits` and the descriptors allow.
pub fn most_connections(limits: &ProcessLimits) -> usize {
    // No limit is as good as more descriptors than there are connections.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    allowed(limits, descriptors)
}

/// The first descriptor that no connection to a server may have, so that listeners and the
/// proxy's own ports keep what they need.
pub fn first_reserved(limits: &ProcessLimits) -> u64 {
    let descriptors = getrlimit(Resource::Nofile).current;
    descriptors.map_or(u64::MAX, |descriptors| usable(limits, descriptors))
}

/// Why the descriptor with this `number`, the lowest free one, may not be a connection to a server
/// of a client with so many exchanges `under_way`, if `reserved` is the [`first_reserved`]. The
/// streams of one connection of HTTP/2 could have as many as a hundred clients.
pub fn refusal(number: u64, reserved: u64, under_way: usize) -> Option<&'static str> {
    let share = (reserved / PART_OF_CLIENT).max(1);
    let is_large = u64::try_from(under_way).is_ok_and(|under_way| under_way > share);
    if number >= reserved {
        return Some("too few file descriptors are left");
    }
    let is_short = number >= reserved / 2;
    (is_short && is_large).then_some("too few file descriptors are left for one client's requests")
}

fn usable(limits: &ProcessLimits, descriptors: u64) -> u64 {
    // Half of what there is may be used where there is less than the reserve.
    descriptors.saturating_sub(limits.reserved_descriptors.into()).max(descriptors / 2)
}

fn allowed(limits: &ProcessLimits, descriptors: u64) -> usize {
    let free = descriptors.saturating_sub(limits.reserved_descriptors.into());
    let allowed = (free / PER_CONNECTION).min(limits.connections.into());
    // Without any the proxy would be of no use at all.
    usize::try_from(allowed).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_in_reserve() {
        let limits = ProcessLimits::new();
        assert_eq!(allowed(&limits, 1024), (1024 - 256) / 2);
        assert_eq!(allowed(&limits, 1 << 30), 50_000);
        assert_eq!(allowed(&limits, 10), 1);
    }

    #[test]
    fn a_client_with_many_requests_leaves_descriptors_to_others() {
        let refused = |number, under_way| refusal(number, 1244, under_way).is_some();
        assert!(!refused(621, 1000), "there are many left");
        assert!(refused(622, 39) && !refused(622, 38));
        assert!(!refused(1243, 1) && refused(1244, 0));
        assert_eq!(refusal(1, 2, 1), None, "each may have one");
    }

    #[test]
    fn sockets_towards_servers_leave_descriptors_in_reserve() {
        let limits = ProcessLimits::new();
        assert_eq!(usable(&limits, 1024), 768);
        assert_eq!(usable(&limits, 100), 50);
        let limits = ProcessLimits { reserved_descriptors: 24, ..limits };
        assert_eq!(usable(&limits, 1024), 1000);
    }
}
