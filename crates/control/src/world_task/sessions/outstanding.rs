//! Revisions that are not in force everywhere.

use std::collections::BTreeMap;

use crate::world_task::Revision;

/// Revisions, and how many sessions and absent pods do not have each in force.
#[derive(Debug, Default)]
pub(super) struct Outstanding(BTreeMap<Revision, usize>);

impl Outstanding {
    /// One session more lacks `revision`.
    pub(super) fn add(&mut self, revision: Revision) {
        *self.0.entry(revision).or_default() += 1;
    }

    /// Whether a session lacks `revision`.
    pub(super) fn contains(&self, revision: Revision) -> bool {
        self.0.contains_key(&revision)
    }

    /// One session less lacks `revision`; whether it was the last one.
    pub(super) fn settle(&mut self, revision: Revision) -> bool {
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
        let third = Revision::Generation(3);
        outstanding.add(third);
        outstanding.add(third);
        assert!(!outstanding.settle(third) && outstanding.contains(third));
        assert!(outstanding.settle(third) && !outstanding.contains(third));
        assert!(!outstanding.settle(third), "nobody lacks it any more");
    }
}
