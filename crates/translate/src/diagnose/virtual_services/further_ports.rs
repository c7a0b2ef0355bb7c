//! Ports of hosts on which a virtual service is closed, since its rules would be repeated too often.

use weft_api::{Diagnostic, Key, virtual_service::VirtualService};

use super::LISTS;
use crate::{
    graph::view::View,
    routes::{
        foreign::{REPEATED, TIMES},
        virtual_services::Summary,
    },
};

/// Up to this many ports nothing is closed.
const FEW: usize = 1 + TIMES;

/// That `service` is closed on ports of hosts that it names, for the clients of its namespace or
/// for some others that see it: one diagnostic for each list of its rules.
pub(super) fn check(
    key: &Key,
    service: &VirtualService,
    own: &Summary,
    view: &View<'_>,
) -> Vec<Diagnostic> {
    let namespace = &key.namespace;
    let client = match own.reach(namespace) {
        Some(_) => Some(namespace.clone()),
        None => own.strangers().into_iter().next(),
    };
    let Some(client) = client else { return Vec::new() };
    let resolved = service.spec.hosts.iter();
    let resolved = resolved.map(|host| view.installation().resolve(host, namespace));
    let wide: Vec<(String, usize)> = resolved
        .map(|host| (ports_of(&host, key, view), host))
        .filter(|(ports, _)| *ports > FEW)
        .map(|(ports, host)| (host, ports))
        .collect();
    let found = LISTS.into_iter().filter_map(|(kind, field)| {
        let (host, ports) = wide.iter().find_map(|(host, count)| {
            let chosen = view.chosen(host, &client, kind);
            let used = chosen.used.iter().find(|used| *used.key == *key)?;
            (used.ports < *count).then_some((host, used.ports))
        })?;
        let message = format!(
            "is closed on ports of `{host}` behind the first {ports}: each port repeats the rules \
             that name no port, and those that VirtualServices of namespace {namespace}, older \
             ones first, have for the host are more than {} MiB and {TIMES} times what they are \
             once; requests get 500 there and connections end; give them fewer or shorter rules, \
             or name ports in their matches",
            REPEATED >> 20
        );
        Some(Diagnostic::error(key, field, message))
    });
    found.collect()
}

/// On how many ports `host`, which the virtual service called `key` names, is served.
fn ports_of(host: &str, key: &Key, view: &View<'_>) -> usize {
    match view.definitions(host).first() {
        Some(definition) => definition.ports.len(),
        None => view.directory_entry(key).http_ports.len(),
    }
}
