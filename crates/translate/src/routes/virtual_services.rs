//! Which virtual services speak for a host in the mesh.

use std::{collections::BTreeSet, sync::Arc};

use weft_api::{Key, Kind, virtual_service::VirtualService};

use crate::{
    Group,
    graph::view::View,
    model::{
        age::Age,
        registry::Definition,
        sidecar,
        sight::{self, Sight},
        visibility::{Exports, Reach},
    },
    routes::{
        delegates,
        foreign::{RuleKind, RulesSize},
        rules::{
            self,
            alternatives::{self, Alternatives, ConnectionAlternative, HttpAlternative},
            targets::{self, Beyond, RuleSize},
        },
    },
};

/// The name that stands for the sidecars among the gateways of a rule.
pub(crate) const MESH: &str = "mesh";

/// The port of hosts that no object defines.
const WITHOUT_SERVICE: u16 = 80;

/// Namespaces of those that see an object that are looked at in their place.
const FEW: usize = 4;

/// Ports of hosts that are read to find the ports of the others.
const READ: usize = 1 << 16;

/// What decides which virtual services speak for a host, of one of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) key: Arc<Key>,
    pub(crate) age: Age,
    /// Who sees it; nothing is known of it where it is closed for everybody.
    exports: Option<Exports>,
    in_mesh: bool,
    /// Whether its HTTP rules are those of [`View::merged`].
    pub(crate) has_delegates: bool,
    /// How many things its HTTP rules name that decide where they are used, and where they go.
    pub(crate) named: usize,
    pub(crate) http: RulesSize,
    pub(crate) tcp: RulesSize,
    pub(crate) tls: RulesSize,
    /// Rules that are closed.
    pub(crate) http_beyond: Beyond,
    pub(crate) tcp_beyond: Beyond,
    pub(crate) tls_beyond: Beyond,
    /// What sidecars read of its rules.
    pub(crate) for_requests: Alternatives<HttpAlternative>,
    pub(crate) for_connections: Alternatives<ConnectionAlternative>,
    /// Of connections of TLS.
    pub(crate) for_server_names: Alternatives<ConnectionAlternative>,
}

/// What the virtual service called `key` says of who sees it.
pub(crate) fn summary(key: &Key, view: &View<'_>) -> Option<Summary> {
    let written = view.virtual_service(key)?;
    let mesh = view.mesh();
    let default = &mesh.config.default_virtual_service_export_to;
    let is_open = !written.spec.is_closed_for_everybody();
    let merged = delegates::has_delegates(written).then(|| view.merged(key)).flatten();
    let has_delegates = merged.is_some();
    let service = merged.as_ref().map_or(written, |merged| &merged.service);
    let http = RuleSize::of_http(service);
    let (tcp, tls) = (&written.spec.tcp, &written.spec.tls);
    let [tcp_size, tls_size] = [tcp, tls].map(|rules| RuleSize::of_connections(rules));
    let patterns = targets::beyond_patterns(service);
    let http_beyond = Beyond { bound: targets::beyond_bound(&http), patterns };
    let beyond =
        |sizes: &[RuleSize]| Beyond { bound: targets::beyond_bound(sizes), ..Beyond::default() };
    let (tcp_beyond, tls_beyond) = (beyond(&tcp_size), beyond(&tls_size));
    let for_requests = alternatives::of_http(service, &http, &http_beyond);
    let object = rules::object(written);
    let of = alternatives::of_connections;
    let for_connections = of((tcp, RuleKind::Tcp), &object, &tcp_size, &tcp_beyond);
    let for_server_names = of((tls, RuleKind::Tls), &object, &tls_size, &tls_beyond);
    Some(Summary {
        key: Arc::new(key.clone()),
        age: Age::of(&written.metadata),
        exports: is_open.then(|| Exports::new(&written.spec.export_to, default)),
        in_mesh: in_mesh(written),
        has_delegates,
        named: rules::named(service),
        http: RulesSize::of_http(service, &http),
        tcp: RulesSize::of_connections(&tcp_size, alternatives::relay_everything(tcp)),
        // A client may ask for a name that no rule is for.
        tls: RulesSize::of_connections(&tls_size, false),
        http_beyond,
        tcp_beyond,
        tls_beyond,
        for_requests,
        for_connections,
        for_server_names,
    })
}

/// The summary of `service`.
pub(crate) fn summary_of(service: &VirtualService, view: &View<'_>) -> Option<Arc<Summary>> {
    let metadata = &service.metadata;
    let key = Key::new(Kind::VirtualService, &metadata.namespace, &metadata.name);
    view.virtual_service_summary(&key)
}

impl Summary {
    /// Some namespaces other than its own that see it; an empty name stands for every one that
    /// has nothing to do with it.
    pub(crate) fn strangers(&self) -> Vec<String> {
        let own = self.key.namespace.as_str();
        let few = self.exports.as_ref().map_or(Vec::new(), |exports| exports.named(own, FEW));
        match self.exports.as_ref().is_none_or(Exports::is_public) {
            true => vec![String::new()],
            false => few,
        }
    }

