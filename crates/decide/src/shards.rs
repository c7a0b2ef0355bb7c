//! A map by name of which a changed copy is cheap.
//!
//! Names are spread over a fixed number of small maps; a copy shares all of them
//! but those that change.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use crate::quick::Quick;

/// How many small maps there are: with 10,000 names each holds 40.
const SHARDS: usize = 256;

type Shard<K, V> = Option<Arc<HashMap<K, V, Quick>>>;

/// A map of which a changed copy is cheap.
#[derive(Debug)]
pub(crate) struct Shards<K, V> {
    shards: Box<[Shard<K, V>]>,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| None).collect() }
    }
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// The value of `key`.
    pub(crate) fn find<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shards[shard(key)].as_ref()?.get(key)
    }

    /// Sets or removes the value of `key`; the previous one is returned.
    pub(crate) fn set(&mut self, key: K, value: Option<V>) -> Option<V> {
        let slot = &mut self.shards[shard(&key)];
        match value {
            Some(value) => Arc::make_mut(slot.get_or_insert_default()).insert(key, value),
            None => {
                let shared = slot.as_mut()?;
                if !shared.contains_key(&key) {
                    return None;
                }
                let removed = Arc::make_mut(shared).remove(&key);
                if shared.is_empty() {
                    *slot = None;
                }
                removed
            }
        }
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flatten().flat_map(|shard| shard.values())
    }

    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(Option::is_none)
    }
}

/// Which small map `key` lives in.
fn shard<Q: Hash + ?Sized>(key: &Q) -> usize {
    (Quick::default().hash_one(key) >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_copy_leaves_the_original_as_it_was() {
        let mut first: Shards<&str, i32> = Shards::default();
        first.set("a", Some(1));
        let mut second = first.clone();
        assert_eq!(second.set("a", Some(2)), Some(1));
        second.set("b", Some(3));
        assert_eq!((first.find("a"), first.find("b")), (Some(&1), None));
        assert_eq!((second.find("a"), second.find("b")), (Some(&2), Some(&3)));
    }

    #[test]
    fn what_is_removed_is_gone() {
        let mut map: Shards<&str, i32> = Shards::default();
        map.set("a", Some(1));
        assert_eq!(map.set("a", None), Some(1));
        assert_eq!(map.set("a", None), None);
        assert!(map.is_empty());
    }
}
