//! Sets of hosts and patterns, and what two of them have in common.

use std::collections::BTreeSet;

use super::HostIndex;

/// Hosts and patterns, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostSet {
    index: HostIndex<()>,
    /// All of them, read from their ends.
    reversed: BTreeSet<String>,
}

impl HostSet {
    /// Adds `host`, a name or a pattern.
    pub(crate) fn insert(&mut self, host: &str) {
        self.index.entry(host);
        self.reversed.insert(reversed(host));
    }

    /// Whether one of them covers everything that `host` covers.
    fn has_all_of(&self, host: &str) -> bool {
        self.index.covering(host).next().is_some()
    }

    /// Those that `pattern` covers, but for itself; none for a name.
    fn below<'s>(&'s self, pattern: &str) -> impl Iterator<Item = String> + use<'s> {
        let start = pattern.strip_prefix('*').map(reversed);
        let from = start.clone().map(|start| self.reversed.range(start..));
        let itself = reversed(pattern);
        let covered = from.into_iter().flatten().take_while(move |host| {
            // An ending that is a name of its own is not covered, and comes first.
            start.as_deref().is_some_and(|start| host.starts_with(start))
        });
        let least = pattern.len();
        covered
            .filter(move |host| host.len() >= least && **host != itself)
            .map(|host| reversed(host))
    }

    /// Whether some name is covered by both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let is_smaller = self.reversed.len() <= other.reversed.len();
        let (few, many) = if is_smaller { (self, other) } else { (other, self) };
        few.reversed.iter().any(|host| {
            let host = reversed(host);
            many.has_all_of(&host) || many.below(&host).next().is_some()
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.reversed.len()
    }

    /// Adds the hosts of either that are within the other to `found`, until that has more than
    /// `most`. The cost is that of reading these sets' hosts, and those found, not of comparing
    /// each with each.
    pub(crate) fn common(&self, other: &Self, most: usize, found: &mut BTreeSet<String>) {
        let own: Vec<String> = self.reversed.iter().map(|host| reversed(host)).collect();
        let within = own.iter().filter(|host| other.has_all_of(host)).cloned();
        // What a wider pattern covers need not be found again.
        let widest = own.iter().filter(|host| self.index.covering(host).nth(1).is_none());
        for host in within.chain(widest.flat_map(|host| other.below(host))) {
            found.insert(host);
            if found.len() > most {
                return;
            }
        }
    }
}

fn reversed(host: &str) -> String {
    host.chars().rev().collect()
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
    fn what_is_common_is_what_a_comparison_of_each_with_each_finds() {
        let all = ["a.b", "b", ".b", "*.b", "*.a.b", "*a.b", "*", "x-a.b", "*.c", "*é.b", "é.b"];
        for bits in 0..1_u32 << (2 * all.len()) {
            // Few of the pairs of sets, always the same.
            if bits.wrapping_mul(0x9e37_79b1) >> 21 != 0 {
                continue;
            }
            let of = |bits: u32| {
                let chosen = all.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
                chosen.map(|(_, host)| *host).collect::<Vec<&str>>()
            };
            let (one, other) = (of(bits), of(bits >> all.len()));
            let set = |hosts: &[&str]| {
                let mut set = HostSet::default();
                hosts.iter().for_each(|host| set.insert(host));
                set
            };
            let of_one = one.iter().filter(|host| other.iter().any(|wide| within(host, wide)));
            let of_other = other.iter().filter(|host| one.iter().any(|wide| within(host, wide)));
            let expected: BTreeSet<String> =
                of_one.chain(of_other).map(|host| (*host).to_owned()).collect();
            let mut found = BTreeSet::new();
            set(&one).common(&set(&other), usize::MAX, &mut found);
            assert_eq!(found, expected, "{one:?} {other:?}");
            let mut few = BTreeSet::new();
            set(&one).common(&set(&other), 1, &mut few);
            assert_eq!(few.len(), expected.len().min(2), "{one:?} {other:?}");
            assert_eq!(set(&one).meets(&set(&other)), !expected.is_empty(), "{one:?} {other:?}");
        }
    }
}
