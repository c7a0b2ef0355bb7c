//! Hosts of ServiceEntries that others define, and that lead nowhere.

use std::sync::Arc;

use weft_api::{Diagnostic, Key, service_entry::ServiceEntry};

use crate::{
    clusters::{
        endpoints::{PAIRS, TIMES, is_local, served_ports},
        members,
    },
    graph::view::View,
    model::{
        registry::{Definition, Resolution},
        sight::{self, Sight},
    },
};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(entry) = view.service_entry(key) else { return Vec::new() };
    let mut found = hosts(key, entry, view);
    let Some(first) = view.definition(key) else { return found };
    found.extend(addresses(key, entry));
    found.extend(closed(key, entry, &first, view));
    match &first.resolution {
        Resolution::Endpoints if found.is_empty() => {
            let chunks = view.chunks(&first);
            if !first.ports.is_empty()
                && first.ports.iter().all(|port| chunks.endpoints(port.number).next().is_none())
            {
                let field = match entry.spec.workload_selector {
                    Some(_) => "spec.workloadSelector",
                    None => "spec.endpoints",
                };
                let message = "there is no endpoint, so requests to the hosts get 503";
                found.push(Diagnostic::warning(key, field, message));
            }
        }
        Resolution::Names(_) if entry.spec.endpoints.len() > members::MOST_NAMES => {
            let message = format!(
                "the first {} names are used, further ones are not; name fewer",
                members::MOST_NAMES
            );
            found.push(Diagnostic::error(key, "spec.endpoints", message));
        }
        _ => {}
    }
    found
}

/// Hosts that clients do not reach by this object.
fn hosts(key: &Key, entry: &ServiceEntry, view: &View<'_>) -> Vec<Diagnostic> {
    let own = view.definitions_of(key);
    let hosts = entry.spec.hosts.iter().enumerate();
    let found = hosts.filter_map(|(at, written)| {
        let field = format!("spec.hosts[{at}]");
        let host = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
        let Some(defined) = own.iter().find(|one| one.host == host) else {
            let message = format!(
                "`{written}` is not used: names of the cluster are Services, and wildcards begin \
                 with a whole label; name a host, or a domain outside of the cluster"
            );
            return (written.starts_with('*') && written.len() > 1)
                .then(|| Diagnostic::warning(key, field, message));
        };
        let first = sight::definition(&host, None, Sight::of_namespace(&key.namespace), view)?;
        (first.owner != defined.owner).then(|| {
            let message = match first.owner.namespace == key.namespace {
                true => format!("is {}, too; its endpoints are joined with these", first.owner),
                false => format!(
                    "is {}, which comes first: clients that see it do not reach the endpoints here",
                    first.owner
                ),
            };
            match first.owner.namespace == key.namespace {
                true => Diagnostic::info(key, field, message),
                false => Diagnostic::warning(key, field, message),
            }
        })
    });
    found.collect()
}

/// Endpoints that are another machine to each that dials them.
fn addresses(key: &Key, entry: &ServiceEntry) -> Option<Diagnostic> {
    let mut endpoints = entry.spec.endpoints.iter().enumerate();
    let is_refused = |text: &str| text.parse().is_ok_and(is_local);
    let (at, endpoint) = endpoints.find(|(_, one)| is_refused(&one.address))?;
    let message = format!(
        "{} is loopback, link-local, unspecified or multicast: another machine to each that dials \
         it, so no proxy does; give the address of a machine",
        endpoint.address
    );
    Some(Diagnostic::warning(key, format!("spec.endpoints[{at}].address"), message))
}

/// The first port that has no endpoints because all would be repeated too often.
fn closed(
    key: &Key,
    entry: &ServiceEntry,
    first: &Arc<Definition>,
    view: &View<'_>,
) -> Option<Diagnostic> {
    if first.resolution != Resolution::Endpoints {
        return None;
    }
    let number = first.ports.get(served_ports(first, view))?.number;
    let at = entry.spec.ports.iter().position(|port| port.number == number)?;
    let message = format!(
        "has no endpoints, nor have the ports after it: hosts times ports times endpoints are more \
         than {PAIRS} and {TIMES} times their sum; requests get 503, divide the ServiceEntry"
    );
    Some(Diagnostic::error(key, format!("spec.ports[{at}]"), message))
}
