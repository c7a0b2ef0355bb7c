//! Connections by address: which host is behind one, and where its bytes go.

use std::{net::SocketAddr, sync::Arc};

use serde_json::Value;
use weft_api::virtual_service::{HttpMatch, VirtualService};
use weft_config::{Origin, Resource, TcpTarget};

use crate::{
    Group,
    backends::{self, BackendRef},
    closure::Closure,
    registry::{self, Definition, Port},
    rules::{self, Site, targets, targets::Ports},
    view::View,
    virtual_services,
};

/// The host, and its port, that decides about connections to `address`; none when it
/// is not the address that decides.
pub(super) fn behind(
    address: SocketAddr,
    group: &Group,
    view: &View<'_>,
) -> Option<(Arc<Definition>, Port)> {
    let mesh = view.mesh();
    let seen = |definition: &Arc<Definition>| definition.is_seen_from(&group.namespace, &mesh);
    for definition in view.definitions_at(address.ip()).into_iter().filter(seen) {
        let port = definition.port(address.port()).filter(|port| !port.spoken.is_http());
        if let Some(port) = port.cloned() {
            return Some((definition, port));
        }
    }
    for definition in registry::with_endpoint(address.ip(), view).into_iter().filter(seen) {
        if !definition.is_headless() {
            continue;
        }
        let behind = view.addresses(&definition.owner);
        let mut ports = definition.ports.iter().filter(|port| !port.spoken.is_http());
        let port = ports.find(|port| {
            behind.by_port.get(&port.number).is_some_and(|all| all.contains(&address))
        });
        if let Some(port) = port.cloned() {
            return Some((definition, port));
        }
    }
    None
}

/// Where the bytes of connections to a host go: where its virtual service says, else
/// to itself.
pub(super) fn target(
    definition: &Definition,
    site: &Site<'_>,
    view: &View<'_>,
    closure: &mut Closure,
) -> TcpTarget {
    let mesh = view.mesh();
    let services = virtual_services::of_host(&definition.host, site.group, &mesh, view);
    let (wanted, origin) = services
        .into_iter()
        .find_map(|service| of_rules(service, site, view))
        .unwrap_or_else(|| {
            let own = BackendRef { host: definition.host.clone(), port: site.port, subset: None };
            (vec![(own, 1)], Origin::new(definition.owner.to_string(), ""))
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
    TcpTarget { backends, origin, ..TcpTarget::default() }
}

/// Where the first rule for `site` sends connections; nowhere if it cannot be
/// honoured.
fn of_rules(
    service: &VirtualService,
    site: &Site<'_>,
    view: &View<'_>,
) -> Option<(Vec<(BackendRef, u32)>, Origin)> {
    let namespace = service.metadata.namespace.as_str();
    for (at, rule) in service.spec.tcp.iter().enumerate() {
        let matches: Vec<Matched> =
            rule.matches.iter().map(|one| matched(one, namespace, site)).collect();
        let unknown = matches.contains(&Matched::Unknown);
        if !matches.is_empty() && !unknown && !matches.contains(&Matched::Holds) {
            continue;
        }
        let closed = unknown || !service.spec.closed.is_empty();
        let written: Vec<_> = rule.route.iter().map(|one| (&one.destination, one.weight)).collect();
        let shares = targets::shares(&written).ok().filter(|_| !closed).unwrap_or_default();
        let ports = Ports::of_site(site);
        let wanted = shares.into_iter().map(|(destination, weight)| {
            (targets::backend(destination, namespace, ports, view), weight)
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
