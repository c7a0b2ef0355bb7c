//! Backends: a service, or a part of it, on one port, as a class calls it.

use weft_api::{
    Key,
    kubernetes::{Service, ServicePort},
};
use weft_config::{Backend, Discovery, LoadBalancer, Origin, Resource, Upstream, backend::Subset};

use crate::{
    Group,
    closure::Closure,
    destination_rules::{self, Choice},
    endpoints, hosts,
    mesh::Mesh,
    protocol::Spoken,
    rules::Site,
    view::View,
    visibility::{self, visible},
};

/// Takes connections to the application, to where the client meant them to go.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// Takes connections nowhere.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";

/// How many times one service may stand for another.
const ALIASES: usize = 4;

/// What a rule sends requests to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// Full name of the service.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// A part of it.
    pub(crate) subset: Option<String>,
}

impl Wanted {
    /// The backend's name.
    pub(crate) fn name(&self) -> String {
        let subset = self.subset.as_deref().unwrap_or_default();
        format!("outbound|{}|{subset}|{}", self.port, self.host)
    }
}

/// What the backend called `name` was wanted for.
pub(crate) fn wanted(name: &str) -> Option<Wanted> {
    let mut parts = name.strip_prefix("outbound|")?.splitn(3, '|');
    let port = parts.next()?.parse().ok()?;
    let subset = Some(parts.next()?.to_owned()).filter(|subset| !subset.is_empty());
    Some(Wanted { host: parts.next()?.to_owned(), port, subset })
}

/// The service called `host`, if clients of `group` see it.
pub(crate) fn seen<'g>(
    host: &str,
    group: &Group,
    mesh: &Mesh,
    view: &View<'g>,
) -> Option<(Key, &'g Service)> {
    let key = hosts::service_key(host)?;
    let service = view.service(&key)?;
    let exported = visibility::of_service(service);
    let default = &mesh.config.default_service_export_to;
    visible(&exported, default, &key.namespace, &group.namespace).then_some((key, service))
}

/// The service that `host` stands for: itself, unless it is an `ExternalName`
/// service for another service of the mesh.
pub(crate) fn aliased(host: &str, view: &View<'_>) -> String {
    let mut host = host.to_owned();
    for _ in 0..ALIASES {
        let service = hosts::service_key(&host).and_then(|key| view.service(&key));
        let Some(service) = service.filter(|service| is_external(service)) else { break };
        let name = service.spec.external_name.trim_end_matches('.').to_ascii_lowercase();
        match hosts::service_key(&name).is_some_and(|key| view.service(&key).is_some()) {
            true => host = name,
            false => break,
        }
    }
    host
}

/// Whether `service` is a name for something else.
pub(crate) fn is_external(service: &Service) -> bool {
    service.spec.kind == "ExternalName"
}

/// Adds the backend for `wanted`, with its endpoints; nothing when there is no
/// such service, port or part, so that what names it answers 503.
pub(crate) fn add(wanted: &Wanted, site: &Site<'_>, view: &View<'_>, closure: &mut Closure) {
    let group = site.group;
    let name = wanted.name();
    if closure.has(&format!("backend/{name}")) {
        return;
    }
    let mesh = view.mesh();
    let Some((key, service)) = seen(&wanted.host, group, &mesh, view) else { return };
    let Some(port) = endpoints::tcp_ports(service).find(|port| port.port == wanted.port) else {
        return;
    };
    let policy = destination_rules::policy(&wanted.host, &key.namespace, group, &mesh, view);
    let subset = match &wanted.subset {
        None => None,
        Some(subset) => match policy.subset(subset) {
            None => return,
            found => found,
        },
    };
    let choice = policy.choice(subset.map(|(_, _, subset)| subset));
    // Only in the mesh have clients dialled an address that means something.
    let original = site.gateway.is_none() && (service.headless() || choice == Choice::Original);
    let discovery = discovery(&key, service, port, original, view);
    if let Discovery::Endpoints(_) = &discovery {
        for chunk in view.chunks(&key).by_port.get(&port.port).into_iter().flatten() {
            closure.add(chunk.clone());
        }
    }
    let origin = match (subset, policy.rules.first()) {
        (Some((rule, at, _)), _) => Origin::new(destination_rule(rule), format!("subsets[{at}]")),
        (None, Some(rule)) => Origin::new(destination_rule(rule), ""),
        (None, None) => Origin::new(key.to_string(), ""),
    };
    closure.add(view.pool().piece(Resource::Backend(Backend {
        name,
        service: wanted.host.clone(),
        service_name: Some((key.name.clone(), key.namespace.clone())),
        port: port.port,
        subset: subset.map(|(_, _, subset)| Subset {
            name: subset.name.clone(),
            labels: subset.labels.clone().into_iter().collect(),
        }),
        discovery,
        upstream: Spoken::of(port).upstream(),
        load_balancer: match choice {
            Choice::Balanced(balancer) => balancer,
            Choice::Original => LoadBalancer::LeastRequest,
        },
        connect_timeout: mesh.connect_timeout,
        closed: None,
        origin,
    })));
}

fn destination_rule(rule: &weft_api::destination_rule::DestinationRule) -> String {
    format!("DestinationRule/{}/{}", rule.metadata.namespace, rule.metadata.name)
}

fn discovery(
    key: &Key,
    service: &Service,
    port: &ServicePort,
    original: bool,
    view: &View<'_>,
) -> Discovery {
    if is_external(service) {
        let host = service.spec.external_name.clone();
        return Discovery::Dns { host, port: port.port };
    }
    if original {
        return Discovery::Original;
    }
    let chunks = view.chunks(key);
    let pieces = chunks.by_port.get(&port.port).into_iter().flatten();
    let names = pieces.filter_map(|piece| piece.name.strip_prefix("endpoints/"));
    Discovery::Endpoints(names.map(str::to_owned).collect())
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
        connect_timeout: mesh.connect_timeout,
        closed: None,
        origin: Origin::default(),
    }
}

/// The backend that takes connections nowhere.
pub(crate) fn black_hole(mesh: &Mesh) -> Backend {
    Backend {
        discovery: Discovery::Endpoints(Vec::new()),
        closed: Some("black_hole".to_owned()),
        ..original(BLACK_HOLE, 0, Upstream::SameAsClient, mesh)
    }
}
