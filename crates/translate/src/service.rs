//! What a sidecar's clients reach: by Host, and by address.

mod tcp;

use std::net::SocketAddr;

use weft_api::{
    Key,
    kubernetes::{Service, ServicePort},
};
use weft_config::{
    Action, Conditions, Covers, Entry, Host, Interest, Origin, Protocol, Resource, Route, Rule,
    Server, Target,
};

use crate::{
    Group, Resolved,
    backends::{self, Wanted},
    closure::Closure,
    endpoints, hosts,
    mesh::Mesh,
    protocol::Spoken,
    rules::{self, Site},
    spelling,
    view::View,
    virtual_services,
};

/// The answer for requests to `host` on `port`.
pub(crate) fn host(group: &Group, host: &Host, port: u16, view: &View<'_>) -> Resolved {
    let interest = Interest::Host(host.clone(), port);
    let mut closure = Closure::default();
    let site = Site { group, gateway: None, port };
    let exactly = match host.is_wildcard() {
        true => None,
        false => beyond_services(host.as_str(), &site, view, &mut closure)
            .or_else(|| of_service(host.as_str(), &site, view, &mut closure))
            .map(|route| (route, None)),
    };
    let found = exactly.or_else(|| under_pattern(host, &site, view, &mut closure));
    match found {
        Some((route, covers)) => {
            let entry = Entry::Route(route.name.clone());
            closure.add(view.pool().piece(Resource::Route(route)));
            closure.answer(&interest, entry, covers)
        }
        None => Closure::default().answer(&interest, Entry::Outside, None),
    }
}

/// The answer for connections to `address`.
pub(crate) fn address(group: &Group, address: SocketAddr, view: &View<'_>) -> Resolved {
    let interest = Interest::Address(address);
    let Some((key, port)) = tcp::behind(address, group, view) else {
        return Closure::default().answer(&interest, Entry::Outside, None);
    };
    let mesh = view.mesh();
    let mut closure = Closure::default();
    let site = Site { group, gateway: None, port: port.port };
    let full = hosts::service(&key.namespace, &key.name);
    let undeclared = Spoken::of(port) == Spoken::Undeclared;
    let mut routes = Vec::new();
    if undeclared {
        let (rules, origin) = own_rules(&full, &key, &site, &mesh, view);
        let everything = Host::parse("*").expect("a star is a host");
        let name = format!("{full}:{}", port.port);
        let route = Route { name, hosts: vec![everything], rules, origin };
        add_backends(&route.rules, &site, view, &mut closure);
        routes.push(route.name.clone());
        closure.add(view.pool().piece(Resource::Route(route)));
    }
    let server = Server {
        name: format!("{}_{}", address.ip(), address.port()),
        port: None,
        protocol: if undeclared { Protocol::Detect } else { Protocol::Tcp },
        routes,
        tcp: Some(tcp::target(&full, &key, &site, view, &mut closure)),
        edge: false,
        origin: Origin::new(key.to_string(), ""),
    };
    closure.answer(&interest, Entry::Server(Box::new(server)), None)
}

