//! The labels of a host's endpoints, so that subsets find out whether some endpoint has theirs.

use std::collections::{BTreeSet, HashMap};

use weft_api::Key;

use crate::graph::view::View;

/// Sets of labels that are looked at for one subset.
const MOST_SETS: usize = 64;

/// The sets of labels that endpoints have, as far as subsets tell endpoints apart by them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LabelSets {
    /// Each once.
    sets: Vec<BTreeSet<Label>>,
    /// Which sets have a label.
    by_label: HashMap<Label, Vec<usize>>,
}

/// A name and a value.
type Label = (String, String);

/// The labels of the ready endpoints of `host`, which `owner` defines, on all of its ports.
pub(crate) fn label_sets(owner: &Key, host: &str, view: &View<'_>) -> LabelSets {
    let Some(defined) = view.definition_of(owner, host) else { return LabelSets::default() };
    let chunks = view.chunks(&defined);
    let endpoints = chunks.by_port.keys().flat_map(|port| chunks.endpoints(*port));
    let sets = endpoints.map(|endpoint| endpoint.labels.iter().cloned().collect());
    LabelSets::new(sets.collect())
}

impl LabelSets {
    fn new(sets: BTreeSet<BTreeSet<Label>>) -> Self {
        let sets: Vec<BTreeSet<Label>> = sets.into_iter().collect();
        let mut by_label: HashMap<Label, Vec<usize>> = HashMap::new();
        for (at, set) in sets.iter().enumerate() {
            for label in set {
                by_label.entry(label.clone()).or_default().push(at);
            }
        }
        Self { sets, by_label }
    }

    /// Whether no endpoint has all of `wanted` though there are endpoints. False where that
    /// takes a look at more than [`MOST_SETS`] sets to find out.
    pub(crate) fn lack<'l>(&self, wanted: impl Iterator<Item = (&'l String, &'l String)>) -> bool {
        let wanted: Vec<Label> =
            wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
        let sets =
            wanted.iter().map(|label| self.by_label.get(label).map_or(&[][..], Vec::as_slice));
        // Those that have the rarest of the labels.
        let Some(rarest) = sets.min_by_key(|sets| sets.len()) else { return false };
        let has_all = |at: &usize| wanted.iter().all(|label| self.sets[*at].contains(label));
        !self.sets.is_empty() && rarest.len() <= MOST_SETS && !rarest.iter().any(has_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[(&str, usize)]) -> BTreeSet<Label> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
    }

    #[track_caller]
    fn check(sets: &LabelSets, wanted: &[(&str, usize)], lacking: bool) {
        let wanted = set(wanted);
        assert_eq!(sets.lack(wanted.iter().map(|(name, value)| (name, value))), lacking);
    }

    #[test]
    fn labels_are_lacking_that_no_endpoint_has_together() {
        let sets =
            LabelSets::new([set(&[("app", 1), ("v", 1)]), set(&[("app", 2), ("v", 2)])].into());
        check(&sets, &[("v", 1)], false);
        check(&sets, &[("app", 1), ("v", 1)], false);
        check(&sets, &[("app", 1), ("v", 2)], true);
        check(&sets, &[("v", 3)], true);
        check(&sets, &[], false);
        check(&LabelSets::default(), &[("v", 3)], false);
    }

    #[test]
    fn what_takes_too_many_looks_is_not_said_to_be_lacking() {
        let half = |at: usize| {
            if at.is_multiple_of(2) {
                set(&[("a", 0), ("n", at)])
            } else {
                set(&[("b", 0), ("n", at)])
            }
        };
        let few = LabelSets::new((0..2 * MOST_SETS).map(half).collect());
        check(&few, &[("a", 0), ("b", 0)], true);
        let many = LabelSets::new((0..2 * MOST_SETS + 2).map(half).collect());
        check(&many, &[("a", 0), ("b", 0)], false);
        check(&many, &[("a", 0), ("n", 0)], false);
        check(&many, &[("a", 0), ("n", 1)], true);
    }
}
