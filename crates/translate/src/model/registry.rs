//! Hosts of the mesh: what each of them is, in order of the objects that define it.
//!
//! Everything that routes, balances or lists hosts sees a [`Definition`] and does
//! not know which kind of object it comes from. Kubernetes Services and
//! ServiceEntries are sources of definitions; further sources add a module here and buckets in
//! the world.

mod kubernetes;
mod entries;

pub(crate) use entries::{hosts_of_entry, ranges_of_entry};
pub(crate) use kubernetes::{Inbound, host_of, inbound, slices_of, spelled, with_endpoint};

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use weft_api::{Key, Kind, service_entry::AddressRange};
use weft_config::{Outside, Upstream};

use crate::{
    graph::{objects::Bucket, view::View},
    model::{age::Age, mesh_config::Mesh, protocol::Spoken, visibility::Exports},
};

/// What one object says of a host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    /// The object.
    pub(crate) owner: Key,
    /// The host's full name.
    pub(crate) host: String,
    /// Names, the full one among them, under which every client may call it.
    pub(crate) everyone: Vec<String>,
    /// Names under which only clients of the owner's namespace may call it.
    pub(crate) neighbours: Vec<String>,
    /// Ports that connections are made to.
    pub(crate) ports: Arc<Ports>,
    /// What a connection to it reaches.
    pub(crate) resolution: Resolution,
    /// Addresses that clients dial.
    pub(crate) addresses: Arc<Vec<AddressRange>>,
    /// The namespaces that see it; what the mesh's settings say when there are none.
    exports: Option<Arc<Exports>>,
    /// How old the object is.
    pub(crate) age: Age,
    /// How many hosts the object defines, all with the same endpoints.
    pub(crate) siblings: usize,
}

/// Ports in the order in which they are written, found by their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ports {
    all: Vec<Port>,
    /// Indexes of the first ones.
    by_number: BTreeMap<u16, usize>,
}

impl FromIterator<Port> for Ports {
    fn from_iter<I: IntoIterator<Item = Port>>(ports: I) -> Self {
        let all: Vec<Port> = ports.into_iter().collect();
        let mut by_number = BTreeMap::new();
        for (at, port) in all.iter().enumerate() {
            by_number.entry(port.number).or_insert(at);
        }
        Self { all, by_number }
    }
}

impl Deref for Ports {
    type Target = [Port];

    fn deref(&self) -> &[Port] {
        &self.all
    }
}

/// A port of a host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Port {
    /// The port that clients dial.
    pub(crate) number: u16,
    /// Its name among the ports of the host's endpoints.
    pub(crate) name: String,
    /// What it speaks, as declared.
    pub(crate) spoken: Spoken,
    /// The port of endpoints that do not say otherwise, where that is a number.
    pub(crate) target: Option<u16>,
}

/// What a connection to a host reaches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resolution {
    /// One of its endpoints.
    Endpoints,
    /// The endpoint whose address the client dialled.
    Dialled,
    /// The addresses of this name: another host of the mesh, or one outside.
    Name(String),
    /// The addresses of the names of its endpoints, or of the host where it has none.
    Names(Spread),
    /// The addresses of the host that a request names.
    Requested,
}

/// Which of the addresses of a name are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// All of them.
    All,
    /// The first that can be connected to.
    First,
}

impl Definition {
    /// Its port `number`.
    pub(crate) fn port(&self, number: u16) -> Option<&Port> {
        self.ports.by_number.get(&number).map(|at| &self.ports.all[*at])
    }

    /// How many ports stand before port `number`.
    pub(crate) fn rank(&self, number: u16) -> usize {
        self.ports.by_number.get(&number).copied().unwrap_or_default()
    }

    /// Whether clients dial the addresses of its endpoints.
    pub(crate) fn is_headless(&self) -> bool {
        self.resolution == Resolution::Dialled
    }

    /// Its ports on which no address leads to it, but the server name of TLS.
    pub(crate) fn ports_by_server_name(&self) -> impl Iterator<Item = &Port> {
        let is_named = self.addresses.is_empty() && !(self.is_service() && self.is_headless());
        self.ports.iter().filter(move |port| is_named && port.spoken == Spoken::Tls)
    }

    /// The namespaces that see it, as the object or else the mesh's settings say.
    pub(crate) fn exports<'d>(&'d self, mesh: &'d Mesh) -> &'d Exports {
        self.exports.as_deref().unwrap_or(&mesh.service_exports)
    }

    /// Whether it is a Service of Kubernetes, whose host and addresses no other object takes.
    pub(crate) fn is_service(&self) -> bool {
        self.owner.kind == Kind::Service
    }

    /// Whether it counts for clients of every namespace.
    pub(crate) fn is_for_everyone(&self, mesh: &Mesh) -> bool {
        self.is_service() || self.exports(mesh).is_public()
    }

    /// Its place among the definitions of one host or address: Services, then the older ones.
    pub(crate) fn order(&self) -> (bool, &Age) {
        (!self.is_service(), &self.age)
    }

    /// Its name and namespace in metrics.
    pub(crate) fn name_in_metrics(&self) -> (String, String) {
        let name = if self.is_service() { &self.owner.name } else { &self.host };
        (name.clone(), self.owner.namespace.clone())
    }

    /// Whether clients in `namespace` see it.
    pub(crate) fn is_seen_from(&self, namespace: &str, mesh: &Mesh) -> bool {
        self.exports(mesh).is_visible(&self.owner.namespace, namespace)
    }

    /// The names under which clients in `namespace` may call it.
    pub(crate) fn names_in(&self, namespace: &str) -> Vec<String> {
        let near = self.neighbours.iter().filter(|_| self.owner.namespace == namespace);
        self.everyone.iter().chain(near).cloned().collect()
    }
}

impl Port {
    /// How HTTP is spoken to it.
    pub(crate) fn upstream(&self) -> Upstream {
        self.spoken.upstream()
    }
}

/// What the object called `key` says of hosts.
///
/// A name for something outside of the mesh is no host of it where nothing outside
/// may be reached.
pub(crate) fn definitions(key: &Key, view: &View<'_>) -> Vec<Arc<Definition>> {
    match key.kind {
        Kind::Service => {
            let found = view.service(key).map(|one| kubernetes::definition(key, one, view));
            found.filter(|found| is_allowed(found, view)).map(Arc::new).into_iter().collect()
        }
        Kind::ServiceEntry => view
            .service_entry(key)
            .map_or(Vec::new(), |entry| entries::definitions(key, entry, view)),
        _ => Vec::new(),
    }
}

/// Whether `found`, if it is a name for something else, leads to where clients may go.
fn is_allowed(found: &Definition, view: &View<'_>) -> bool {
    match &found.resolution {
        Resolution::Name(name) if view.mesh().outside == Outside::Refuse => {
            !view.keys(Bucket::Defines(name.clone())).is_empty()
        }
        _ => true,
    }
}
