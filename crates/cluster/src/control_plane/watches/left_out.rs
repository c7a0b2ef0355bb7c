//! What is said about objects that cannot be read: the first by name, all others by number.
//!
//! Anyone who may write objects may write thousands that cannot be read, and each list of
//! them is read again and again.

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{Key, Kind};

/// Objects of one kind that are named between one list and the next.
const NAMED: usize = 8;

/// Objects of each kind that were left out since its last list began.
#[derive(Default)]
pub(super) struct LeftOut(BTreeMap<Kind, BTreeSet<Key>>);

impl LeftOut {
    /// A new list of a kind begins.
    pub(super) fn list(&mut self, kind: Kind) {
        self.0.remove(&kind);
    }

    /// What to say about an object that is left out, if anything: each of the first, then at
    /// every doubling.
    pub(super) fn add(&mut self, key: &Key, why: &str) -> Option<String> {
        let keys = self.0.entry(key.kind).or_default();
        // It has changed, and was named or counted before.
        if !keys.insert(key.clone()) {
            return None;
        }
        let plural = key.kind.plural();
        match keys.len() {
            ..=NAMED => Some(format!(
                "{key} {why} and is left out of the mesh; look at it with `kubectl get -o yaml`"
            )),
            all if all.is_power_of_two() => {
                Some(format!("{key} {why} and is left out of the mesh, as {all} {plural} are"))
            }
            _ => None,
        }
    }

    /// What to say at the end of a list, if not everything has been said.
    pub(super) fn listed(&self, kind: Kind) -> Option<String> {
        let all = self.0.get(&kind).map(BTreeSet::len).filter(|all| *all > NAMED)?;
        let plural = kind.plural();
        Some(format!("{all} {plural} cannot be read and are left out of the mesh"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_objects_are_said_in_few_lines_that_name_some() {
        let mut left_out = LeftOut::default();
        for _ in 0..3 {
            left_out.list(Kind::Service);
            let key = |number| Key::new(Kind::Service, "shop", format!("s{number}"));
            let added = |number| left_out.add(&key(number), "cannot be read");
            let mut said: Vec<String> = (0..10_000).filter_map(added).collect();
            said.extend(left_out.listed(Kind::Service));
            assert!(said.len() < 25, "{} lines", said.len());
            assert!(said[0].starts_with("Service/shop/s0 cannot be read"), "{}", said[0]);
            let last = said.last().expect("something is said");
            assert_eq!(last, "10000 services cannot be read and are left out of the mesh");
        }
        assert_eq!(left_out.listed(Kind::Pod), None);
    }

    #[test]
    fn few_are_named_once_and_not_counted() {
        let mut left_out = LeftOut::default();
        let key = Key::new(Kind::Pod, "shop", "cart");
        assert!(left_out.add(&key, "goes too deep").is_some_and(|said| said.contains("cart")));
        for _ in 0..100 {
            assert_eq!(left_out.add(&key, "goes too deep"), None);
        }
        assert_eq!(left_out.listed(Kind::Pod), None);
    }
}