    /// Whether no other namespace sees it.
    pub(crate) fn is_private(&self) -> bool {
        self.exports.as_ref().is_some_and(|exports| exports.is_private(&self.key.namespace))
    }

    /// How clients of namespace `client` come to see it, if they do.
    pub(crate) fn reach(&self, client: &str) -> Option<Reach> {
        let own = self.key.namespace.as_str();
        match &self.exports {
            Some(exports) => exports.reach(own, client),
            // It comes as early as any list of namespaces could have put it, and no earlier: what
            // another namespace keeps to itself comes before it.
            None if own == client => Some(Reach::Private),
            None => Some(Reach::Exported),
        }
    }
}

/// The virtual services for sidecars that name `host`, the older ones first.
pub(crate) fn summaries(host: &str, view: &View<'_>) -> Vec<Arc<Summary>> {
    let all = view.virtual_services(host).into_iter();
    let mut found: Vec<Arc<Summary>> = all
        .filter_map(|key| view.virtual_service_summary(&key))
        .filter(|service| service.in_mesh)
        .collect();
    found.sort_by(|one, other| one.age.cmp(&other.age));
    found
}

/// Those that clients in `namespace` see, as in Istio: private ones first, then those exported
/// to the namespace, then public ones; the older before the younger.
pub(crate) fn seen_from(namespace: &str, host: &str, view: &View<'_>) -> Vec<Arc<Summary>> {
    let all = view.virtual_services_of(host);
    let seen = all.iter().filter_map(|one| Some((one.reach(namespace)?, Arc::clone(one))));
    let mut seen: Vec<(Reach, Arc<Summary>)> = seen.collect();
    seen.sort_by_key(|(reach, _)| *reach);
    seen.into_iter().map(|(_, one)| one).collect()
}

/// Whether `service` speaks to sidecars at all.
pub(crate) fn in_mesh(service: &VirtualService) -> bool {
    let gateways = &service.spec.gateways;
    gateways.is_empty() || gateways.iter().any(|name| name == MESH)
}

/// The virtual services that name `host` itself, as in [`seen_from`]; only those that are
/// looked at are read.
pub(crate) fn of_exact_host<'v, 'g>(
    host: &str,
    group: &'v Group,
    view: &'v View<'g>,
) -> impl Iterator<Item = &'g VirtualService> + use<'v, 'g> {
    let seen = view.virtual_services_for(host, &group.namespace);
    let found = (0..seen.len()).filter_map(move |at| view.virtual_service(&seen[at].key));
    found.filter(|service| sidecar::heeds(group, service, view))
}

/// The hosts of `service` that no other object defines, so that the mesh knows them
/// only from here.
pub(crate) fn hosts_without_service(service: &VirtualService, view: &View<'_>) -> Vec<String> {
    if !in_mesh(service) || service.spec.http.is_empty() {
        return Vec::new();
    }
    let mut hosts = resolved(service, view);
    hosts.retain(|host| is_without_service(host, Sight::Everyone, view));
    hosts.into_iter().collect()
}

/// The hosts of `service`, each once.
fn resolved(service: &VirtualService, view: &View<'_>) -> BTreeSet<String> {
    let namespace = &service.metadata.namespace;
    service.spec.hosts.iter().map(|host| view.installation().resolve(host, namespace)).collect()
}

/// Whether no object defines `host` for those who look. Patterns over the services' domain always stand for services.
pub(crate) fn is_without_service(host: &str, sight: Sight<'_>, view: &View<'_>) -> bool {
    if let Some(suffix) = host.strip_prefix('*') {
        let domain = format!(".{}", view.installation().services());
        // Proxies look for patterns that begin with whole labels.
        if !suffix.starts_with('.') || domain.ends_with(suffix) || suffix.ends_with(&domain) {
            return false;
        }
    }
    let counts = |one: &Arc<Definition>| one.is_service() || sight.sees(one, None, view);
    !view.definitions(host).iter().any(counts)
}

/// Whether the hosts of `service` that no object defines are served on `port`.
pub(crate) fn serves_on(service: &VirtualService, port: u16, view: &View<'_>) -> bool {
    let metadata = &service.metadata;
    let key = Key::new(Kind::VirtualService, &metadata.namespace, &metadata.name);
    view.directory_entry(&key).http_ports.contains(&port)
}

/// The ports on which the hosts of `service` that no object defines are served: the
/// HTTP ports of the others that it names, of the first [`READ`] ports of these; 80 when there
/// are none.
pub(crate) fn ports_without_service(service: &VirtualService, view: &View<'_>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    let mut left = READ;
    for host in resolved(service, view) {
        let Some(definition) = sight::definition(&host, None, Sight::Everyone, view) else {
            continue;
        };
        let read = definition.ports.iter().take(left);
        ports.extend(read.filter(|port| port.spoken.may_be_http()).map(|port| port.number));
        left = left.saturating_sub(definition.ports.len());
        if left == 0 {
            break;
        }
    }
    if ports.is_empty() { BTreeSet::from([WITHOUT_SERVICE]) } else { ports }
}
