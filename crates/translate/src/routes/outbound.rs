//! What a sidecar's clients reach: by Host, and by address.

mod tcp;

use std::{net::SocketAddr, sync::Arc};

use weft_config::{
    Action, Conditions, Covers, Entry, Host, Interest, Origin, Outside, Protocol, Resource, Route,
    Rule, Server,
};

use crate::{
    Group, Resolved,
    closure::Closure,
    clusters::backends::{self, BackendRef},
    graph::view::{Pattern, View},
    model::{
        protocol::Spoken,
        registry::{self, Definition},
    },
    routes::{
        foreign::RuleKind,
        rules::{self, Rules, Site, TOO_MANY_RULES, targets},
        virtual_services,
    },
};

/// The answer for requests to `host` on `port`.
pub(crate) fn host(group: &Group, host: &Host, port: u16, view: &View<'_>) -> Resolved {
    let interest = Interest::Host(host.clone(), port);
    let mut closure = Closure::default();
    let site = Site { group, gateway: None, port };
    match gathered(host, &site, view, &mut closure) {
        Some((route, covers)) => {
            let entry = Entry::Route(route.name.clone());
            closure.add(view.pool().piece(Resource::Route(route)));
            closure.answer(&interest, entry, covers)
        }
        None => Closure::default().answer(&interest, Entry::Outside, None),
    }
}

