//! Units that wait to be run when there is time: none keeps others waiting.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
};

use crate::graph::unit::Unit;

/// Findings, and what findings depend on. As much is done for the one as for the other.
#[derive(Default)]
pub(crate) struct Waiting {
    findings: Rotation,
    others: Rotation,
    /// What was done while both waited.
    for_findings: usize,
    for_others: usize,
}

/// Units in order, round and round: those that come again and again wait for the others.
#[derive(Default)]
struct Rotation {
    units: BTreeSet<Unit>,
    /// The unit that was taken last.
    last: Option<Unit>,
}

impl Waiting {
    /// Adds `unit`.
    pub(crate) fn insert(&mut self, unit: Unit) {
        match unit {
            Unit::Findings(_) => self.findings.units.insert(unit),
            _ => self.others.units.insert(unit),
        };
    }

    /// Whether `unit` waits.
    pub(crate) fn contains(&self, unit: &Unit) -> bool {
        self.findings.units.contains(unit) || self.others.units.contains(unit)
    }

    /// Takes the next unit out. What findings depend on comes first: a finding that is computed
    /// before it is computed again.
    pub(crate) fn next(&mut self) -> Option<Unit> {
        if self.findings.units.is_empty() || self.others.units.is_empty() {
            (self.for_findings, self.for_others) = (0, 0);
        }
        let [first, second] = match self.for_others <= self.for_findings {
            true => [&mut self.others, &mut self.findings],
            false => [&mut self.findings, &mut self.others],
        };
        first.next().or_else(|| second.next())
    }

    /// Notes what it took to run `unit`.
    pub(crate) fn done(&mut self, unit: &Unit, cost: usize) {
        let sum = match unit {
            Unit::Findings(_) => &mut self.for_findings,
            _ => &mut self.for_others,
        };
        *sum = sum.saturating_add(cost);
    }
}

impl Rotation {
    fn next(&mut self) -> Option<Unit> {
        // Where all have had their turn, a unit comes after those that it reads.
        let last = self.last.take();
        let after = last.and_then(|last| self.units.range((Excluded(last), Unbounded)).next());
        let next = after.or_else(|| self.units.first())?.clone();
        self.units.remove(&next);
        self.last = Some(next.clone());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use weft_api::{Key, Kind};

    use super::*;

    fn pod(name: &str) -> Key {
        Key::new(Kind::Pod, "shop", name)
    }

    #[test]
    fn a_unit_that_comes_again_waits_for_the_others() {
        let mut waiting = Waiting::default();
        for name in ["a", "b", "c"] {
            waiting.insert(Unit::Limited(pod(name)));
        }
        let mut taken = Vec::new();
        for _ in 0..4 {
            let Some(Unit::Limited(pod)) = waiting.next() else { panic!("another unit") };
            taken.push(pod.name.clone());
            waiting.insert(Unit::Limited(pod));
        }
        assert_eq!(taken, ["a", "b", "c", "a"]);
    }

    #[test]
    fn as_much_is_done_for_findings_as_for_what_they_depend_on() {
        let mut waiting = Waiting::default();
        let mut findings = 0;
        for _ in 0..100 {
            for name in ["a", "b"] {
                waiting.insert(Unit::Limited(pod(name)));
                waiting.insert(Unit::Findings(pod(name)));
            }
            let unit = waiting.next().expect("a unit");
            let is_finding = matches!(unit, Unit::Findings(_));
            findings += usize::from(is_finding);
            waiting.done(&unit, if is_finding { 1 } else { 9 });
        }
        assert_eq!(findings, 90);
    }

    #[test]
    fn what_was_done_while_nothing_else_waited_is_not_made_up_for() {
        let mut waiting = Waiting::default();
        let one = Unit::Limited(pod("a"));
        for _ in 0..100 {
            waiting.insert(one.clone());
            assert_eq!(waiting.next().as_ref(), Some(&one));
            waiting.done(&one, 9);
        }
        waiting.insert(one.clone());
        (0..1_000).for_each(|at| waiting.insert(Unit::Findings(pod(&at.to_string()))));
        let before = (0..1_000).take_while(|_| {
            let unit = waiting.next().expect("a unit");
            waiting.done(&unit, 1);
            unit != one
        });
        // As much as the last one took.
        assert_eq!(before.count(), 9);
    }
}
