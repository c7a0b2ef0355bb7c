//! Remembered values and the edges between them, by small numbers.
//!
//! A mesh has millions of edges: each is four bytes in either direction, and what
//! it leads to is kept once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::Source;
use crate::graph::{
    objects::{Bucket, Read},
    unit::{Unit, Value},
};

/// The number of a source.
pub(crate) type SourceId = u32;

/// Units to run: by kind, so that a unit runs after those that it reads.
pub(super) type Dirty = BTreeSet<(u8, SourceId)>;

/// Sources, values and edges.
///
/// Invariants: `ids` has the occupied slots by their sources. `readers` and `reads`
/// are each other's inverse. A slot is occupied while it has a value, has readers,
/// or is being read; it has a value no longer than it has readers or is held.
#[derive(Default)]
pub(super) struct Slots {
    ids: HashMap<Arc<Source>, SourceId>,
    slots: Vec<Slot>,
    free: Vec<SourceId>,
    /// Labels of pods that were no longer read at some time since this was last taken.
    unread_labels: Vec<Bucket>,
}

#[derive(Default)]
struct Slot {
    source: Option<Arc<Source>>,
    node: Option<Node>,
    readers: HashSet<SourceId>,
    /// Whether its value is wanted though no unit may read it.
    held: bool,
}

struct Node {
    value: Value,
    /// Sorted, without repeats.
    reads: Box<[SourceId]>,
}

impl Slots {
    /// The number of `source`.
    pub(super) fn intern(&mut self, source: Source) -> SourceId {
        if let Some(id) = self.ids.get(&source) {
            return *id;
        }
        let source = Arc::new(source);
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            SourceId::try_from(self.slots.len() - 1)
                .expect("fewer sources than memory has room for")
        });
        self.slots[id as usize].source = Some(Arc::clone(&source));
        self.ids.insert(source, id);
        id
    }

    /// How many sources there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The remembered value of `unit`.
    pub(super) fn value_of(&self, unit: &Unit) -> Option<Value> {
        let id = self.ids.get(&Source::Unit(unit.clone()))?;
        self.slots[*id as usize].node.as_ref().map(|node| node.value.clone())
    }

    /// The same if the value is held.
    pub(super) fn held_value_of(&self, unit: &Unit) -> Option<Value> {
        let slot = &self.slots[*self.ids.get(&Source::Unit(unit.clone()))? as usize];
        slot.node.as_ref().filter(|_| slot.held).map(|node| node.value.clone())
    }

    /// The unit with number `id`, and its value.
    pub(super) fn unit(&self, id: SourceId) -> Option<(Unit, Value)> {
        let slot = self.slots.get(id as usize)?;
        match (slot.source.as_deref()?, &slot.node) {
            (Source::Unit(unit), Some(node)) => Some((unit.clone(), node.value.clone())),
            _ => None,
        }
    }

    /// The numbers of the next `count` units from `cursor` on, round and round.
    pub(super) fn next_units(&self, cursor: &mut usize, count: usize) -> Vec<SourceId> {
        let length = self.slots.len();
        let mut found = Vec::new();
        for _ in 0..length {
            if found.len() == count {
                break;
            }
            *cursor = (*cursor + 1) % length;
            if self.slots[*cursor].node.is_some() {
                found.push(*cursor as SourceId);
            }
        }
        found
    }

    /// Adds the readers of `source` to `dirty`.
    pub(super) fn mark(&self, source: &Source, dirty: &mut Dirty) {
        let Some(id) = self.ids.get(source) else { return };
        let readers = self.slots[*id as usize].readers.iter();
        dirty.extend(readers.filter_map(|reader| {
            match self.slots[*reader as usize].source.as_deref()? {
                Source::Unit(unit) => Some((unit.rank(), *reader)),
                Source::World(_) => None,
            }
        }));
    }

    /// Remembers that `unit` has `value`, which was made from `reads`.
    pub(super) fn set(&mut self, unit: &Unit, value: Value, mut reads: Vec<SourceId>) {
        reads.sort_unstable();
        reads.dedup();
        let id = self.intern(Source::Unit(unit.clone()));
        let before = self.slots[id as usize].node.take().map(|node| node.reads).unwrap_or_default();
        for read in reads.iter().filter(|read| before.binary_search(read).is_err()) {
            self.slots[*read as usize].readers.insert(id);
        }
        let unread: Vec<SourceId> =
            before.iter().copied().filter(|read| reads.binary_search(read).is_err()).collect();
        self.slots[id as usize].node = Some(Node { value, reads: reads.into() });
        self.stop_reading(id, unread);
    }

    /// Keeps the value of `unit` until it is forgotten.
    pub(super) fn hold(&mut self, unit: &Unit) {
        if let Some(id) = self.ids.get(&Source::Unit(unit.clone())) {
            self.slots[*id as usize].held = true;
        }
    }

    /// Forgets `unit`, unless others read it, and the units that only it read.
    pub(super) fn forget(&mut self, unit: &Unit) {
        let Some(id) = self.ids.get(&Source::Unit(unit.clone())).copied() else { return };
        let slot = &mut self.slots[id as usize];
        slot.held = false;
        if slot.readers.is_empty() {
            self.drop_value(id);
        }
    }

    /// Frees those of `reads` that nothing reads.
    pub(super) fn let_go(&mut self, reads: Vec<SourceId>) {
        for read in reads {
            let slot = &self.slots[read as usize];
            if slot.source.is_some() && slot.readers.is_empty() && !slot.held {
                self.drop_value(read);
            }
        }
    }

    /// Drops the value of `id`, those that only it read, and so on.
    fn drop_value(&mut self, id: SourceId) {
        let reads = self.slots[id as usize].node.take().map(|node| node.reads).unwrap_or_default();
        self.free_unless_read(id);
        self.stop_reading(id, reads.into_vec());
    }

    fn stop_reading(&mut self, reader: SourceId, reads: Vec<SourceId>) {
        let mut open = vec![(reader, reads)];
        while let Some((reader, reads)) = open.pop() {
            for read in reads {
                let slot = &mut self.slots[read as usize];
                slot.readers.remove(&reader);
                if !slot.readers.is_empty() || slot.held {
                    continue;
                }
                if let Some(node) = slot.node.take() {
                    open.push((read, node.reads.into_vec()));
                }
                self.free_unless_read(read);
            }
        }
    }

    /// Labels of pods that nothing reads any more, since this was last asked.
    pub(super) fn take_unread_labels(&mut self) -> Vec<Bucket> {
        let mut unread = std::mem::take(&mut self.unread_labels);
        unread
            .retain(|bucket| !self.ids.contains_key(&Source::World(Read::Bucket(bucket.clone()))));
        unread
    }

    fn free_unless_read(&mut self, id: SourceId) {
        let slot = &mut self.slots[id as usize];
        if !slot.readers.is_empty() || slot.node.is_some() {
            return;
        }
        if let Some(source) = slot.source.take() {
            self.ids.remove(&source);
            self.free.push(id);
            if let Source::World(Read::Bucket(bucket @ Bucket::PodLabel(..))) = &*source {
                self.unread_labels.push(bucket.clone());
            }
        }
    }
}