/// The route of `host`: the first there is. Where that is for clients with certain labels
/// only, the others are served as if it were not there.
fn gathered(
    host: &Host,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<(Route, Option<Covers>)> {
    let name = host.as_str();
    let mut found: Option<(Route, Option<Covers>)> = None;
    // A wildcard covers itself.
    let own = Pattern { text: name.to_owned(), is_named: true };
    for Pattern { text: pattern, is_named } in std::iter::once(own).chain(view.patterns(name)) {
        let is_pattern = pattern.starts_with('*');
        for source in [Source::VirtualServices, Source::Service] {
            let route = match (source, is_pattern) {
                (Source::VirtualServices, _) if !is_named => None,
                (Source::VirtualServices, _) => without_service(&pattern, site, view, closure),
                (Source::Service, false) => of_service(&pattern, site, view, closure),
                (Source::Service, true) => below_headless(&pattern, site, view, closure),
            };
            let Some(route) = route else { continue };
            let for_everyone = rules::serve_everyone(&route.rules);
            match &mut found {
                Some((first, _)) => first.rules.extend(route.rules),
                None if is_pattern => {
                    let covers = Covers { pattern: Host::parse(&pattern).ok()? };
                    found = Some((route, Some(covers)));
                }
                None => found = Some((route, None)),
            }
            if for_everyone {
                return found;
            }
        }
    }
    let (route, _) = found.as_mut()?;
    let action = match view.mesh().outside {
        Outside::Allow => Action::Passthrough,
        Outside::Refuse => Action::respond(502, "direct_response"),
    };
    route.rules.push(Rule::always(action, route.origin.clone()));
    found
}

/// What a route may come from.
#[derive(Clone, Copy)]
enum Source {
    VirtualServices,
    Service,
}

/// The answer for connections to `address`.
pub(crate) fn address(group: &Group, address: SocketAddr, view: &View<'_>) -> Resolved {
    let interest = Interest::Address(address);
    let Some((definition, port)) = tcp::behind(address, group, view) else {
        return Closure::default().answer(&interest, Entry::Outside, None);
    };
    let mut closure = Closure::default();
    let site = Site { group, gateway: None, port: port.number };
    let undeclared = port.spoken == Spoken::Undeclared;
    let mut routes = Vec::new();
    if undeclared {
        let (rules, origin) = own_rules(&definition, &site, view, &mut closure);
        rules.add_backends(&site, view, &mut closure);
        let everything = Host::parse("*").expect("a star is a host");
        let name = format!("{}:{}", definition.host, port.number);
        let route = Route { name, hosts: vec![everything], rules: rules.rules, origin };
        routes.push(route.name.clone());
        closure.add(view.pool().piece(Resource::Route(route)));
    }
    let server = Server {
        name: format!("{}_{}", address.ip(), address.port()),
        port: None,
        hello: None,
        protocol: if undeclared { Protocol::Detect } else { Protocol::Tcp },
        routes,
        tcp: tcp::targets(&definition, &site, view, &mut closure),
        edge: false,
        origin: Origin::new(definition.owner.to_string(), ""),
    };
    closure.answer(&interest, Entry::Server(Box::new(server)), None)
}

/// The route of a host that virtual services name and that no object defines. All such
/// hosts of a virtual service share it, unless it is for clients with certain labels only:
/// what the others get depends on the host.
fn without_service(
    host: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Route> {
    if !virtual_services::is_without_service(host, view) {
        return None;
    }
    let mesh = view.mesh();
    let mut found: Option<Route> = None;
    let chosen = view.chosen(host, &site.group.namespace, RuleKind::Http);
    closure.leave_out(&chosen.left_out);
    for service in chosen.services(view) {
        if !virtual_services::serves_on(service, site.port, view) {
            continue;
        }
        let rules = rules::http(service, site, &mesh, view);
        if rules.is_empty() {
            continue;
        }
        rules.add_backends(site, view, closure);
        let origin = Origin::new(rules::object(service), "");
        if found.is_none() && rules::serve_everyone(&rules.rules) {
            return Some(Route {
                name: format!(
                    "{}/{}/{}",
                    site.port, service.metadata.namespace, service.metadata.name
                ),
                // Answers name it; a list of all hosts would be made for each of them.
                hosts: Vec::new(),
                rules: rules.rules,
                origin,
            });
        }
        let route = found.get_or_insert(Route {
            name: format!("{}/{host}", site.port),
            hosts: vec![Host::parse(host).ok()?],
            rules: Vec::new(),
            origin,
        });
        if rules::add(&mut route.rules, rules.rules) {
            return found;
        }
    }
    let left_out = chosen.left_out.iter().filter_map(|key| view.virtual_service(key));
    let mut left_out = left_out.filter(|one| virtual_services::serves_on(one, site.port, view));
    // What those that are left out would have done is not known, so nothing wider is done.
    if let Some(service) = left_out.next() {
        let origin = Origin::new(rules::object(service), "");
        let route = found.get_or_insert(Route {
            name: format!("{}/{host}", site.port),
            hosts: vec![Host::parse(host).ok()?],
            rules: Vec::new(),
            origin: origin.clone(),
        });
        route.rules.push(Rule::always(Action::respond(500, TOO_MANY_RULES), origin));
    }
    found
}

/// The route of the host that `host` is a name of.
fn of_service(
    host: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Route> {
    let definition = named(host, site, view)?;
    Some(service_route(&definition, site, view, closure))
}

/// What `host`, a name or an address, is to clients that speak HTTP to it.
fn named(host: &str, site: &Site<'_>, view: &View<'_>) -> Option<Arc<Definition>> {
    let mesh = view.mesh();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let candidates = match bare.parse() {
        Ok(address) => view.definitions_at(address),
        Err(_) => registry::spelled(host, &site.group.namespace, view.installation())
            .map(|full| view.definitions(&full))
            .unwrap_or_default(),
    };
    candidates.into_iter().find(|definition| {
        definition.is_seen_from(&site.group.namespace, &mesh)
            && definition.port(site.port).is_some_and(|port| port.spoken.is_http())
    })
}

/// The route of the headless host whose names `pattern` covers.
fn below_headless(
    pattern: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Route> {
    let suffix = pattern.strip_prefix("*.")?;
    // Addresses have no names below them.
    let is_name = suffix.parse::<std::net::IpAddr>().is_err();
    let below = named(suffix, site, view).filter(|below| is_name && below.is_headless())?;
    Some(service_route(&below, site, view, closure))
}

fn service_route(
    definition: &Definition,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Route {
    let (rules, origin) = own_rules(definition, site, view, closure);
    rules.add_backends(site, view, closure);
    let full = &definition.host;
    // A virtual service that names one of the host's other names takes it away.
    let names = definition.names_in(&site.group.namespace).into_iter();
    let own = names.filter(|name| name == full || !is_taken(name, site, view));
    Route {
        name: format!("{}/{full}", site.port),
        hosts: own.filter_map(|name| Host::parse(&name).ok()).collect(),
        rules: rules.rules,
        origin,
    }
}

/// Whether a virtual service defines `name` for clients at `site`.
fn is_taken(name: &str, site: &Site<'_>, view: &View<'_>) -> bool {
    virtual_services::is_without_service(name, view)
        && virtual_services::of_exact_host(name, site.group, view)
            .any(|service| virtual_services::serves_on(service, site.port, view))
}

/// The rules of a host: its virtual service's, else its own; where the virtual service's
/// are for clients with certain labels only, its own are for the others.
fn own_rules(
    definition: &Definition,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> (Rules, Origin) {
    let mesh = view.mesh();
    let concrete = backends::aliased(&definition.host, view);
    let chosen = view.chosen(&definition.host, &site.group.namespace, RuleKind::Http);
    closure.leave_out(&chosen.left_out);
    let mut found: Option<(Rules, Origin)> = None;
    for service in chosen.services(view) {
        let rules = rules::http(service, site, &mesh, view);
        if rules.is_empty() {
            continue;
        }
        let origin = Origin::new(rules::object(service), "");
        let (all, first) = found.get_or_insert((Rules::default(), origin));
        all.backends.extend(rules.backends);
        if rules::add(&mut all.rules, rules.rules) {
            return (std::mem::take(all), std::mem::take(first));
        }
    }
    let origin = Origin::new(definition.owner.to_string(), "");
    let (mut all, first) = found.unwrap_or((Rules::default(), origin.clone()));
    let backend = BackendRef { host: concrete, port: site.port, subset: None };
    let destinations = [(backend, 1)];
    let rule = Rule {
        name: Some("default".to_owned()),
        conditions: Conditions::default(),
        action: targets::forward(&destinations),
        timeout: None,
        retries: mesh.retries.clone(),
        origin,
    };
    all.rules.push(rule);
    all.backends.extend(destinations.map(|(backend, _)| backend));
    (all, first)
}
