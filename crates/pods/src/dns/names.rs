//! What names of the cluster mean, by the rules of Kubernetes' DNS
//! specification.
//!
//! Pure: Services and pods come through [`Directory`].

use std::net::Ipv4Addr;

use crate::services::{Endpoint, Port, Protocol, Service, ServiceKind, usable};

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

/// The names that this server knows.
pub(super) struct Zone<'z> {
    /// The domain of the cluster's names.
    pub(super) domain: &'z str,
    pub(super) directory: &'z dyn Directory,
}

impl Zone<'_> {
    /// Looks up a name in lower case, without the dot at its end.
    ///
    /// Names for which a pod stands come last: no pod takes over a name of the cluster.
    pub(super) fn look_up(&self, name: &str, kind: QueryKind) -> LookupResult {
        let answer = self.in_cluster(name, kind);
        if !matches!(answer, LookupResult::NoSuchName | LookupResult::Elsewhere) {
            return answer;
        }
        match (self.directory.outside(name), kind) {
            (Some(address), QueryKind::Address) => {
                LookupResult::Entries(vec![RecordData::Address(address)])
            }
            (Some(_), _) => LookupResult::Entries(Vec::new()),
            (None, _) => answer,
        }
    }

    fn in_cluster(&self, name: &str, kind: QueryKind) -> LookupResult {
        let Some(below) = name.strip_suffix(self.domain) else { return LookupResult::Elsewhere };
        if !below.is_empty() && !below.ends_with('.') {
            return LookupResult::Elsewhere;
        }
        let labels: Vec<&str> = below.split('.').filter(|label| !label.is_empty()).collect();
        match labels.as_slice() {
            [] | ["svc" | "pod"] => LookupResult::Entries(Vec::new()),
            [namespace, "svc" | "pod"] => match self.directory.has_namespace(namespace) {
                true => LookupResult::Entries(Vec::new()),
                false => LookupResult::NoSuchName,
            },
            [address, namespace, "pod"] => self.by_address(address, namespace, kind),
            [rest @ .., service, namespace, "svc"] => {
                match self.directory.service(namespace, service) {
                    Some(found) => self.within(&found, rest, kind),
                    None => LookupResult::NoSuchName,
                }
            }
            _ => LookupResult::NoSuchName,
        }
    }

    /// What `rest` is below the name of `service`.
    fn within(&self, service: &Service, rest: &[&str], kind: QueryKind) -> LookupResult {
        let endpoints = || self.directory.endpoints(&service.namespace, &service.name);
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
                let name = &port[1..];
                let fits = |port: &Port| port.name == name && port.protocol == protocol;
                match kind {
                    _ if !service.ports.iter().any(fits) => LookupResult::NoSuchName,
                    QueryKind::Service => self.targets(service, fits, &endpoints()),
                    QueryKind::Address | QueryKind::Other => LookupResult::Entries(Vec::new()),
                }
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

    /// The records of a port of `service`: itself, or its endpoints where it has no address.
    fn targets(
        &self,
        service: &Service,
        fits: impl Fn(&Port) -> bool,
        endpoints: &[Endpoint],
    ) -> LookupResult {
        let base = format!("{}.{}.svc.{}", service.name, service.namespace, self.domain);
        if let ServiceKind::Address(_) = service.kind {
            let port = service.ports.iter().find(|port| fits(port));
            let entry = port.map(|port| RecordData::Service { port: port.number, target: base });
            return LookupResult::Entries(entry.into_iter().collect());
        }
        let entry = |endpoint: &&Endpoint| {
            let port = endpoint.ports.iter().find(|port| fits(port))?;
            let target = format!("{}.{base}", label(endpoint));
            Some(RecordData::Service { port: port.number, target })
        };
        LookupResult::Entries(usable(endpoints).iter().filter_map(entry).collect())
    }

    fn by_address(&self, address: &str, namespace: &str, kind: QueryKind) -> LookupResult {
        let address = address.replace('-', ".").parse::<Ipv4Addr>();
        match (address, self.directory.has_namespace(namespace), kind) {
            (Ok(address), true, QueryKind::Address) => {
                LookupResult::Entries(vec![RecordData::Address(address)])
            }
            (Ok(_), true, _) => LookupResult::Entries(Vec::new()),
            _ => LookupResult::NoSuchName,
        }
    }
}

/// The label of an endpoint below its Service: its host name, or its address.
fn label(endpoint: &Endpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) => hostname.clone(),
        None => endpoint.address.to_string().replace('.', "-"),
    }
}

#[cfg(test)]
mod tests;
