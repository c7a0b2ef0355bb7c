//! What a sidecar's clients reach: by Host, and by address.

mod tcp;

use std::{net::SocketAddr, sync::Arc};

use weft_api::Key;
use weft_config::{
    Action, Covers, Entry, Host, Interest, Origin, Outside, Protocol, Resource, Route, Rule,
    Server, Target,
};

use crate::{
    Group, Resolved,
    closure::Closure,
    clusters::backends::{self, BackendRef},
    graph::view::{Pattern, View},
    model::{
        mesh_config::Mesh,
        protocol::Spoken,
        registry::{self, Definition},
        sidecar,
        sight::{self, Sight},
    },
    routes::{
        foreign::{self, RuleKind, Used},
        rules::{Site, TOO_MANY_PORTS, TOO_MANY_RULES},
        virtual_services,
    },
};

/// The answer for requests to `host` on `port`.
pub(crate) fn host(group: &Group, host: &Host, port: u16, view: &View<'_>) -> Resolved {
    let interest = Interest::Host(host.clone(), port);
    let mut closure = Closure::default();
    let site = Site { group, gateway: None, port };
    match gathered(host.as_str(), &site, view, &mut closure) {
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
    host: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<(Route, Option<Covers>)> {
    let mut found: Option<(Said, Option<Covers>)> = None;
    // A wildcard covers itself.
    let own = Pattern { text: host.to_owned(), is_named: true };
    for Pattern { text: pattern, is_named } in std::iter::once(own).chain(view.patterns(host)) {
        let is_pattern = pattern.starts_with('*');
        for source in [Source::VirtualServices, Source::Service] {
            let said = match (source, is_pattern) {
                (Source::VirtualServices, _) if !is_named => None,
                (Source::VirtualServices, _) => without_service(&pattern, site, view, closure),
                (Source::Service, false) => of_service(&pattern, site, view, closure),
                (Source::Service, true) => of_pattern(&pattern, is_named, site, (view, closure)),
            };
            let Some(said) = said else { continue };
            let is_for_everyone = said.is_for_everyone;
            match &mut found {
                Some((first, _)) => first.extend(said),
                None if is_pattern => {
                    let covers = Covers { pattern: Host::parse(&pattern).ok()? };
                    found = Some((said, Some(covers)));
                }
                None => found = Some((said, None)),
            }
            if is_for_everyone {
                return found.map(|(said, covers)| (said.route, covers));
            }
        }
    }
    let (mut said, covers) = found?;
    let action = match sidecar::outside(site.group, view) {
        Outside::Allow => Action::Passthrough,
        Outside::Refuse => Action::respond(502, "direct_response"),
    };
    said.end(Rule::always(action, said.route.origin.clone()));
    Some((said.route, covers))
}

/// What is said for a host so far.
struct Said {
    /// Has no rules of its own until they are for everyone, so that the lists come first.
    route: Route,
    is_for_everyone: bool,
}

impl Said {
    fn new(name: String, hosts: Vec<Host>, origin: Origin) -> Self {
        let route = Route { name, hosts, lists: Vec::new(), rules: Vec::new(), origin };
        Self { route, is_for_everyone: false }
    }

    /// Adds what holds for the clients that nothing is said for so far.
    fn extend(&mut self, next: Self) {
        next.route.lists.into_iter().for_each(|list| self.add_list(list));
        self.route.rules.extend(next.route.rules);
        self.is_for_everyone |= next.is_for_everyone;
    }

    /// Adds a list. A virtual service may name a host and patterns over it.
    fn add_list(&mut self, list: String) {
        if !self.route.lists.contains(&list) {
            self.route.lists.push(list);
        }
    }

    /// Adds a rule for all who are left.
    fn end(&mut self, rule: Rule) {
        self.route.rules.push(rule);
        self.is_for_everyone = true;
    }
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
    let protocol = match port.spoken {
        Spoken::Undeclared => Protocol::Detect,
        // What a younger object says of the address led here.
        spoken if spoken.is_http() => Protocol::Http,
        _ => Protocol::Tcp,
    };
    let mut routes = Vec::new();
    if protocol != Protocol::Tcp {
        let everything = Host::parse("*").expect("a star is a host");
        let name = format!("{}:{}", definition.host, port.number);
        let hosts = vec![everything];
        let Said { route, .. } = own_rules(&definition, name, hosts, &site, (view, &mut closure));
        routes.push(route.name.clone());
        closure.add(view.pool().piece(Resource::Route(route)));
    }
    let name = format!("{}_{}", address.ip(), address.port());
    let mut server = relay((&definition, &site), name, view, &mut closure);
    if protocol == Protocol::Http {
        server.tcp.clear();
    }
    let server = Server { protocol, routes, ..server };
    closure.answer(&interest, Entry::Server(Box::new(server)), None)
}

/// The answer for TLS connections to `port` whose clients ask for `name`.
pub(crate) fn server_name(group: &Group, name: &Host, port: u16, view: &View<'_>) -> Resolved {
    let interest = Interest::ServerName(name.clone(), port);
    let site = Site { group, gateway: None, port };
    let mut closure = Closure::default();
    let own = Pattern { text: name.to_string(), is_named: true };
    for Pattern { text, .. } in std::iter::once(own).chain(view.patterns(name.as_str())) {
        let Some(definition) = tcp::called(&text, &site, view) else { continue };
        let covers = match text.starts_with('*') {
            true => Host::parse(&text).ok().map(|pattern| Covers { pattern }),
            false => None,
        };
        let server = relay((&definition, &site), format!("{text}_{port}"), view, &mut closure);
        return closure.answer(&interest, Entry::Server(Box::new(server)), covers);
    }
    closure.answer(&interest, Entry::Outside, None)
}

/// A server that passes connections to a host on.
fn relay(
    (definition, site): (&Definition, &Site<'_>),
    name: String,
    view: &View<'_>,
    closure: &mut Closure,
) -> Server {
    Server {
        name,
        port: None,
        hello: None,
        protocol: Protocol::Tcp,
        routes: Vec::new(),
        tcp: tcp::targets(definition, site, view, closure),
        edge: false,
        origin: Origin::new(definition.owner.to_string(), ""),
    }
}

/// Adds the lists of the virtual services `used`, up to the first that is for everyone or closed;
/// `rank` says which port of the host this is.
fn add_lists<'k>(
    said: &mut Said,
    used: impl Iterator<Item = &'k Used>,
    rank: impl Fn(&Key) -> usize,
    site: &Site<'_>,
    (view, closure): (&View<'_>, &mut Closure),
) {
    for one in used {
        let key = &*one.key;
        if one.is_closed(rank(key)) {
            let origin = Origin::new(key.to_string(), "");
            if said.route.lists.is_empty() {
                said.route.origin = origin.clone();
            }
            said.end(Rule::always(Action::respond(500, TOO_MANY_PORTS), origin));
            break;
        }
        let shared = view.shared_rules(key, site.group, site.port);
        let Some(list) = &shared.list else { continue };
        closure.extend(&shared.closure);
        if said.route.lists.is_empty() {
            said.route.origin = Origin::new(key.to_string(), "");
        }
        said.add_list(list.clone());
        said.is_for_everyone |= shared.is_for_everyone;
        if said.is_for_everyone {
            break;
        }
    }
}

/// The route of a host that virtual services name and that no object defines.
fn without_service(
    host: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Said> {
    if !virtual_services::is_without_service(host, Sight::of(site.group), view) {
        return None;
    }
    let chosen = foreign::chosen_by(host, site.group, RuleKind::Http, view);
    closure.leave_out(&chosen.left_out);
    let serves_here = |key: &Key| {
        let service = view.virtual_service(key);
        service.is_some_and(|one| virtual_services::serves_on(one, site.port, view))
    };
    // Each has ports of its own.
    let rank = |key: &Key| view.directory_entry(key).http_ports.range(..site.port).count();
    let hosts = vec![Host::parse(host).ok()?];
    let mut said = Said::new(format!("{}/{host}", site.port), hosts, Origin::default());
    let used = chosen.used.iter().filter(|one| serves_here(&one.key));
    add_lists(&mut said, used, rank, site, (view, closure));
    if said.is_for_everyone {
        return Some(said);
    }
    // What those that are left out would have done is not known, so nothing wider is done.
    if let Some(key) = chosen.left_out.iter().find(|key| serves_here(key)) {
        let origin = Origin::new(key.to_string(), "");
        if said.route.lists.is_empty() {
            said.route.origin = origin.clone();
        }
        said.end(Rule::always(Action::respond(500, TOO_MANY_RULES), origin));
    }
    (said.is_for_everyone || !said.route.lists.is_empty()).then_some(said)
}

/// The route of the host that `host` is a name of.
fn of_service(host: &str, site: &Site<'_>, view: &View<'_>, closure: &mut Closure) -> Option<Said> {
    let definition = named(host, site, view)?;
    Some(service_route(&definition, site, view, closure))
}

/// What `host`, a name or an address, is to clients that speak HTTP to it.
fn named(host: &str, site: &Site<'_>, view: &View<'_>) -> Option<Arc<Definition>> {
    let mesh = view.mesh();
    let sight = Sight::of(site.group);
    let candidates: Vec<_> = match bare(host).parse() {
        Ok(address) if sight::is_of_services(address, view) => {
            let found = view.definitions_at(address).into_iter();
            found.filter(|one| one.is_service()).collect()
        }
        Ok(address) => {
            let mut first = sight::first_at(address, sight, view);
            first.remove(&site.port).into_iter().collect()
        }
        Err(_) => {
            let full = registry::spelled(host, &site.group.namespace, view.installation());
            let whole = host.strip_suffix('.').unwrap_or(host);
            let names = full.iter().map(String::as_str).chain([whole]);
            names.filter_map(|name| sight::definition(name, Some(site.port), sight, view)).collect()
        }
    };
    candidates.into_iter().find(|definition| speaks_http(definition, site, &mesh, view))
}

/// `host` without the brackets of an address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether clients at `site` see it and speak HTTP to it there.
fn speaks_http(definition: &Definition, site: &Site<'_>, mesh: &Mesh, view: &View<'_>) -> bool {
    definition.is_seen_from(&site.group.namespace, mesh)
        && sidecar::sees(site.group, definition, site.port, view)
        && definition.port(site.port).is_some_and(|port| port.spoken.is_http())
}

/// The route of `pattern`, if it is a host itself, else of the headless host whose names it
/// covers.
fn of_pattern(
    pattern: &str,
    is_named: bool,
    site: &Site<'_>,
    (view, closure): (&View<'_>, &mut Closure),
) -> Option<Said> {
    let mesh = view.mesh();
    // A name may have many endings, of which objects name few: the others cost no read.
    let seen = || sight::definition(pattern, Some(site.port), Sight::of(site.group), view);
    let itself = is_named.then(seen).flatten();
    match itself.filter(|definition| speaks_http(definition, site, &mesh, view)) {
        Some(definition) => Some(service_route(&definition, site, view, closure)),
        None => below_headless(pattern, site, view, closure),
    }
}

/// The route of the headless host whose names `pattern` covers.
fn below_headless(
    pattern: &str,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Option<Said> {
    let suffix = pattern.strip_prefix("*.")?;
    // Addresses have no names below them.
    let is_name = suffix.parse::<std::net::IpAddr>().is_err();
    let is_headless = |below: &Definition| below.is_service() && below.is_headless();
    let full = registry::spelled(suffix, &site.group.namespace, view.installation());
    let mut all =
        full.filter(|_| is_name).map_or(Vec::new(), |full| view.definitions(&full)).into_iter();
    let below =
        all.find(|below| is_headless(below) && speaks_http(below, site, &view.mesh(), view))?;
    Some(service_route(&below, site, view, closure))
}

fn service_route(
    definition: &Definition,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> Said {
    let full = &definition.host;
    // A virtual service that names one of the host's other names takes it away.
    let names = definition.names_in(&site.group.namespace).into_iter();
    let own = names.filter(|name| {
        name == full || is_own_address(name, definition, site, view) && !is_taken(name, site, view)
    });
    let hosts = own.filter_map(|name| Host::parse(&name).ok()).collect();
    own_rules(definition, format!("{}/{full}", site.port), hosts, site, (view, closure))
}

/// Whether `name`, if it is an address, is not another object's for clients at `site`.
fn is_own_address(name: &str, definition: &Definition, site: &Site<'_>, view: &View<'_>) -> bool {
    let Ok(address) = bare(name).parse() else { return true };
    let sight = Sight::of(site.group);
    definition.is_service()
        || sight::first_at(address, sight, view)
            .get(&site.port)
            .is_some_and(|first| first.owner == definition.owner)
}

/// Whether a virtual service defines `name` for clients at `site`.
fn is_taken(name: &str, site: &Site<'_>, view: &View<'_>) -> bool {
    virtual_services::is_without_service(name, Sight::of(site.group), view)
        && virtual_services::of_exact_host(name, site.group, view)
            .any(|service| virtual_services::serves_on(service, site.port, view))
}

/// The route of a host: the rules of its virtual service, else its own; where the virtual
/// service's are for clients with certain labels only, its own are for the others.
fn own_rules(
    definition: &Definition,
    name: String,
    hosts: Vec<Host>,
    site: &Site<'_>,
    (view, closure): (&View<'_>, &mut Closure),
) -> Said {
    let chosen = foreign::chosen_by(&definition.host, site.group, RuleKind::Http, view);
    closure.leave_out(&chosen.left_out);
    let origin = Origin::new(definition.owner.to_string(), "");
    let mut said = Said::new(name, hosts, origin.clone());
    let rank = definition.rank(site.port);
    add_lists(&mut said, chosen.used.iter(), |_| rank, site, (view, closure));
    if said.is_for_everyone {
        return said;
    }
    let host = backends::aliased(&definition.host, view);
    let backend = BackendRef { host, port: site.port, subset: None };
    closure.add_backends([&backend], site, view);
    said.end(Rule {
        name: Some("default".to_owned()),
        retries: view.mesh().retries.clone(),
        ..Rule::always(Action::Forward(vec![Target::new(backend.name(), 1)]), origin)
    });
    said
}
