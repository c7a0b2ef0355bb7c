//! Patterns by what they end in: whether some pattern covers names that end in a text, or
//! covers some of them.

use std::{collections::BTreeMap, hash::Hasher, ops::Bound};

use twox_hash::XxHash64;

/// Patterns of whole labels (`*.b.c`), sorted from their ends.
#[derive(Default)]
pub(crate) struct Endings {
    /// What follows the `*`, read from its end, with the number of times it was added.
    reversed: BTreeMap<Vec<u8>, usize>,
}

/// The hash of an ending. Two that have the same are taken for one where a unit asks whether
/// there is a pattern, so that it may run once too often.
pub(crate) type Ending = u64;

impl Endings {
    /// Adds `pattern`; returns the endings of it that no pattern had before.
    pub(crate) fn add(&mut self, pattern: &str) -> Vec<Ending> {
        let Some(reversed) = whole_labels(pattern) else { return Vec::new() };
        let known = self.shared(&reversed);
        *self.reversed.entry(reversed.clone()).or_default() += 1;
        let ends = (known..reversed.len()).filter(|at| reversed[*at] == b'.');
        ends.map(|at| hash(&reversed[..=at])).collect()
    }

    /// Takes away what was added.
    pub(crate) fn remove(&mut self, pattern: &str) {
        let Some(reversed) = whole_labels(pattern) else { return };
        if let Some(count) = self.reversed.get_mut(&reversed) {
            *count -= 1;
            if *count == 0 {
                self.reversed.remove(&reversed);
            }
        }
    }

    /// The length of the longest ending of `host` that some pattern has, from a dot on; and
    /// the next longer one, which none has, if `host` has one.
    pub(crate) fn longest(&self, host: &str) -> (usize, Option<Ending>) {
        let reversed: Vec<u8> = host.bytes().rev().collect();
        let known = self.shared(&reversed);
        let next = reversed[known..].iter().position(|byte| *byte == b'.');
        (known, next.map(|at| hash(&reversed[..=known + at])))
    }

    /// How many bytes from the end `reversed` shares with some pattern, up to a dot.
    fn shared(&self, reversed: &[u8]) -> usize {
        let (up_to, from) = (Bound::Excluded(reversed), Bound::Included(reversed));
        let before = self.reversed.range::<[u8], _>((Bound::Unbounded, up_to)).next_back();
        let after = self.reversed.range::<[u8], _>((from, Bound::Unbounded)).next();
        let with = |other: &[u8]| {
            let same = other.iter().zip(reversed).take_while(|(one, two)| one == two).count();
            reversed[..same].iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1)
        };
        before.into_iter().chain(after).map(|(other, _)| with(other)).max().unwrap_or(0)
    }
}

/// What follows the `*` of a pattern that begins with a whole label, from its end.
fn whole_labels(pattern: &str) -> Option<Vec<u8>> {
    let ending = pattern.strip_prefix('*').filter(|ending| ending.starts_with('.'))?;
    Some(ending.bytes().rev().collect())
}

fn hash(reversed: &[u8]) -> Ending {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(reversed);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ending_is_that_of_the_nearest_pattern() {
        let mut endings = Endings::default();
        let check = |endings: &Endings, host: &str, longest: &str| {
            let (length, next) = endings.longest(host);
            assert_eq!(&host[host.len() - length..], longest, "{host}");
            let above = host[..host.len() - length].rfind('.').map(|dot| &host[dot..]);
            let above = above.map(|ending| hash(&ending.bytes().rev().collect::<Vec<_>>()));
            assert_eq!(next, above, "{host}");
        };
        check(&endings, "a.b.c", "");
        for pattern in ["*.b.c", "*.y.b.c", "*.bb.c", "*.example.com", "*", "*odd.c"] {
            endings.add(pattern);
        }
        check(&endings, "a.b.c", ".b.c");
        check(&endings, "x.a.b.c", ".b.c");
        check(&endings, "x.y.b.c", ".y.b.c");
        check(&endings, "a.bbb.c", ".c");
        check(&endings, "b.c", ".c");
        check(&endings, "c", "");
        check(&endings, "www.example.org", "");
        check(&endings, "*.b.c", ".b.c");
        endings.remove("*.y.b.c");
        check(&endings, "x.y.b.c", ".b.c");
    }

    #[test]
    fn a_pattern_is_new_where_no_other_ends_as_it_does() {
        let mut endings = Endings::default();
        let of = |ending: &str| hash(&ending.bytes().rev().collect::<Vec<_>>());
        assert_eq!(endings.add("*.b.c"), [of(".c"), of(".b.c")]);
        assert_eq!(endings.add("*.a.b.c"), [of(".a.b.c")]);
        assert_eq!(endings.add("*.c"), [0; 0]);
        assert_eq!(endings.add("*.a.b.c"), [0; 0]);
        endings.remove("*.a.b.c");
        assert_eq!(endings.add("*.a.b.c"), [0; 0], "it was there twice");
        endings.remove("*.a.b.c");
        endings.remove("*.a.b.c");
        assert_eq!(endings.add("*.x.a.b.c"), [of(".a.b.c"), of(".x.a.b.c")]);
    }
}
