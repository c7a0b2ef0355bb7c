//! Which address a pod gets.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{NODE, PODS};

/// Pods' addresses, each given to one pod at a time, in order.
///
/// Invariant: `taken` holds only addresses of the range, and never the node's.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    taken: BTreeSet<u32>,
    last: u32,
}

impl Addresses {
    /// The next free address after the one given last, so that an address comes
    /// back as late as possible: who still knows it would reach another pod.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let first = NODE.to_bits() - PODS.network().to_bits() + 1;
        let end = PODS.broadcast().to_bits() - PODS.network().to_bits();
        let next = (self.last + 1).max(first);
        let offset = (next..end).chain(first..next).find(|offset| !self.taken.contains(offset))?;
        self.taken.insert(offset);
        self.last = offset;
        Some(Ipv4Addr::from_bits(PODS.network().to_bits() + offset))
    }

    /// The pod that had it is gone.
    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address.to_bits().wrapping_sub(PODS.network().to_bits()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_order_and_come_back_late() {
        let mut addresses = Addresses::default();
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 244, 0, 2));
        addresses.release(first);
        assert_eq!(addresses.take().unwrap(), Ipv4Addr::new(10, 244, 0, 3));
    }

    #[test]
    fn a_full_range_has_none_left_until_one_is_released() {
        let mut addresses = Addresses::default();
        let all: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(all.len(), 65_533);
        assert!(!all.contains(&NODE));
        addresses.release(all[7]);
        assert_eq!(addresses.take(), Some(all[7]));
        assert_eq!(addresses.take(), None);
    }
}
