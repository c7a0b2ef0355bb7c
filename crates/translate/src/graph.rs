//! Units that are run when first asked for, remembered, and run again when
//! something they read has changed.
//!
//! The graph does not know what a unit computes beyond calling [`run`]; nothing
//! is ever invalidated by hand.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use weft_api::{Diagnostic, Key};
use weft_config::Interest;

use crate::{
    Class, Resolved, closure::Piece, closure::Pool, diagnose, directory, directory::Listing,
    endpoints, endpoints::Chunks, mesh, mesh::Mesh, translator, view::View, world::Read,
    world::World,
};

/// Something that is computed from the world and from other units.
///
/// The order is the order of running: a unit reads only units of earlier kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    /// The mesh's settings.
    Mesh,
    /// The endpoints of a service.
    Chunks(Key),
    /// What a service or VirtualService adds to directories.
    Listing(Key),
    /// What clients of a namespace may use.
    Directory(String),
    /// The answer to an interest.
    Answer(Class, Interest),
    /// What is wrong with an object, seen together with the others.
    Findings(Key),
}

/// What a unit computed.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Mesh(Arc<Mesh>),
    Chunks(Arc<Chunks>),
    Listing(Arc<Listing>),
    Directory(Piece),
    Answer(Arc<Resolved>),
    Findings(Arc<Vec<Diagnostic>>),
}

/// What a unit reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    World(Read),
    Unit(Unit),
}

struct Node {
    value: Value,
    reads: HashSet<Source>,
}

/// The world and everything computed from it.
#[derive(Default)]
pub(crate) struct Graph {
    world: World,
    nodes: RefCell<HashMap<Unit, Node>>,
    readers: RefCell<HashMap<Source, HashSet<Unit>>>,
    pool: Pool,
}

impl Graph {
    /// Every object.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// Pieces shared among answers.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The value of `unit`, computed if it is not remembered.
    pub(crate) fn value(&self, unit: &Unit) -> Value {
        if let Some(node) = self.nodes.borrow().get(unit) {
            return node.value.clone();
        }
        self.compute(unit)
    }

    /// Applies changes, runs what they touch, and tells which units now have
    /// another value.
    pub(crate) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<weft_api::Object>)>,
    ) -> Vec<Unit> {
        let mut dirty = BTreeSet::new();
        for (key, object) in changes {
            for read in self.world.apply(key, object) {
                self.mark(&Source::World(read), &mut dirty);
            }
        }
        let mut changed = Vec::new();
        while let Some(unit) = dirty.pop_first() {
            let Some(before) = self.nodes.borrow().get(&unit).map(|node| node.value.clone()) else {
                continue;
            };
            if self.compute(&unit) != before {
                self.mark(&Source::Unit(unit.clone()), &mut dirty);
                changed.push(unit);
            }
        }
        changed
    }

    /// Forgets `unit`, and the units that only it read.
    pub(crate) fn forget(&self, unit: &Unit) {
        let mut unread = vec![unit.clone()];
        while let Some(unit) = unread.pop() {
            let Some(node) = self.nodes.borrow_mut().remove(&unit) else { continue };
            for source in &node.reads {
                unread.extend(self.stop_reading(source, &unit));
            }
        }
    }

    fn mark(&self, source: &Source, dirty: &mut BTreeSet<Unit>) {
        if let Some(units) = self.readers.borrow().get(source) {
            dirty.extend(units.iter().cloned());
        }
    }

    fn compute(&self, unit: &Unit) -> Value {
        let view = View::new(self);
        let value = run(unit, &view);
        let reads = view.into_reads();
        let before = self
            .nodes
            .borrow_mut()
            .insert(unit.clone(), Node { value: value.clone(), reads: HashSet::new() })
            .map(|node| node.reads)
            .unwrap_or_default();
        for source in reads.difference(&before) {
            let mut readers = self.readers.borrow_mut();
            readers.entry(source.clone()).or_default().insert(unit.clone());
        }
        let unread: Vec<Unit> = before
            .difference(&reads)
            .filter_map(|source| self.stop_reading(source, unit))
            .collect();
        if let Some(node) = self.nodes.borrow_mut().get_mut(unit) {
            node.reads = reads;
        }
        for unit in unread {
            self.forget(&unit);
        }
        value
    }

    /// Takes `unit` off the readers of `source`, and tells which unit nobody
    /// reads any more.
    fn stop_reading(&self, source: &Source, unit: &Unit) -> Option<Unit> {
        let mut readers = self.readers.borrow_mut();
        let units = readers.get_mut(source)?;
        units.remove(unit);
        if !units.is_empty() {
            return None;
        }
        readers.remove(source);
        match source {
            Source::Unit(unit) => Some(unit.clone()),
            Source::World(_) => None,
        }
    }
}

fn run(unit: &Unit, view: &View<'_>) -> Value {
    match unit {
        Unit::Mesh => Value::Mesh(Arc::new(mesh::read(view))),
        Unit::Chunks(service) => Value::Chunks(Arc::new(endpoints::chunks(service, view))),
        Unit::Listing(key) => Value::Listing(Arc::new(directory::listing(key, view))),
        Unit::Directory(namespace) => Value::Directory(directory::of_namespace(namespace, view)),
        Unit::Answer(class, interest) => {
            Value::Answer(Arc::new(translator::answer(class, interest, view)))
        }
        Unit::Findings(key) => Value::Findings(Arc::new(diagnose::findings(key, view))),
    }
}
