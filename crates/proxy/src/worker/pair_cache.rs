//! A bounded cache of what was made for pairs of things that a table holds.
//!
//! It keeps none of them alive: a table that was replaced goes, whatever was cached for it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

/// Values for pairs of an `A` and a `B`.
pub struct PairCache<A, B, V> {
    most: usize,
    /// By the addresses of both, which no others can have while they are in here.
    values: HashMap<(usize, usize), Value<A, B, V>>,
}

struct Value<A, B, V> {
    first: Weak<A>,
    second: Weak<B>,
    value: V,
}

impl<A, B, V: Clone> PairCache<A, B, V> {
    /// A cache of at most `most` values.
    pub fn new(most: usize) -> Self {
        Self { most, values: HashMap::new() }
    }

    /// The value for `first` and `second`; `make` is asked once for those that it makes.
    pub fn get(
        &mut self,
        first: &Arc<A>,
        second: &Arc<B>,
        make: impl FnOnce() -> Option<V>,
    ) -> Option<V> {
        let key = (Arc::as_ptr(first).addr(), Arc::as_ptr(second).addr());
        if let Some(known) = self.values.get(&key) {
            return Some(known.value.clone());
        }
        let value = make()?;
        if self.values.len() >= self.most {
            self.sweep();
        }
        if self.values.len() >= self.most {
            self.values.clear();
        }
        let (first, second) = (Arc::downgrade(first), Arc::downgrade(second));
        self.values.insert(key, Value { first, second, value: value.clone() });
        Some(value)
    }

    /// Forgets pairs that are gone.
    pub fn sweep(&mut self) {
        self.values.retain(|_, one| one.first.strong_count() > 0 && one.second.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_for_a_pair_while_both_are_there() {
        let mut cache = PairCache::new(8);
        let (a, b, c) = (Arc::new('a'), Arc::new('b'), Arc::new('b'));
        assert_eq!(cache.get(&a, &b, || None::<u8>), None);
        assert_eq!(cache.get(&a, &b, || Some(1)), Some(1));
        assert_eq!(cache.get(&a, &b, || Some(2)), Some(1));
        assert_eq!(cache.get(&a, &c, || Some(3)), Some(3), "equal, and another one");
        drop(b);
        cache.sweep();
        assert_eq!(cache.values.len(), 1);
        assert_eq!(cache.get(&a, &c, || None), Some(3));
    }

    #[test]
    fn a_cache_is_bounded_and_keeps_nothing_alive() {
        let mut cache = PairCache::new(8);
        let first = Arc::new(());
        let kept: Vec<_> = (0..100_u32).map(Arc::new).collect();
        for second in &kept {
            assert_eq!(cache.get(&first, second, || Some(**second)), Some(**second));
            assert!(cache.values.len() <= 8);
        }
        let second = Arc::new(100);
        let weak = Arc::downgrade(&second);
        cache.get(&first, &second, || Some(100));
        drop(second);
        assert!(weak.upgrade().is_none());
    }
}
