//! Bytes that all streams together may keep for something, divided among namespaces.
//!
//! A namespace may have as much as it leaves free. So one that takes all it can has half, two have a
//! third each, and there is always some for a namespace that comes later. What does not know
//! namespaces, such as the number of streams, has bounds elsewhere.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;

use crate::Options;

/// What streams may keep besides answers, which they share.
#[derive(Clone, Debug)]
pub(crate) struct Budgets {
    /// Large responses that clients have not taken yet.
    pub(crate) responses: Budget,
    /// Names of what clients say they hold.
    pub(crate) names: Budget,
}

impl Budgets {
    /// As large as the options say.
    pub(crate) fn new(options: &Options) -> Self {
        let budget = || Budget::new(options.stream_bytes);
        Self { responses: budget(), names: budget() }
    }
}

/// Bytes that streams share; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total: usize,
    taken: Mutex<Taken>,
    /// Changes when some are given back.
    given_back: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// Without those that have none.
    by_namespace: HashMap<Arc<str>, usize>,
}

/// Bytes that a stream has; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    namespace: Arc<str>,
    bytes: usize,
}

impl Budget {
    /// So many bytes.
    pub(crate) fn new(total: usize) -> Self {
        let given_back = watch::Sender::new(());
        Self(Arc::new(Shared { total, taken: Mutex::default(), given_back }))
    }

    /// Takes `bytes` for a stream of `namespace`, if it may have them now. What is larger than all
    /// there is may be had while there is nothing else.
    pub(crate) fn take(&self, namespace: &Arc<str>, bytes: usize) -> Option<Share> {
        let mut taken = self.taken();
        let own = taken.by_namespace.get(namespace).copied().unwrap_or(0);
        let free = self.0.total.saturating_sub(taken.bytes);
        if taken.bytes > 0 && own.saturating_add(bytes) > free.saturating_sub(bytes) {
            return None;
        }
        taken.bytes += bytes;
        *taken.by_namespace.entry(Arc::clone(namespace)).or_default() += bytes;
        Some(Share { budget: self.clone(), namespace: Arc::clone(namespace), bytes })
    }

    /// Tells when bytes are given back.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.0.given_back.subscribe()
    }

    /// How many are taken.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.taken().bytes
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Numbers cannot be left half written, so a poisoned lock is as good.
        self.0.taken.lock().unwrap_or_else(|error| error.into_inner())
    }
}

impl Share {
    /// How many bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.budget.taken();
        taken.bytes = taken.bytes.saturating_sub(self.bytes);
        if let Some(own) = taken.by_namespace.get_mut(&self.namespace) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                taken.by_namespace.remove(&self.namespace);
            }
        }
        drop(taken);
        self.budget.0.given_back.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many pieces as a namespace gets.
    fn take_all(budget: &Budget, namespace: &str, piece: usize) -> Vec<Share> {
        std::iter::from_fn(|| budget.take(&namespace.into(), piece)).collect()
    }

    #[test]
    fn there_is_always_some_for_another_namespace() {
        let budget = Budget::new(1000);
        let mut all = Vec::new();
        for (namespace, least) in [("a", 480), ("b", 230), ("c", 110)] {
            let shares = take_all(&budget, namespace, 10);
            assert!(shares.len() * 10 >= least, "{namespace}: {}", shares.len());
            all.push(shares);
        }
        assert!(budget.bytes() <= 1000);
        // Those that have much get no more before they give something back.
        let freed = budget.watch();
        all.remove(0);
        assert!(freed.has_changed().unwrap());
        assert!(take_all(&budget, "b", 10).len() * 10 < 200);
        drop(all);
        assert_eq!((budget.bytes(), budget.taken().by_namespace.len()), (0, 0));
    }

    #[test]
    fn what_is_larger_than_the_budget_waits_until_it_is_alone() {
        let budget = Budget::new(100);
        let small = budget.take(&"a".into(), 10);
        assert!(small.is_some() && budget.take(&"b".into(), 5000).is_none());
        drop(small);
        let large = budget.take(&"b".into(), 5000);
        assert!(large.is_some() && budget.take(&"a".into(), 10).is_none());
    }
}
