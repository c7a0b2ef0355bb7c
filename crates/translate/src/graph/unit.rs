//! What is computed: one unit for each thing that others read, or that is asked for.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use weft_api::{Diagnostic, Key};
use weft_config::Interest;

use crate::{
    Class, Group, Labelled, Resolved,
    closure::Piece,
    clusters::{
        destination_rules::{self, HostPolicies},
        endpoints::{self, Addresses, Chunks},
        label_sets::{self, LabelSets},
    },
    diagnose::{
        self, skipped_gateways,
        virtual_services::left_out::{self, LeftOut},
    },
    directory::{self, DirectoryEntry, Reach, Slot},
    graph::view::View,
    listeners::{self, Limited, Served},
    model::{
        client,
        mesh_config::{self, Mesh},
        picked::{self, Exposed, Picked, PodSelector},
        registry::{self, Definition},
        sidecar::{self, Imports},
        sight::{self, FirstAt, Sight},
    },
    routes::{
        delegates::{self, DelegateSize, Merged},
        foreign::{self, Chosen, RuleKind},
        shared::{self, SharedRules},
        virtual_services,
    },
    translator::{self, COST_OF_GATEWAY},
};

/// Something that is computed from the world and from other units.
///
/// The order is the order of running: a unit reads only units of earlier kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Unit {
    /// The mesh's settings.
    Mesh,
    /// What a sidecar lets its workloads see.
    Imports(Key),
    /// The group of clients.
    Group(Labelled),
    /// The destination rules that name a host or pattern.
    DestinationRulesOf(String),
    /// The destination rules for a host or pattern, as seen by all groups that these rules do not
    /// tell apart.
    SharedPolicies(String, Arc<Group>),
    /// The destination rules for a host or pattern, as seen by a group.
    HostPolicies(String, Arc<Group>),
    /// How much a virtual service says that others may delegate to.
    DelegateSize(Key),
    /// How much a virtual service takes from delegates.
    Taken(Key),
    /// The virtual services of a namespace that would take too much together.
    TakingTooMuch(String),
    /// Whether a virtual service is one of them.
    TakesTooMuch(Key),
    /// Whether a virtual service is closed as a whole.
    IsClosed(Key),
    /// The HTTP rules of a virtual service with those of its delegates.
    Merged(Key),
    /// What decides where a virtual service speaks.
    VirtualService(Key),
    /// The virtual services for sidecars that name a host or pattern.
    VirtualServicesOf(String),
    /// Those that clients in a namespace see.
    VirtualServicesFor(String, String),
    /// What an object says of hosts.
    Definitions(Key),
    /// Which objects have an address, for clients of every namespace.
    FirstAt(IpAddr),
    /// The virtual services whose rules the clients of a namespace use for a host.
    Chosen(String, String, RuleKind),
    /// The pods that labels pick.
    Picked(PodSelector),
    /// The ports of a pod that hosts lead to.
    Exposed(Key),
    /// The hosts that a Gateway serves.
    Served(Key),
    /// The names of the labels in subsets of a host or pattern.
    LabelsInSubsets(String),
    /// The endpoints of a host that an object defines.
    Chunks(Key, String),
    /// The labels of those endpoints.
    LabelSets(Key, String),
    /// The addresses behind it, ready or not.
    Addresses(Key),
    /// What an object adds to directories.
    DirectoryEntry(Key),
    /// The objects of a slot in a directory.
    DirectorySlot(Reach, u8),
    /// The chunks with the addresses behind a headless host.
    DirectoryAddresses(Key),
    /// What a virtual service says to the sidecars of a group on a port.
    SharedRules(Key, Arc<Group>, u16),
    /// The answer to an interest.
    Answer(Class, Interest),
    /// The virtual services that are left out for clients of other namespaces, of those that
    /// name a host or pattern.
    LeftOut(String),
    /// The pods of gateways that are not examined.
    SkippedGateways,
    /// Whether the gateway in a pod is one of them.
    IsSkipped(Key),
    /// What the gateway in a pod does not serve in full.
    Limited(Key),
    /// What is wrong with an object, seen together with the others.
    Findings(Key),
}

