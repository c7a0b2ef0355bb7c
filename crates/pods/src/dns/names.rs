//! What names of the cluster mean, by the rules of Kubernetes' DNS
//! specification.
//!
//! Pure: Services and pods come through [`Directory`].

use std::net::Ipv4Addr;

use crate::services::{Endpoint, Protocol, Service, ServiceKind, usable};

/// Where names are looked up.
pub(crate) trait Directory {
    /// A Service by namespace and name.
    fn service(&self, namespace: &str, name: &str) -> Option<Service>;
    /// All endpoints of a Service.
    fn endpoints(&self, namespace: &str, name: &str) -> Vec<Endpoint>;
    /// Whether a namespace exists.
    fn has_namespace(&self, name: &str) -> bool;
    /// The address of a name beyond the mesh for which some pod stands.
    fn outside(&self, name: &str) -> Option<Ipv4Addr>;
}

/// Which records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueryKind {
    Address,
    Service,
    /// There are none of these, but the name may exist.
    Other,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupResult {
    /// The name exists; there may be no entries of the kind asked for.
    Entries(Vec<RecordData>),
    NoSuchName,
    /// It is not the cluster's to say.
    Elsewhere,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordData {
    Address(Ipv4Addr),
    Service { port: u16, target: String },
    Alias(String),
}

/// Looks up a name in lower case, without the dot at its end; `domain` is the cluster's.
///
/// Names for which a pod stands come last: no pod takes over a name of the cluster.
pub(super) fn look_up(
    (name, kind): (&str, QueryKind),
    domain: &str,
    directory: &dyn Directory,
) -> LookupResult {
    let answer = in_cluster((name, kind), domain, directory);
    if !matches!(answer, LookupResult::NoSuchName | LookupResult::Elsewhere) {
        return answer;
    }
    match (directory.outside(name), kind) {
        (Some(address), QueryKind::Address) => {
            LookupResult::Entries(vec![RecordData::Address(address)])
        }
        (Some(_), _) => LookupResult::Entries(Vec::new()),
        (None, _) => answer,
    }
}

fn in_cluster(
    (name, kind): (&str, QueryKind),
    domain: &str,
    directory: &dyn Directory,
) -> LookupResult {
    let Some(below) = name.strip_suffix(domain) else { return LookupResult::Elsewhere };
    if !below.is_empty() && !below.ends_with('.') {
        return LookupResult::Elsewhere;
    }
    let labels: Vec<&str> = below.split('.').filter(|label| !label.is_empty()).collect();
    match labels.as_slice() {
        [] | ["svc" | "pod"] => LookupResult::Entries(Vec::new()),
        [namespace, "svc" | "pod"] => match directory.has_namespace(namespace) {
            true => LookupResult::Entries(Vec::new()),
            false => LookupResult::NoSuchName,
        },
        [address, namespace, "pod"] => by_address(address, namespace, kind, directory),
        [rest @ .., service, namespace, "svc"] => match directory.service(namespace, service) {
            Some(found) => within((rest, kind), &found, domain, directory),
            None => LookupResult::NoSuchName,
        },
        _ => LookupResult::NoSuchName,
    }
}

fn within(
    (rest, kind): (&[&str], QueryKind),
    service: &Service,
    domain: &str,
    directory: &dyn Directory,
) -> LookupResult {
    let endpoints = || directory.endpoints(&service.namespace, &service.name);
    if let ServiceKind::Alias(target) = &service.kind {
        return match (rest, kind) {
            ([], _) => LookupResult::Entries(vec![RecordData::Alias(target.clone())]),
            _ => LookupResult::NoSuchName,
        };
    }
    match rest {
        [] => {
            let addresses = match (&service.kind, kind) {
                (_, QueryKind::Service | QueryKind::Other) => Vec::new(),
                (ServiceKind::Address(address), _) => vec![RecordData::Address(*address)],
                _ => usable(&endpoints())
                    .iter()
                    .map(|one| RecordData::Address(one.address))
                    .collect(),
            };
            LookupResult::Entries(addresses)
        }
        [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
            let protocol = match *protocol {
                "_tcp" => Protocol::Tcp,
                "_udp" => Protocol::Udp,
                _ => return LookupResult::NoSuchName,
            };
            let base = format!("{}.{}.svc.{domain}", service.name, service.namespace);
            services((&port[1..], protocol), (service, &base), kind, &endpoints())
        }
        [host] => {
            let all = endpoints();
            let usable = usable(&all);
            let found = usable.iter().filter(|endpoint| label(endpoint) == *host);
            let found: Vec<RecordData> =
                found.map(|one| RecordData::Address(one.address)).collect();
            match (found.is_empty(), kind) {
                (true, _) => LookupResult::NoSuchName,
                (false, QueryKind::Address) => LookupResult::Entries(found),
                (false, _) => LookupResult::Entries(Vec::new()),
            }
        }
        _ => LookupResult::NoSuchName,
    }
}

fn services(
    (name, protocol): (&str, Protocol),
    (service, base): (&Service, &str),
    kind: QueryKind,
    endpoints: &[Endpoint],
) -> LookupResult {
    let fits = |port: &&crate::services::Port| port.name == name && port.protocol == protocol;
    let Some(port) = service.ports.iter().find(fits) else { return LookupResult::NoSuchName };
    if kind != QueryKind::Service {
        return LookupResult::Entries(Vec::new());
    }
    if let ServiceKind::Address(_) = service.kind {
        return LookupResult::Entries(vec![RecordData::Service {
            port: port.number,
            target: base.to_owned(),
        }]);
    }
    let entry = |endpoint: &&Endpoint| {
        let port = endpoint.ports.iter().find(fits)?;
        let target = format!("{}.{base}", label(endpoint));
        Some(RecordData::Service { port: port.number, target })
    };
    LookupResult::Entries(usable(endpoints).iter().filter_map(entry).collect())
}

/// The label of an endpoint below its Service: its host name, or its address.
fn label(endpoint: &Endpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) => hostname.clone(),
        None => endpoint.address.to_string().replace('.', "-"),
    }
}

fn by_address(
    address: &str,
    namespace: &str,
    kind: QueryKind,
    directory: &dyn Directory,
) -> LookupResult {
    let address = address.replace('-', ".").parse::<Ipv4Addr>();
    match (address, directory.has_namespace(namespace), kind) {
        (Ok(address), true, QueryKind::Address) => {
            LookupResult::Entries(vec![RecordData::Address(address)])
        }
        (Ok(_), true, _) => LookupResult::Entries(Vec::new()),
        _ => LookupResult::NoSuchName,
    }
}

#[cfg(test)]
mod tests;
