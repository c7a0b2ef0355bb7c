//! Units that are run when first asked for, remembered, and run again when
//! something they read has changed.
//!
//! The graph does not know what a unit computes beyond calling [`Unit::run`];
//! nothing is ever invalidated by hand.

pub(crate) mod objects;
pub(crate) mod unit;
pub(crate) mod view;
mod slots;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use weft_api::{Key, Object};

use crate::{
    Installation,
    closure::Pool,
    graph::{
        objects::{Read, World},
        unit::{Unit, Value},
        view::View,
    },
    routes::rules::patterns,
};
use slots::Slots;
pub(crate) use slots::SourceId;

/// What a unit reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    World(Read),
    Unit(Unit),
}

/// The world and everything computed from it.
#[derive(Default)]
pub(crate) struct Graph {
    world: World,
    slots: RefCell<Slots>,
    pool: Pool,
    /// The costs of all units that have run.
    work: Cell<usize>,
}

/// What a change has done.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// Units that have another value.
    pub(crate) changed: Vec<Unit>,
    /// Units that may have another value, and were left for later.
    pub(crate) stale: Vec<Unit>,
}

impl Graph {
    /// Nothing in a mesh that is installed so.
    pub(crate) fn with(installation: Installation) -> Self {
        Self { world: World::with(installation), ..Self::default() }
    }

    /// Every object.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Pieces shared among answers.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The costs of all units that have run so far, which wraps around: see [`Unit::cost`].
    pub(crate) fn work(&self) -> usize {
        self.work.get()
    }

    /// The value of `unit`, computed if it is not remembered.
    pub(crate) fn value(&self, unit: &Unit) -> Value {
        let known = self.slots.borrow().value_of(unit);
        known.unwrap_or_else(|| self.compute(unit))
    }

    /// The value of `unit`, which is remembered until [`Self::forget`].
    pub(crate) fn hold(&self, unit: &Unit) -> Value {
        let value = self.value(unit);
        self.slots.borrow_mut().hold(unit);
        value
    }

    /// The name of `source` among the edges.
    pub(crate) fn intern(&self, source: Source) -> SourceId {
        self.slots.borrow_mut().intern(source)
    }

    /// Applies changes and runs what they touch, but for units that are left for
    /// later.
    pub(crate) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Object>)>,
    ) -> Effect {
        let mut dirty = BTreeSet::new();
        let slots = self.slots.get_mut();
        for (key, object) in changes {
            let mut touched = |read| slots.mark(&Source::World(read), &mut dirty);
            self.world.apply(key, object, &mut touched);
        }
        let mut effect = Effect::default();
        while let Some((_, id)) = dirty.pop_first() {
            let Some((unit, before)) = self.slots.get_mut().unit(id) else { continue };
            if unit.is_lazy() {
                effect.stale.push(unit);
                continue;
            }
            if self.compute(&unit) != before {
                let source = Source::Unit(unit);
                self.slots.get_mut().mark(&source, &mut dirty);
                if let Source::Unit(unit) = source {
                    effect.changed.push(unit);
                }
            }
        }
        effect
    }

    /// Runs `unit` again, and remembers its value until [`Self::forget`].
    pub(crate) fn renew(&mut self, unit: &Unit) -> Value {
        let value = self.compute(unit);
        self.slots.get_mut().hold(unit);
        value
    }

    /// Runs `unit`, which was left for later, again if it is still remembered; returns the units
    /// that may have another value since it has one.
    pub(crate) fn refresh(&mut self, unit: &Unit) -> Vec<Unit> {
        let Some(before) = self.slots.get_mut().value_of(unit) else { return Vec::new() };
        if self.compute(unit) == before {
            return Vec::new();
        }
        let mut dirty = BTreeSet::new();
        let slots = self.slots.get_mut();
        slots.mark(&Source::Unit(unit.clone()), &mut dirty);
        dirty.into_iter().filter_map(|(_, id)| Some(slots.unit(id)?.0)).collect()
    }

    /// The value of `unit` if it is remembered until [`Self::forget`].
    pub(crate) fn held(&self, unit: &Unit) -> Option<Value> {
        self.slots.borrow().held_value_of(unit)
    }

    /// Forgets `unit`, unless others read it, and the units that only it read.
    pub(crate) fn forget(&self, unit: &Unit) {
        self.slots.borrow_mut().forget(unit);
        self.forget_labels();
    }

    /// Has the world forget the labels that nothing asks about any more.
    fn forget_labels(&self) {
        let unread = self.slots.borrow_mut().take_unread_labels();
        unread.iter().for_each(|bucket| self.world.forget_label(bucket));
    }

    /// Runs the next `count` remembered units again, from `cursor` on, and returns
    /// those whose remembered value is wrong, that is, differs.
    ///
    /// A unit is checked against the remembered values of what it reads. Since each
    /// of those is checked in its turn, a round without a difference shows that
    /// everything is as a rebuild from the objects alone would make it.
    pub(crate) fn check(&mut self, cursor: &mut usize, count: usize) -> Vec<Unit> {
        let mut wrong = Vec::new();
        for id in self.slots.get_mut().next_units(cursor, count) {
            let Some((unit, known)) = self.slots.get_mut().unit(id) else { continue };
            let view = View::new(self, &unit);
            let value = unit.run(&view);
            let reads = view.into_reads();
            self.slots.get_mut().let_go(reads);
            self.forget_labels();
            if value != known {
                wrong.push(unit);
            }
        }
        wrong
    }

    fn compute(&self, unit: &Unit) -> Value {
        let before = patterns::compiled();
        let view = View::new(self, unit);
        let value = unit.run(&view);
        let cost = unit.cost().wrapping_add(patterns::compiled().wrapping_sub(before));
        self.work.set(self.work.get().wrapping_add(cost));
        let reads = view.into_reads();
        self.slots.borrow_mut().set(unit, value.clone(), reads);
        self.forget_labels();
        value
    }
}

#[cfg(test)]
mod tests;
