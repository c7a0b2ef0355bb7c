//! Connections by address: which service is behind one, and where its bytes go.

use std::net::SocketAddr;

use serde_json::Value;
use weft_api::{
    Key, Kind,
    kubernetes::{SERVICE_NAME_LABEL, ServicePort},
    virtual_service::{HttpMatch, VirtualService},
};
use weft_config::{Origin, Resource, TcpTarget};

use crate::{
    Group,
    age::age,
    backends::{self, Wanted},
    closure::Closure,
    endpoints, hosts,
    protocol::Spoken,
    rules::{self, Site, targets, targets::Ports},
    view::View,
    virtual_services,
};

/// The service, and its port, that decides about connections to `address`; none
/// when it is not the address that decides.
pub(super) fn behind<'g>(
    address: SocketAddr,
    group: &Group,
    view: &View<'g>,
) -> Option<(Key, &'g ServicePort)> {
    let mesh = view.mesh();
    let mut services = view.services_at(address.ip());
    services.sort_by(|one, other| age(&one.metadata).cmp(&age(&other.metadata)));
    for service in services {
        let metadata = &service.metadata;
        let full = hosts::service(&metadata.namespace, &metadata.name);
        let Some((key, service)) = backends::seen(&full, group, &mesh, view) else { continue };
        let mut ports = endpoints::tcp_ports(service);
        let port = ports.find(|port| port.port == address.port() && !Spoken::of(port).is_http());
        if let Some(port) = port {
            return Some((key, port));
        }
    }
    for slice in view.slices_at(address.ip()) {
        let Some(name) = slice.metadata.labels.get(SERVICE_NAME_LABEL) else { continue };
        let full = hosts::service(&slice.metadata.namespace, name);
        let Some((key, service)) = backends::seen(&full, group, &mesh, view) else { continue };
        if !service.headless() {
            continue;
        }
        let behind = view.addresses(&key);
        let mut ports = endpoints::tcp_ports(service).filter(|port| !Spoken::of(port).is_http());
        let port = ports
            .find(|port| behind.by_port.get(&port.port).is_some_and(|all| all.contains(&address)));
        if let Some(port) = port {
            return Some((Key::new(Kind::Service, key.namespace, key.name), port));
        }
    }
    None
}

/// Where the bytes of connections to a service go: where its virtual service
/// says, else to itself.
pub(super) fn target(
    full: &str,
    key: &Key,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> TcpTarget {
    let mesh = view.mesh();
    let services = virtual_services::of_host(full, site.group, &mesh, view);
    let (wanted, origin) = services
        .into_iter()
        .find_map(|service| of_rules(service, site, view))
        .unwrap_or_else(|| {
            let own = Wanted { host: full.to_owned(), port: site.port, subset: None };
            (vec![(own, 1)], Origin::new(key.to_string(), ""))
        });
    for (wanted, _) in &wanted {
        backends::add(wanted, site, view, closure);
    }
    let mut backends: Vec<_> =
        wanted.into_iter().map(|(wanted, weight)| (wanted.name(), weight)).collect();
    if backends.is_empty() {
        let black_hole = backends::black_hole(&mesh);
        backends.push((black_hole.name.clone(), 1));
        closure.add(view.pool().piece(Resource::Backend(black_hole)));
    }
    TcpTarget { backends, origin }
}

/// Where the first rule for `site` sends connections; nowhere if it cannot be
/// honoured.
fn of_rules(
    service: &VirtualService,
    site: &Site<'_>,
    view: &View<'_>,
) -> Option<(Vec<(Wanted, u32)>, Origin)> {
    let namespace = service.metadata.namespace.as_str();
    for (at, rule) in service.spec.tcp.iter().enumerate() {
        let matches: Vec<Matched> =
            rule.matches.iter().map(|one| matched(one, namespace, site)).collect();
        let closed = matches.contains(&Matched::Unknown);
        if !matches.is_empty() && !closed && !matches.contains(&Matched::Holds) {
            continue;
        }
        let written: Vec<_> = rule.route.iter().map(|one| (&one.destination, one.weight)).collect();
        let shares = targets::shares(&written).ok().filter(|_| !closed).unwrap_or_default();
        let ports = Ports::of_site(site);
        let wanted = shares.into_iter().map(|(destination, weight)| {
            (targets::wanted(destination, namespace, ports, view), weight)
        });
        let origin = Origin::new(rules::object(service), format!("tcp[{at}]"));
        return Some((wanted.collect(), origin));
    }
    // Server names are not looked at yet, so no rule for one can be said not to hold.
    let first = service.spec.tls.iter().position(|rule| tls_may_apply(rule, namespace, site))?;
    Some((Vec::new(), Origin::new(rules::object(service), format!("tls[{first}]"))))
}

/// What is known of one alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matched {
    Holds,
    Fails,
    /// It has a condition that is not honoured yet.
    Unknown,
}

/// Conditions that are decided here; they are spelled as those of HTTP rules.
const DECIDED: &[&str] = &["port", "sourceLabels", "sourceNamespace", "gateways"];

fn matched(one: &Value, namespace: &str, site: &Site<'_>) -> Matched {
    let decided = serde_json::from_value::<HttpMatch>(one.clone());
    match decided {
        Ok(decided) if !rules::applies(&decided, namespace, site) => Matched::Fails,
        Ok(_) if has_only(one, DECIDED) => Matched::Holds,
        Ok(_) | Err(_) => Matched::Unknown,
    }
}

fn has_only(one: &Value, known: &[&str]) -> bool {
    one.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str())))
}

fn tls_may_apply(rule: &Value, namespace: &str, site: &Site<'_>) -> bool {
    let matches = rule.get("match").and_then(Value::as_array);
    matches.is_none_or(|all| {
        all.is_empty() || all.iter().any(|one| matched(one, namespace, site) != Matched::Fails)
    })
}
