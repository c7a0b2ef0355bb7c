//! Backends: a host, or a part of it, on one port, as a class calls it.

use std::{collections::BTreeMap, sync::Arc};

use weft_config::{
    Backend, Discovery, LoadBalancer, NamedEndpoint, Origin, Resource, Upstream, backend::Subset,
};

use crate::{
    Group,
    closure::Closure,
    clusters::{
        destination_rules::{self, Choice, DefinedSubset},
        members,
    },
    graph::view::View,
    model::{
        mesh_config::Mesh,
        registry::{Definition, Resolution, Spread},
        sight::{self, Sight},
    },
    routes::rules::Site,
};

/// Takes connections to the application, to where the client meant them to go.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// Takes connections nowhere.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";

/// How many times one host may stand for another.
const ALIASES: usize = 4;

/// A host, one of its ports, and perhaps a part of it: what rules send requests to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendRef {
    /// The host's full name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A part of it.
    pub subset: Option<String>,
}

impl BackendRef {
    /// The backend's name in Istio's words; it is never read back.
    pub(crate) fn name(&self) -> String {
        let subset = self.subset.as_deref().unwrap_or_default();
        format!("outbound|{}|{subset}|{}", self.port, self.host)
    }
}

/// What `host` is on `port`, on any where none is given, for clients of `group`, if it is exported
/// to them.
pub(crate) fn seen(
    host: &str,
    port: Option<u16>,
    group: &Group,
    mesh: &Mesh,
    view: &View<'_>,
) -> Option<Arc<Definition>> {
    let found = sight::definition(host, port, Sight::of(group), view);
    found.filter(|definition| definition.is_seen_from(&group.namespace, mesh))
}

/// The host that `host` stands for: itself, unless it is a name for another host of
/// the mesh that every namespace may see.
pub(crate) fn aliased(host: &str, view: &View<'_>) -> String {
    let mut host = host.to_owned();
    let mesh = view.mesh();
    let is_known =
        |name: &str| view.definitions(name).iter().any(|found| found.is_for_everyone(&mesh));
    for _ in 0..ALIASES {
        let first = view.definitions(&host).into_iter().next();
        match first.as_deref().map(|definition| &definition.resolution) {
            Some(Resolution::Name(name)) if is_known(name) => {
                host.clone_from(name);
            }
            _ => break,
        }
    }
    host
}

/// Adds the backend for `wanted`, with its endpoints; when there is no such host, port or
/// part, it is noted as missing, and what names it answers 503.
pub(crate) fn add(wanted: &BackendRef, site: &Site<'_>, view: &View<'_>, closure: &mut Closure) {
    let name = wanted.name();
    if closure.has(&format!("backend/{name}")) {
        return;
    }
    match backend(wanted, site, view, closure) {
        Some(backend) => {
            closure.add(view.pool().piece(Resource::Backend(Backend { name, ..backend })));
        }
        None => closure.lacks(name, wanted),
    }
}

/// The backend for `wanted`, without its name; its endpoints are added.
fn backend(
    wanted: &BackendRef,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Backend> {
    let group = site.group;
    let mesh = view.mesh();
    let definition = seen(&wanted.host, Some(wanted.port), group, &mesh, view)?;
    let port = definition.port(wanted.port)?;
    let owner = &definition.owner;
    let policy = destination_rules::policy(&wanted.host, &owner.namespace, group, &mesh, view);
    let defined = match &wanted.subset {
        None => None,
        Some(subset) => Some(policy.subset(subset, view)?),
    };
    let subset = defined.as_ref().map(|defined| defined.subset);
    let effective = policy.effective(subset, port.number, view).or_of_mesh(&mesh);
    let choice = effective.choice();
    // Only in the mesh have clients dialled an address that means something.
    let dialled = definition.is_headless() || choice == Choice::Original;
    let discovery = match &definition.resolution {
        Resolution::Name(host) => Discovery::Dns { host: host.clone(), port: port.number },
        _ if dialled && site.gateway.is_none() => Discovery::Original,
        Resolution::Names(spread) => {
            let none = BTreeMap::new();
            let labels = subset.map_or(&none, |subset| &subset.labels);
            let names = members::names(&definition, port, labels, view);
            named(names, *spread)
        }
        Resolution::Requested => Discovery::Requested { port: port.target.unwrap_or(port.number) },
        _ => endpoints(&definition, port.number, view, closure),
    };
    let origin = match (&defined, policy.rules.first()) {
        (Some(DefinedSubset { rule, index, .. }), _) => {
            Origin::new(rule.to_string(), format!("subsets[{index}]"))
        }
        (None, Some(rule)) => Origin::new(rule.key.to_string(), ""),
        (None, None) => Origin::new(owner.to_string(), ""),
    };
    Some(Backend {
        name: String::new(),
        service: wanted.host.clone(),
        service_name: Some(definition.name_in_metrics()),
        port: port.number,
        subset: defined.map(|DefinedSubset { subset, .. }| Subset {
            name: subset.name.clone(),
            labels: subset.labels.clone().into_iter().collect(),
        }),
        discovery,
        upstream: effective.upstream(port.upstream(), &mesh),
        load_balancer: match choice {
            Choice::Balanced(balancer) => balancer,
            Choice::Original => LoadBalancer::LeastRequest,
        },
        outliers: effective.outliers(),
        warmup: effective.warmup(),
        locality: effective.locality(&mesh),
        connection_pool: effective.connections(&mesh),
        connect_timeout: effective.connect_timeout().unwrap_or(mesh.connect_timeout),
        closed: None,
        origin,
    })
}

fn named(names: Vec<NamedEndpoint>, spread: Spread) -> Discovery {
    match names.is_empty() {
        true => Discovery::Nowhere,
        false => Discovery::Names { names, first_only: spread == Spread::First },
    }
}

/// The endpoints of port `port` of the host that is `defined`; they are added.
fn endpoints(defined: &Definition, port: u16, view: &View<'_>, closure: &mut Closure) -> Discovery {
    let chunks = view.chunks(defined);
    let Some(listed) = chunks.by_port.get(&port) else { return Discovery::Nowhere };
    if !closure.has(&listed.list.name) {
        closure.add(listed.list.clone());
        listed.chunks.iter().for_each(|piece| closure.add(piece.clone()));
    }
    Discovery::Endpoints(listed.name.clone())
}

/// A backend that dials the address that the client dialled.
pub(crate) fn original(name: &str, port: u16, upstream: Upstream, mesh: &Mesh) -> Backend {
    Backend {
        name: name.to_owned(),
        service: String::new(),
        service_name: None,
        port,
        subset: None,
        discovery: Discovery::Original,
        upstream,
        load_balancer: LoadBalancer::LeastRequest,
        outliers: None,
        warmup: None,
        locality: None,
        connection_pool: None,
        connect_timeout: mesh.connect_timeout,
        closed: None,
        origin: Origin::default(),
    }
}

/// The backend that takes connections nowhere.
pub(crate) fn black_hole(mesh: &Mesh) -> Backend {
    Backend {
        discovery: Discovery::Nowhere,
        closed: Some("black_hole".to_owned()),
        ..original(BLACK_HOLE, 0, Upstream::SameAsClient, mesh)
    }
}
