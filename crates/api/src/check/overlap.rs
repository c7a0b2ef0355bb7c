//! Which hosts of a list mean the same names.

use std::collections::BTreeMap;

/// A host, spelled backwards so that a wildcard is a prefix of the names it covers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Backwards {
    letters: Vec<u8>,
    /// Wildcards come before the names that they cover.
    exact: bool,
    index: usize,
}

/// A wildcard whose names are being passed in order.
struct Open {
    letters: Vec<u8>,
    index: usize,
    /// The lowest index among the wildcard and those that cover it.
    covering: usize,
    /// The lowest index among the hosts that it covers.
    covered: usize,
}

/// The hosts that share a name with an earlier one: their index, and that of the first such.
///
/// `hosts` are valid names, perhaps with `*` first, and their indices. Sorted backwards, each
/// name stands after the wildcards that cover it, so that one pass finds all.
pub(super) fn overlaps(hosts: &[(usize, &str)]) -> BTreeMap<usize, usize> {
    let mut sorted: Vec<Backwards> = hosts.iter().map(backwards).collect();
    sorted.sort_unstable();
    let mut found = BTreeMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut last: Option<Backwards> = None;
    for host in sorted {
        while open.last().is_some_and(|outer| !host.letters.starts_with(&outer.letters)) {
            close(&mut open, &mut found);
        }
        let twin = last.as_ref().filter(|last| last.letters == host.letters);
        let above = open.last().map_or(usize::MAX, |outer| outer.covering);
        let first = twin.map_or(above, |twin| above.min(twin.index));
        if first < host.index {
            found.insert(host.index, first);
        }
        if !host.exact {
            let (index, covering) = (host.index, above.min(host.index));
            open.push(Open { letters: host.letters, index, covering, covered: usize::MAX });
            continue;
        }
        if let Some(outer) = open.last_mut() {
            outer.covered = outer.covered.min(host.index);
        }
        // Of several that are the same, the first is the one that is named.
        if twin.is_none() {
            last = Some(host);
        }
    }
    while !open.is_empty() {
        close(&mut open, &mut found);
    }
    found
}

/// Leaves the innermost wildcard.
fn close(open: &mut Vec<Open>, found: &mut BTreeMap<usize, usize>) {
    let Some(inner) = open.pop() else { return };
    if inner.covered < inner.index {
        let first = found.entry(inner.index).or_insert(inner.covered);
        *first = inner.covered.min(*first);
    }
    if let Some(outer) = open.last_mut() {
        outer.covered = outer.covered.min(inner.covered).min(inner.index);
    }
}

fn backwards((index, host): &(usize, &str)) -> Backwards {
    let suffix = host.strip_prefix('*');
    let letters = suffix.unwrap_or(host).bytes().rev().map(|byte| byte.to_ascii_lowercase());
    Backwards { letters: letters.collect(), exact: suffix.is_none(), index: *index }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs as comparing each host with all before it finds them.
    fn by_comparing_all(hosts: &[&str]) -> Vec<usize> {
        let overlap = |left: &str, right: &str| {
            let (left, right) = (left.to_lowercase(), right.to_lowercase());
            match (left.strip_prefix('*'), right.strip_prefix('*')) {
                (Some(left), Some(right)) => left.ends_with(right) || right.ends_with(left),
                (Some(suffix), None) => right.ends_with(suffix),
                (None, Some(suffix)) => left.ends_with(suffix),
                (None, None) => left == right,
            }
        };
        let earlier = |at: usize| hosts[..at].iter().any(|other| overlap(hosts[at], other));
        (0..hosts.len()).filter(|at| earlier(*at)).collect()
    }

    #[test]
    fn one_pass_finds_what_comparing_all_finds() {
        let names =
            ["a.b", "A.b", "*.b", "*b", "*", "*.a.b", "x.a.b", "b", "c.d", "*-a.b", "q-a.b"];
        // Every list of four of them.
        for code in 0..names.len().pow(4) {
            let hosts: Vec<&str> =
                (0..4).map(|digit| names[code / names.len().pow(digit) % names.len()]).collect();
            let indexed: Vec<_> = hosts.iter().copied().enumerate().collect();
            let found = overlaps(&indexed);
            let expected = by_comparing_all(&hosts);
            assert_eq!(found.keys().copied().collect::<Vec<_>>(), expected, "{hosts:?}");
            assert!(found.iter().all(|(index, other)| other < index), "{hosts:?} {found:?}");
        }
    }
}