/// The route of a host that a virtual service names and that is no service.
fn beyond_services(
    host: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Route> {
    if !virtual_services::is_beyond_services(host, view) {
        return None;
    }
    let mesh = view.mesh();
    for service in virtual_services::exactly(host, site.group, &mesh, view) {
        if !virtual_services::ports_beyond_services(service, view).contains(&site.port) {
            continue;
        }
        let rules = rules::http(service, site, &mesh, view);
        if rules.is_empty() {
            continue;
        }
        add_backends(&rules, site, view, closure);
        return Some(Route {
            name: format!("{}/{host}", site.port),
            hosts: vec![Host::parse(host).ok()?],
            rules,
            origin: Origin::new(rules::object(service), ""),
        });
    }
    None
}

/// The route of the service that `host` spells.
fn of_service(
    host: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Route> {
    let key = spelled(host, site, view)?;
    Some(service_route(&key, site, view, closure))
}

/// The HTTP service that `host` spells, by name or address.
fn spelled(host: &str, site: &Site<'_>, view: &View<'_>) -> Option<Key> {
    let mesh = view.mesh();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let candidates: Vec<Key> = match bare.parse() {
        Ok(address) => {
            let mut services = view.services_at(address);
            services.sort_by(|one, other| {
                crate::age::age(&one.metadata).cmp(&crate::age::age(&other.metadata))
            });
            let key = |service: &&Service| {
                let metadata = &service.metadata;
                Key::new(weft_api::Kind::Service, &metadata.namespace, &metadata.name)
            };
            services.iter().map(key).collect()
        }
        Err(_) => spelling::service_key(host, &site.group.namespace).into_iter().collect(),
    };
    candidates.into_iter().find(|key| {
        let full = hosts::service(&key.namespace, &key.name);
        backends::seen(&full, site.group, &mesh, view)
            .and_then(|(_, service)| port_of(service, site.port))
            .is_some_and(|port| Spoken::of(port).is_http())
    })
}

/// The route of what covers `host`: a pattern of a virtual service, or the names
/// below a headless service; the longer pattern wins. A pattern covers itself.
fn under_pattern(
    host: &Host,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<(Route, Option<Covers>)> {
    let own = Some(host.as_str().to_owned()).filter(|_| host.is_wildcard());
    for pattern in own.into_iter().chain(hosts::patterns(host.as_str())) {
        let route = beyond_services(&pattern, site, view, closure).or_else(|| {
            let below = spelled(pattern.strip_prefix("*.")?, site, view)?;
            let headless = view.service(&below).is_some_and(Service::headless);
            // Addresses have no names below them.
            let named = pattern.strip_prefix("*.")?.parse::<std::net::IpAddr>().is_err();
            (headless && named).then(|| service_route(&below, site, view, closure))
        });
        let Some(route) = route else { continue };
        return Some((route, Some(Covers { pattern: Host::parse(&pattern).ok()? })));
    }
    None
}

fn service_route(key: &Key, site: &Site<'_>, view: &View<'_>, closure: &mut Closure) -> Route {
    let mesh = view.mesh();
    let full = hosts::service(&key.namespace, &key.name);
    let (rules, origin) = own_rules(&full, key, site, &mesh, view);
    add_backends(&rules, site, view, closure);
    let spellings = view
        .service(key)
        .map(|service| spelling::of(service).seen_from(&site.group.namespace, &key.namespace))
        .unwrap_or_default();
    // A virtual service that names a spelling as it is takes it away.
    let own = spellings.into_iter().filter(|name| *name == full || !taken(name, site, &mesh, view));
    Route {
        name: format!("{}/{full}", site.port),
        hosts: own.filter_map(|name| Host::parse(&name).ok()).collect(),
        rules,
        origin,
    }
}

fn taken(name: &str, site: &Site<'_>, mesh: &Mesh, view: &View<'_>) -> bool {
    virtual_services::is_beyond_services(name, view)
        && virtual_services::exactly(name, site.group, mesh, view).iter().any(|service| {
            virtual_services::ports_beyond_services(service, view).contains(&site.port)
        })
}

/// The rules of a service: its virtual service's, else its own.
fn own_rules(
    full: &str,
    key: &Key,
    site: &Site<'_>,
    mesh: &Mesh,
    view: &View<'_>,
) -> (Vec<Rule>, Origin) {
    // An alias has the rules of what it stands for.
    let concrete = backends::aliased(full, view);
    for service in virtual_services::of_host(full, site.group, mesh, view)
        .into_iter()
        .chain(virtual_services::of_host(&concrete, site.group, mesh, view))
    {
        let rules = rules::http(service, site, mesh, view);
        if !rules.is_empty() {
            return (rules, Origin::new(rules::object(service), ""));
        }
    }
    let origin = Origin::new(key.to_string(), "");
    let backend = Wanted { host: concrete, port: site.port, subset: None }.name();
    let rule = Rule {
        name: Some("default".to_owned()),
        conditions: Conditions::default(),
        action: Action::Forward(vec![Target { backend, weight: 1 }]),
        timeout: None,
        retries: mesh.retries.clone(),
        origin: origin.clone(),
    };
    (vec![rule], origin)
}

/// Adds every backend that `rules` name and that exists.
pub(crate) fn add_backends(
    rules: &[Rule],
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) {
    for rule in rules {
        let Action::Forward(targets) = &rule.action else { continue };
        for target in targets {
            if let Some(wanted) = backends::wanted(&target.backend) {
                backends::add(&wanted, site, view, closure);
            }
        }
    }
}

fn port_of(service: &Service, number: u16) -> Option<&ServicePort> {
    endpoints::tcp_ports(service).find(|port| port.port == number)
}
