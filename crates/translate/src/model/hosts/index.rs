//! Hosts and patterns, found by the names that they cover.

use std::collections::{BTreeMap, BTreeSet};

/// A value for each of some hosts and patterns. Finding those that cover a name costs
/// as many steps as the patterns have different lengths, however many there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostIndex<T> {
    exact: BTreeMap<String, T>,
    /// By what follows the `*`.
    patterns: BTreeMap<String, T>,
    /// Of what follows the `*`, in bytes.
    lengths: BTreeSet<usize>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), patterns: BTreeMap::new(), lengths: BTreeSet::new() }
    }
}

impl<T: Default> HostIndex<T> {
    /// The value of `host`, a name or a pattern; the default is put in where it is missing.
    pub(crate) fn entry(&mut self, host: &str) -> &mut T {
        match host.strip_prefix('*') {
            None => self.exact.entry(host.to_owned()).or_default(),
            Some(suffix) => {
                self.lengths.insert(suffix.len());
                self.patterns.entry(suffix.to_owned()).or_default()
            }
        }
    }
}

impl<T> HostIndex<T> {
    /// The values of all that covers everything that `host`, a name or a pattern, covers:
    /// itself, and wider patterns.
    pub(crate) fn covering<'i>(&'i self, host: &'i str) -> impl Iterator<Item = &'i T> {
        let (own, rest, longest) = match host.strip_prefix('*') {
            None => (self.exact.get(host), host, host.len().checked_sub(1)),
            Some(rest) => (None, rest, Some(rest.len())),
        };
        let lengths = longest.map(|longest| self.lengths.range(..=longest)).into_iter().flatten();
        let suffixes = lengths.filter_map(|length| rest.get(rest.len() - length..));
        own.into_iter().chain(suffixes.filter_map(|suffix| self.patterns.get(suffix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `wide` covers every name that `narrow` covers.
    fn within(narrow: &str, wide: &str) -> bool {
        match (wide.strip_prefix('*'), narrow.strip_prefix('*')) {
            (None, _) => narrow == wide,
            (Some(suffix), Some(rest)) => rest.ends_with(suffix),
            (Some(suffix), None) => narrow.len() > suffix.len() && narrow.ends_with(suffix),
        }
    }

    #[test]
    fn a_host_is_within_what_covers_all_of_it() {
        assert!(within("a.b", "a.b"));
        assert!(within("a.b", "*.b"));
        assert!(within("*.a.b", "*.b"));
        assert!(within("*.b", "*.b"));
        assert!(within("*.b", "*"));
        assert!(!within("*.b", "*.a.b"));
        assert!(!within("b", "*.b"));
        assert!(!within("*.b", "a.b"));
    }

    #[test]
    fn it_finds_what_a_comparison_with_each_would_find() {
        let hosts = ["a.b", "b", "*.b", "*.a.b", "*a.b", "*", "x-a.b", "*é.b", "é.b", ""];
        let mut index: HostIndex<Vec<&str>> = HostIndex::default();
        for host in hosts {
            index.entry(host).push(host);
        }
        for narrow in hosts.iter().chain(&["c.a.b", "*.c.a.b", "*.c", "éé.b"]) {
            let mut found: Vec<&str> = index.covering(narrow).flatten().copied().collect();
            let mut expected = hosts.to_vec();
            expected.retain(|wide| within(narrow, wide));
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{narrow}");
        }
    }
}
