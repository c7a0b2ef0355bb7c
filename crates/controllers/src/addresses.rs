//! Which addresses Services and pods have.
//!
//! An address is a function of namespace and name, so it survives edits and
//! restarts, and files alone tell it.

use std::{hash::Hasher, net::Ipv4Addr};

use twox_hash::XxHash64;

/// Addresses at the range's start that are given to nobody by hash.
const RESERVED: u32 = 256;

/// Number of addresses in a /16.
const SIZE: u32 = 1 << 16;

/// The API server's own Service, `kubernetes.default`.
pub const API_SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The DNS server.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The address of a Service, the next free one where another has it.
pub fn service(namespace: &str, name: &str, taken: impl Fn(Ipv4Addr) -> bool) -> Ipv4Addr {
    let room = SIZE - RESERVED - 1;
    let mut hash = XxHash64::with_seed(0);
    hash.write(namespace.as_bytes());
    hash.write(b"/");
    hash.write(name.as_bytes());
    let first = u32::try_from(hash.finish() % u64::from(room)).unwrap_or(0);
    let at = |index: u32| {
        let [_, _, high, low] = (RESERVED + index % room).to_be_bytes();
        Ipv4Addr::new(10, 96, high, low)
    };
    (0..room).map(|step| at(first + step)).find(|address| !taken(*address)).unwrap_or(at(first))
}

/// Whether an address is in the range of Services.
pub fn is_service(address: Ipv4Addr) -> bool {
    address.octets()[..2] == [10, 96]
}

/// The address of the pod with this number, for worlds that exist in files only.
pub fn pod(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 244, high, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_over_runs_and_gives_way_to_an_older_one() {
        let first = service("default", "hello", |_| false);
        assert_eq!(first, service("default", "hello", |_| false));
        let second = service("default", "hello", |address| address == first);
        assert_eq!(u32::from(second), u32::from(first) + 1);
        assert!(is_service(first) && first.octets()[2] > 0, "{first}");
        assert_ne!(first, service("other", "hello", |_| false));
    }
}
