//! Which rules of many may match a path.
//!
//! Rules keep their rank: candidates come out in order, and the first whose
//! other conditions hold is used. An exact map, a tree of prefixes and one set
//! of regular expressions replace looking at every rule.

use std::collections::HashMap;

use regex::bytes::{RegexSet, RegexSetBuilder};
use smallvec::SmallVec;
use weft_config::{Conditions, TextMatch, text_match::whole};

use crate::quick::Quick;

/// Ranks of rules, in order.
type Ranks = Vec<u32>;

/// An index of rules by path.
#[derive(Debug)]
pub(crate) struct Candidates {
    exact: HashMap<Box<[u8]>, Ranks, Quick>,
    prefixes: Vec<Prefix>,
    regexes: Option<(RegexSet, Ranks)>,
    others: Ranks,
}

/// A node of the tree of prefixes; the tree is the sorted list with links.
#[derive(Debug)]
struct Prefix {
    text: Box<[u8]>,
    /// The longest other prefix that this one begins with.
    parent: Option<usize>,
    ranks: Ranks,
}

impl Candidates {
    /// Indexes rules by the paths in their conditions.
    pub(crate) fn new<'c>(rules: impl Iterator<Item = &'c Conditions>) -> Self {
        let mut exact: HashMap<Box<[u8]>, Ranks, Quick> = HashMap::default();
        let mut prefixes: std::collections::BTreeMap<Box<[u8]>, Ranks> = Default::default();
        let mut patterns = (Vec::new(), Ranks::new());
        let mut others = Ranks::new();
        for (rank, conditions) in (0..).zip(rules) {
            match &conditions.path {
                _ if conditions.ignore_path_case => others.push(rank),
                Some(TextMatch::Exact(text)) => {
                    exact.entry(text.as_bytes().into()).or_default().push(rank);
                }
                Some(TextMatch::Prefix(text)) => {
                    prefixes.entry(text.as_bytes().into()).or_default().push(rank);
                }
                Some(TextMatch::Regex(pattern)) => {
                    patterns.0.push(whole(pattern));
                    patterns.1.push(rank);
                }
                Some(TextMatch::Present) | None => others.push(rank),
            }
        }
        let regexes = index(patterns, &mut others);
        Self { exact, prefixes: link(prefixes), regexes, others }
    }

    /// The ranks of the rules that may match `path`, in order.
    pub(crate) fn of<'c>(&'c self, path: &str) -> Merge<'c> {
        let path = path.as_bytes();
        let mut merge = Merge { lists: SmallVec::new(), matched: SmallVec::new() };
        merge.lists.push(&self.others);
        if let Some(ranks) = self.exact.get(path) {
            merge.lists.push(ranks);
        }
        let after = self.prefixes.partition_point(|prefix| &*prefix.text <= path);
        let mut at = after.checked_sub(1);
        while let Some(prefix) = at.and_then(|at| self.prefixes.get(at)) {
            if path.starts_with(&prefix.text) {
                merge.lists.push(&prefix.ranks);
            }
            at = prefix.parent;
        }
        if let Some((set, ranks)) = &self.regexes {
            let matches = set.matches(path);
            merge.matched.extend(matches.iter().filter_map(|at| ranks.get(at).copied()).rev());
        }
        merge
    }
}

/// One set of patterns. Those that it cannot have, such as those that need Unicode, go to the
/// `others`: each is tried separately, as part of its rule. So do all where they are too much.
fn index((patterns, ranks): (Vec<String>, Ranks), others: &mut Ranks) -> Option<(RegexSet, Ranks)> {
    let build = |patterns: &[&str]| {
        RegexSetBuilder::new(patterns).unicode(false).size_limit(1 << 22).build()
    };
    let all: Vec<&str> = patterns.iter().map(String::as_str).collect();
    if let Ok(set) = build(&all) {
        return (!ranks.is_empty()).then_some((set, ranks));
    }
    let of_both = all.into_iter().zip(ranks);
    let (fitting, unfit): (Vec<_>, Vec<_>) =
        of_both.partition(|(pattern, _)| build(&[pattern]).is_ok());
    others.extend(unfit.into_iter().map(|(_, rank)| rank));
    let (patterns, ranks): (Vec<&str>, Ranks) = fitting.into_iter().unzip();
    let regexes = match build(&patterns) {
        Ok(set) => (!ranks.is_empty()).then_some((set, ranks)),
        Err(_) => {
            others.extend(ranks);
            None
        }
    };
    others.sort_unstable();
    regexes
}

fn link(prefixes: std::collections::BTreeMap<Box<[u8]>, Ranks>) -> Vec<Prefix> {
    let mut linked: Vec<Prefix> = Vec::with_capacity(prefixes.len());
    for (text, ranks) in prefixes {
        let mut parent = linked.len().checked_sub(1);
        while let Some(at) = parent {
            if text.starts_with(&linked[at].text) {
                break;
            }
            parent = linked[at].parent;
        }
        linked.push(Prefix { text, parent, ranks });
    }
    linked
}

/// Merges lists of ranks in order.
pub(crate) struct Merge<'c> {
    lists: SmallVec<[&'c [u32]; 8]>,
    /// Matched regular expressions, the last rank first.
    matched: SmallVec<[u32; 8]>,
}

impl Iterator for Merge<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let listed = self.lists.iter().filter_map(|list| list.first().copied()).min();
        let matched = self.matched.last().copied();
        let least = match (listed, matched) {
            (Some(listed), Some(matched)) => listed.min(matched),
            (listed, matched) => listed.or(matched)?,
        };
        if matched == Some(least) {
            self.matched.pop();
        }
        for list in &mut self.lists {
            if list.first() == Some(&least) {
                *list = &list[1..];
            }
        }
        Some(least as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_needs_unicode_is_tried_separately_and_others_are_not() {
        let conditions = |pattern: &str| Conditions {
            path: Some(TextMatch::Regex(pattern.to_owned())),
            ..Conditions::default()
        };
        let rules = ["/a[0-9]+", r"/\p{Greek}+", "/b.*"].map(conditions);
        let index = Candidates::new(rules.iter());
        let of = |path| index.of(path).collect::<Vec<_>>();
        assert_eq!(of("/a1"), [0, 1]);
        assert_eq!(of("/b"), [1, 2]);
        assert_eq!(of("/\u{3b1}"), [1]);
    }
}