/// What a unit computed.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Mesh(Arc<Mesh>),
    Imports(Option<Arc<Imports>>),
    Group(Arc<Group>),
    DestinationRulesOf(Arc<Vec<Arc<destination_rules::Summary>>>),
    HostPolicies(Arc<HostPolicies>),
    DelegateSize(DelegateSize),
    Taken(usize),
    TakingTooMuch(Arc<BTreeSet<Arc<Key>>>),
    TakesTooMuch(bool),
    IsClosed(bool),
    Merged(Option<Arc<Merged>>),
    VirtualService(Option<Arc<virtual_services::Summary>>),
    VirtualServices(Arc<Vec<Arc<virtual_services::Summary>>>),
    Definitions(Arc<Vec<Arc<Definition>>>),
    FirstAt(Arc<FirstAt>),
    Chosen(Arc<Chosen>),
    Picked(Arc<Picked>),
    Exposed(Arc<Exposed>),
    Served(Option<Arc<Served>>),
    LabelsInSubsets(Arc<BTreeSet<String>>),
    Chunks(Arc<Chunks>),
    LabelSets(Arc<LabelSets>),
    Addresses(Arc<Addresses>),
    DirectoryEntry(Arc<DirectoryEntry>),
    DirectorySlot(Arc<Slot>),
    DirectoryAddresses(Arc<Vec<Piece>>),
    SharedRules(Arc<SharedRules>),
    Answer(Arc<Resolved>),
    LeftOut(Arc<LeftOut>),
    SkippedGateways(Arc<BTreeSet<Arc<Key>>>),
    IsSkipped(bool),
    Limited(Option<Arc<Limited>>),
    Findings(Arc<Vec<Diagnostic>>),
}

