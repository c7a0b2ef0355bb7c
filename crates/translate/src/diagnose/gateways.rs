//! Gateways that nobody serves, and servers of theirs that are not.

use std::sync::Arc;

use weft_api::{
    Diagnostic, Key,
    gateway::{Gateway, Reading},
};

use crate::{
    diagnose::skipped_gateways,
    graph::view::View,
    listeners::{self, Conflict, Limited, PORTS, Rival},
    model::picked,
};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(gateway) = view.gateway(key) else { return Vec::new() };
    let mut found = Vec::new();
    for (at, server) in gateway.spec.servers.iter().enumerate() {
        let field = format!("spec.servers[{at}]");
        match listeners::bound(server) {
            Err(Conflict::Protocol) => found.push(Diagnostic::error(
                key,
                format!("{field}.port.protocol"),
                format!(
                    "`{}` is not known: nothing listens on port {} for this server",
                    server.port.protocol, server.port.number
                ),
            )),
            Err(Conflict::Bind) => found.push(Diagnostic::error(
                key,
                format!("{field}.bind"),
                "is not an IP address: nothing listens for this server; leave it out to listen on all",
            )),
            Ok(_) if server.hosts.is_empty() => {
                found.push(Diagnostic::error(
                    key,
                    format!("{field}.hosts"),
                    "names no host, so every request gets 404; write \"*\" for all",
                ));
            }
            Ok(_) if matches!(server.reading(), Some(Reading::Ended | Reading::ServiceName)) => {
                found.push(Diagnostic::error(
                    key,
                    format!("{field}.tls.mode"),
                    "TLS that ends at the gateway, and AUTO_PASSTHROUGH, are not honoured yet: \
                     connections for these hosts are closed until they are",
                ));
            }
            Ok(_) if listeners::redirects(server) => found.push(Diagnostic::warning(
                key,
                format!("{field}.tls.httpsRedirect"),
                "sends clients to HTTPS, of which gateways serve only what they pass on \
                 (`PASSTHROUGH`) as yet",
            )),
            Ok(_) => {}
        }
    }
    let pod = picked::gateway_of(gateway, view);
    found.extend(workloads(key, gateway, pod.as_ref(), view));
    if let Some(pod) = pod {
        match view.limited(&pod) {
            Some(all) => {
                found.extend(limited(key, &all));
                found.extend(redirected(key, &all));
                found.extend(conflicts(key, gateway, &all));
            }
            None => {
                let message = skipped_gateways::message(&pod, "this Gateway");
                found.push(Diagnostic::warning(key, "spec.selector", message));
            }
        }
    }
    found
}

/// That servers are not served, since the Gateways of the namespace have too many ports.
fn limited(key: &Key, limited: &Limited) -> Option<Diagnostic> {
    let own = limited.servers.get(key)?;
    let first = own.first()?;
    let which = match own.len() - 1 {
        0 => "this server is".to_owned(),
        more => format!("this server and {more} more are"),
    };
    let message = format!(
        "{which} not served: the Gateways of namespace {} have more than {PORTS} ports at one \
         gateway; nothing listens on the highest of them, and where another namespace has the \
         port, hosts that it does not serve get 500; use fewer ports",
        key.namespace,
    );
    Some(Diagnostic::error(key, format!("spec.servers[{first}].port.number"), message))
}

/// That hosts whose clients the Gateway sends to TLS are served all the same.
fn redirected(key: &Key, limited: &Limited) -> Option<Diagnostic> {
    let (server, host) = limited.redirects.get(key)?;
    let message = format!(
        "does not hold for all of these hosts: another Gateway serves {host} on this port, and \
         does so in plaintext; have one Gateway only for each host"
    );
    Some(Diagnostic::error(key, format!("spec.servers[{server}].tls.httpsRedirect"), message))
}

/// That servers on one port are not compatible: those that have none, and those that have it.
fn conflicts(key: &Key, gateway: &Gateway, limited: &Limited) -> Vec<Diagnostic> {
    let own = limited.conflicts.get(key).into_iter().flatten();
    let found = own.filter_map(|(index, Rival { gateway: other, index: nth, has_port })| {
        let port = &gateway.spec.servers.get(*index)?.port;
        let (number, protocol) = (port.number, &port.protocol);
        let field = format!("spec.servers[{index}].port.protocol");
        Some(match has_port {
            true => {
                let message = format!(
                    "is not served: {other} servers[{nth}], which is older or stands before it, has \
                     port {number} for another kind of protocol than {protocol}; use another port"
                );
                Diagnostic::error(key, field, message)
            }
            false => {
                let message = format!(
                    "{other} servers[{nth}] has port {number}, too, with another kind of protocol, \
                     and is not served; use another port for one of them"
                );
                Diagnostic::warning(key, field, message)
            }
        })
    });
    found.collect()
}

/// Whether a pod serves the Gateway, and can be reached on its ports; `serving` is that of a
/// gateway.
fn workloads(
    key: &Key,
    gateway: &Gateway,
    serving: Option<&Arc<Key>>,
    view: &View<'_>,
) -> Vec<Diagnostic> {
    let picked = view.picked(&gateway.spec.selector, None);
    let Some(pod) = serving.or(picked.running.as_ref()) else {
        let mut found = reserved(key, gateway, |number| number);
        if picked.is_complete && picked.pods.is_empty() {
            let message = "no pod has these labels, so this Gateway is not served; \
                           the gateway that the mesh brings has `istio: ingressgateway`";
            found.push(Diagnostic::warning(key, "spec.selector", message));
        }
        return found;
    };
    let exposed = view.exposed(pod);
    let found = reserved(key, gateway, |number| exposed.behind.port(number));
    if exposed.ports.is_empty() {
        return found;
    }
    // A server on the pod's port behind a service's port is reached there, too.
    let servers = gateway.spec.servers.iter().enumerate();
    let hidden = servers
        .filter(|(_, server)| listeners::bound(server).is_ok())
        .filter(|(_, server)| !exposed.ports.contains(&server.port.number));
    let hidden = hidden.map(|(at, server)| {
        let message = format!(
            "no Service of the gateway's pods has port {}, so clients outside cannot reach it",
            server.port.number
        );
        Diagnostic::warning(key, format!("spec.servers[{at}].port.number"), message)
    });
    found.into_iter().chain(hidden).collect()
}

/// Servers on ports that the proxy itself has; `port_of` gives the pod's port.
fn reserved(key: &Key, gateway: &Gateway, port_of: impl Fn(u16) -> u16) -> Vec<Diagnostic> {
    let servers = gateway.spec.servers.iter().enumerate();
    let bound = servers.filter_map(|(at, server)| Some((at, listeners::bound(server).ok()?)));
    let refused = bound.filter_map(|(at, bound)| {
        let number = bound.port();
        let port = port_of(number);
        let of_the_pod = match port == number {
            true => String::new(),
            false => format!(", the pod's port behind {number},"),
        };
        let message = format!(
            "port {port}{of_the_pod} belongs to the proxy itself: nothing listens for this \
             server; choose another port"
        );
        let field = format!("spec.servers[{at}].port.number");
        listeners::is_reserved(port).then(|| Diagnostic::error(key, field, message))
    });
    refused.collect()
}
