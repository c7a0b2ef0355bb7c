//! What names of the cluster mean, by the rules of Kubernetes' DNS
//! specification.
//!
//! Pure: Services and pods come through [`Directory`].

use std::net::Ipv4Addr;

use crate::services::{Endpoint, Kind as Reach, Protocol, Service, usable};

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
pub(super) enum Kind {
    Address,
    Service,
    /// There are none of these, but the name may exist.
    Other,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name exists; there may be no entries of the kind asked for.
    Entries(Vec<Entry>),
    NoSuchName,
    /// It is not the cluster's to say.
    Elsewhere,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Address(Ipv4Addr),
    Service { port: u16, target: String },
    Alias(String),
}

/// Looks up a name in lower case, without the dot at its end; `domain` is the cluster's.
///
/// Names for which a pod stands come last: no pod takes over a name of the cluster.
pub(super) fn look_up(
    (name, kind): (&str, Kind),
    domain: &str,
    directory: &dyn Directory,
) -> Answer {
    let answer = in_cluster((name, kind), domain, directory);
    if !matches!(answer, Answer::NoSuchName | Answer::Elsewhere) {
        return answer;
    }
    match (directory.outside(name), kind) {
        (Some(address), Kind::Address) => Answer::Entries(vec![Entry::Address(address)]),
        (Some(_), _) => Answer::Entries(Vec::new()),
        (None, _) => answer,
    }
}

fn in_cluster((name, kind): (&str, Kind), domain: &str, directory: &dyn Directory) -> Answer {
    let Some(below) = name.strip_suffix(domain) else { return Answer::Elsewhere };
    if !below.is_empty() && !below.ends_with('.') {
        return Answer::Elsewhere;
    }
    let labels: Vec<&str> = below.split('.').filter(|label| !label.is_empty()).collect();
    match labels.as_slice() {
        [] | ["svc" | "pod"] => Answer::Entries(Vec::new()),
        [namespace, "svc" | "pod"] => match directory.has_namespace(namespace) {
            true => Answer::Entries(Vec::new()),
            false => Answer::NoSuchName,
        },
        [address, namespace, "pod"] => by_address(address, namespace, kind, directory),
        [rest @ .., service, namespace, "svc"] => match directory.service(namespace, service) {
            Some(found) => within((rest, kind), &found, domain, directory),
            None => Answer::NoSuchName,
        },
        _ => Answer::NoSuchName,
    }
}

fn within(
    (rest, kind): (&[&str], Kind),
    service: &Service,
    domain: &str,
    directory: &dyn Directory,
) -> Answer {
    let endpoints = || directory.endpoints(&service.namespace, &service.name);
    if let Reach::Alias(target) = &service.kind {
        return match (rest, kind) {
            ([], _) => Answer::Entries(vec![Entry::Alias(target.clone())]),
            _ => Answer::NoSuchName,
        };
    }
    match rest {
        [] => {
            let addresses = match (&service.kind, kind) {
                (_, Kind::Service | Kind::Other) => Vec::new(),
                (Reach::Address(address), _) => vec![Entry::Address(*address)],
                _ => usable(&endpoints()).iter().map(|one| Entry::Address(one.address)).collect(),
            };
            Answer::Entries(addresses)
        }
        [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
            let protocol = match *protocol {
                "_tcp" => Protocol::Tcp,
                "_udp" => Protocol::Udp,
                _ => return Answer::NoSuchName,
            };
            let base = format!("{}.{}.svc.{domain}", service.name, service.namespace);
            services((&port[1..], protocol), (service, &base), kind, &endpoints())
        }
        [host] => {
            let all = endpoints();
            let usable = usable(&all);
            let found = usable.iter().filter(|endpoint| label(endpoint) == *host);
            let found: Vec<Entry> = found.map(|one| Entry::Address(one.address)).collect();
            match (found.is_empty(), kind) {
                (true, _) => Answer::NoSuchName,
                (false, Kind::Address) => Answer::Entries(found),
                (false, _) => Answer::Entries(Vec::new()),
            }
        }
        _ => Answer::NoSuchName,
    }
}

fn services(
    (name, protocol): (&str, Protocol),
    (service, base): (&Service, &str),
    kind: Kind,
    endpoints: &[Endpoint],
) -> Answer {
    let fits = |port: &&crate::services::Port| port.name == name && port.protocol == protocol;
    let Some(port) = service.ports.iter().find(fits) else { return Answer::NoSuchName };
    if kind != Kind::Service {
        return Answer::Entries(Vec::new());
    }
    if let Reach::Address(_) = service.kind {
        return Answer::Entries(vec![Entry::Service {
            port: port.number,
            target: base.to_owned(),
        }]);
    }
    let entry = |endpoint: &&Endpoint| {
        let port = endpoint.ports.iter().find(fits)?;
        let target = format!("{}.{base}", label(endpoint));
        Some(Entry::Service { port: port.number, target })
    };
    Answer::Entries(usable(endpoints).iter().filter_map(entry).collect())
}

/// The label of an endpoint below its Service: its host name, or its address.
fn label(endpoint: &Endpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) => hostname.clone(),
        None => endpoint.address.to_string().replace('.', "-"),
    }
}

fn by_address(address: &str, namespace: &str, kind: Kind, directory: &dyn Directory) -> Answer {
    let address = address.replace('-', ".").parse::<Ipv4Addr>();
    match (address, directory.has_namespace(namespace), kind) {
        (Ok(address), true, Kind::Address) => Answer::Entries(vec![Entry::Address(address)]),
        (Ok(_), true, _) => Answer::Entries(Vec::new()),
        _ => Answer::NoSuchName,
    }
}

#[cfg(test)]
mod tests;