impl Unit {
    /// The place of its kind in the order of running.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Mesh => 0,
            Self::Imports(_) | Self::DelegateSize(_) | Self::IsClosed(_) => 1,
            Self::Group(_) => 2,
            Self::DestinationRulesOf(_) | Self::Taken(_) => 3,
            Self::SharedPolicies(..) | Self::TakingTooMuch(_) => 4,
            Self::HostPolicies(..) | Self::TakesTooMuch(_) => 5,
            Self::Merged(_) => 7,
            Self::VirtualService(_) => 8,
            Self::VirtualServicesOf(_) => 9,
            Self::VirtualServicesFor(..) => 10,
            Self::Definitions(_) => 11,
            Self::Chosen(..) | Self::FirstAt(_) => 12,
            Self::Picked(_) => 13,
            Self::Exposed(_) => 14,
            Self::Served(_) => 15,
            Self::LabelsInSubsets(_) => 16,
            Self::Chunks(..) => 17,
            Self::LabelSets(..) => 18,
            Self::Addresses(_) => 19,
            Self::DirectoryEntry(_) => 20,
            Self::DirectorySlot(..) => 21,
            Self::DirectoryAddresses(_) => 22,
            Self::SharedRules(..) => 23,
            Self::Answer(..) => 24,
            Self::LeftOut(_) => 25,
            Self::SkippedGateways => 26,
            Self::IsSkipped(_) => 27,
            Self::Limited(_) => 28,
            Self::Findings(_) => 29,
        }
    }

    /// Whether it is run when there is time, and not with the change that touches
    /// it: only such units read it, and no proxy waits for it.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(
            self,
            Self::Picked(_)
                | Self::Exposed(_)
                | Self::LeftOut(_)
                | Self::SkippedGateways
                | Self::IsSkipped(_)
                | Self::Limited(_)
                | Self::Findings(_)
        )
    }

    /// What it costs to run it besides what it reads, in objects that are examined; nothing for
    /// what takes no longer than one.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Limited(_) | Self::SkippedGateways => COST_OF_GATEWAY,
            _ => 0,
        }
    }

    /// Computes it.
    pub(crate) fn run(&self, view: &View<'_>) -> Value {
        match self {
            Self::Mesh => Value::Mesh(Arc::new(mesh_config::read(view))),
            Self::Imports(key) => Value::Imports(sidecar::imports(key, view).map(Arc::new)),
            Self::Group(labelled) => Value::Group(Arc::new(client::group(labelled, view))),
            Self::DestinationRulesOf(host) => {
                Value::DestinationRulesOf(Arc::new(destination_rules::summaries(host, view)))
            }
            Self::SharedPolicies(host, group) => {
                let policies = destination_rules::shared_policies(host, group, view);
                Value::HostPolicies(Arc::new(policies))
            }
            Self::HostPolicies(host, group) => {
                Value::HostPolicies(destination_rules::host_policies(host, group, view))
            }
            Self::DelegateSize(key) => Value::DelegateSize(delegates::size(key, view)),
            Self::Taken(key) => Value::Taken(delegates::taken(key, view)),
            Self::TakingTooMuch(of) => Value::TakingTooMuch(delegates::taking_too_much(of, view)),
            Self::TakesTooMuch(key) => Value::TakesTooMuch(delegates::takes_too_much(key, view)),
            Self::IsClosed(key) => Value::IsClosed(delegates::is_closed(key, view)),
            Self::Merged(key) => Value::Merged(delegates::merged(key, view).map(Arc::new)),
            Self::VirtualService(key) => {
                Value::VirtualService(virtual_services::summary(key, view).map(Arc::new))
            }
            Self::VirtualServicesOf(host) => {
                Value::VirtualServices(Arc::new(virtual_services::summaries(host, view)))
            }
            Self::VirtualServicesFor(host, namespace) => {
                let seen = virtual_services::seen_from(namespace, host, view);
                Value::VirtualServices(Arc::new(seen))
            }
            Self::Definitions(key) => {
                Value::Definitions(Arc::new(registry::definitions(key, view)))
            }
            Self::FirstAt(address) => {
                Value::FirstAt(Arc::new(sight::first_at(*address, Sight::Everyone, view)))
            }
            Self::Chosen(host, namespace, kind) => {
                Value::Chosen(Arc::new(foreign::chosen(host, namespace, *kind, view)))
            }
            Self::Picked(selector) => Value::Picked(Arc::new(picked::picked(selector, view))),
            Self::Exposed(pod) => Value::Exposed(Arc::new(picked::exposed(pod, view))),
            Self::Served(gateway) => Value::Served(listeners::served(gateway, view).map(Arc::new)),
            Self::LabelsInSubsets(name) => {
                let labels = destination_rules::labels_in_subsets(name, view);
                Value::LabelsInSubsets(Arc::new(labels))
            }
            Self::Chunks(owner, host) => {
                Value::Chunks(Arc::new(endpoints::chunks(owner, host, view)))
            }
            Self::LabelSets(owner, host) => {
                Value::LabelSets(Arc::new(label_sets::label_sets(owner, host, view)))
            }
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
            Self::SharedRules(service, group, port) => {
                Value::SharedRules(shared::of_sidecars(service, group, *port, view))
            }
            Self::Answer(class, interest) => {
                Value::Answer(Arc::new(translator::answer(class, interest, view)))
            }
            Self::LeftOut(host) => Value::LeftOut(Arc::new(left_out::left_out(host, view))),
            Self::SkippedGateways => {
                Value::SkippedGateways(Arc::new(skipped_gateways::skipped_gateways(view)))
            }
            Self::IsSkipped(pod) => Value::IsSkipped(view.skipped_gateways().contains(pod)),
            Self::Limited(pod) => Value::Limited(listeners::limited(pod, view)),
            Self::Findings(key) => Value::Findings(Arc::new(diagnose::findings(key, view))),
        }
    }
}
