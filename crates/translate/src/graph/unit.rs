//! What is computed: one unit for each thing that others read, or that is asked for.

use std::{collections::BTreeSet, sync::Arc};

use weft_api::{Diagnostic, Key};
use weft_config::Interest;

use crate::{
    Class, Group, Labelled, Resolved,
    closure::Piece,
    clusters::{
        destination_rules,
        endpoints::{self, Addresses, Chunks},
    },
    diagnose,
    directory::{self, DirectoryEntry, Reach, Slot},
    graph::view::View,
    listeners::{self, Limited},
    model::{
        client,
        mesh_config::{self, Mesh},
        registry::{self, Definition},
    },
    translator,
};

/// Something that is computed from the world and from other units.
///
/// The order is the order of running: a unit reads only units of earlier kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    /// The mesh's settings.
    Mesh,
    /// The group of clients.
    Group(Labelled),
    /// What an object says of a host.
    Definition(Key),
    /// The names of the labels in subsets of a host or pattern.
    LabelsInSubsets(String),
    /// The endpoints of the host that an object defines.
    Chunks(Key),
    /// The addresses behind it, ready or not.
    Addresses(Key),
    /// What an object adds to directories.
    DirectoryEntry(Key),
    /// The objects of a slot in a directory.
    DirectorySlot(Reach, u8),
    /// The chunks with the addresses behind a headless host.
    DirectoryAddresses(Key),
    /// The answer to an interest.
    Answer(Class, Interest),
    /// What the gateways of a Gateway do not serve in full.
    Limited(Key),
    /// What is wrong with an object, seen together with the others.
    Findings(Key),
}

/// What a unit computed.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Mesh(Arc<Mesh>),
    Group(Arc<Group>),
    Definition(Option<Arc<Definition>>),
    LabelsInSubsets(Arc<BTreeSet<String>>),
    Chunks(Arc<Chunks>),
    Addresses(Arc<Addresses>),
    DirectoryEntry(Arc<DirectoryEntry>),
    DirectorySlot(Arc<Slot>),
    DirectoryAddresses(Arc<Vec<Piece>>),
    Answer(Arc<Resolved>),
    Limited(Arc<Limited>),
    Findings(Arc<Vec<Diagnostic>>),
}

impl Unit {
    /// The place of its kind in the order of running.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Mesh => 0,
            Self::Group(_) => 1,
            Self::Definition(_) => 2,
            Self::LabelsInSubsets(_) => 3,
            Self::Chunks(_) => 4,
            Self::Addresses(_) => 5,
            Self::DirectoryEntry(_) => 6,
            Self::DirectorySlot(..) => 7,
            Self::DirectoryAddresses(_) => 8,
            Self::Answer(..) => 9,
            Self::Limited(_) => 10,
            Self::Findings(_) => 11,
        }
    }

    /// Whether it is run when there is time, and not with the change that touches
    /// it: no other unit reads it, and no proxy waits for it.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self, Self::Findings(_))
    }

    /// Computes it.
    pub(crate) fn run(&self, view: &View<'_>) -> Value {
        match self {
            Self::Mesh => Value::Mesh(Arc::new(mesh_config::read(view))),
            Self::Group(labelled) => Value::Group(Arc::new(client::group(labelled, view))),
            Self::Definition(key) => {
                Value::Definition(registry::definition(key, view).map(Arc::new))
            }
            Self::LabelsInSubsets(name) => {
                let labels = destination_rules::labels_in_subsets(name, view);
                Value::LabelsInSubsets(Arc::new(labels))
            }
            Self::Chunks(service) => Value::Chunks(Arc::new(endpoints::chunks(service, view))),
            Self::Addresses(service) => {
                Value::Addresses(Arc::new(endpoints::addresses(service, view)))
            }
            Self::DirectoryEntry(key) => {
                Value::DirectoryEntry(Arc::new(directory::entry(key, view)))
            }
            Self::DirectorySlot(reach, slot) => {
                Value::DirectorySlot(Arc::new(directory::of_slot(reach, *slot, view)))
            }
            Self::DirectoryAddresses(service) => {
                Value::DirectoryAddresses(Arc::new(directory::of_endpoints(service, view)))
            }
            Self::Answer(class, interest) => {
                Value::Answer(Arc::new(translator::answer(class, interest, view)))
            }
            Self::Limited(key) => Value::Limited(listeners::limited(key, view)),
            Self::Findings(key) => Value::Findings(Arc::new(diagnose::findings(key, view))),
        }
    }
}
