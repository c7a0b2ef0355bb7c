//! Revisions that are not in force everywhere.

use std::collections::BTreeMap;

/// Revisions, and how many sessions and absent pods do not have each in force.
#[derive(Debug, Default)]
pub(super) struct Outstanding(BTreeMap<u64, usize>);

impl Outstanding {
    /// One session more lacks `revision`.
    pub(super) fn add(&mut self, revision: u64) {
        *self.0.entry(revision).or_default() += 1;
    }

    /// Whether a session lacks `revision`.
    pub(super) fn contains(&self, revision: u64) -> bool {
        self.0.contains_key(&revision)
    }

    /// One session less lacks `revision`; whether it was the last one.
    pub(super) fn settle(&mut self, revision: u64) -> bool {
        let Some(count) = self.0.get_mut(&revision) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.0.remove(&revision);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_settled_by_the_last_session_that_lacked_it() {
        let mut outstanding = Outstanding::default();
        outstanding.add(3);
        outstanding.add(3);
        assert!(!outstanding.settle(3) && outstanding.contains(3));
        assert!(outstanding.settle(3) && !outstanding.contains(3));
        assert!(!outstanding.settle(3), "nobody lacks it any more");
    }
}
