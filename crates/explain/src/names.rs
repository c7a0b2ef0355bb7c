//! What an application learns when it looks a host up, by the rules of
//! Kubernetes' DNS and of the resolver that pods are given.
//!
//! DNS outside the mesh is not asked: that a name is its to answer is all that is
//! known here.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use weft_api::{
    host_ports,
    kubernetes::{Service, SliceEndpoint},
};

use crate::{
    explanation::{DnsAnswer, Unresolved},
    world::World,
};

/// A name with so many dots is looked up as it is first (`ndots:5`).
const ENOUGH_DOTS: usize = 5;

/// An alias may lead to an alias, but not for ever.
const LONGEST_CHAIN: usize = 8;

/// How many Services are named to a user who asked for one that is not there.
const LISTED: usize = 12;

/// What comes of looking a name up.
pub(crate) enum Lookup {
    /// The client dials this.
    Address(IpAddr),
    /// It gets no address in the mesh.
    Unresolved(Unresolved),
}

/// What one name means to the mesh's DNS.
enum ResolvedName {
    Address(IpAddr),
    Alias(String),
    NoAddress(String),
    NoSuchName,
    Elsewhere,
}

/// Looks up `host` as an application in `namespace` does.
pub(crate) fn resolve(world: &World, host: &str, namespace: &str) -> Lookup {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Lookup::Address(ip);
    }
    if host_ports::is_local(host) {
        return Lookup::Address(Ipv4Addr::LOCALHOST.into());
    }
    let unresolved =
        |answer, why| Lookup::Unresolved(Unresolved { host: host.to_owned(), answer, why });
    let lower = host.to_ascii_lowercase();
    let mut without_address = None;
    let domain = &world.installation().domain;
    for name in candidates(&lower, namespace, domain) {
        match follow(world, name) {
            (_, ResolvedName::Address(ip)) => return Lookup::Address(ip),
            (name, ResolvedName::NoAddress(why)) => {
                without_address.get_or_insert((name, why));
            }
            (name, ResolvedName::Elsewhere | ResolvedName::NoSuchName) if name.is_alias => {
                let why = format!("it is an alias (ExternalName) of {}", name.name);
                return unresolved(DnsAnswer::Outside, why);
            }
            _ => {}
        }
    }
    if let Some((_, why)) = without_address {
        return unresolved(DnsAnswer::NoAddress, why);
    }
    match missing(world, lower.trim_end_matches('.'), namespace) {
        Some(why) => unresolved(DnsAnswer::NoSuchName, why),
        None => unresolved(DnsAnswer::Outside, "nothing in the mesh has this name".to_owned()),
    }
}

/// A name, perhaps one that an alias has led to.
struct Followed {
    name: String,
    is_alias: bool,
}

fn follow(world: &World, name: String) -> (Followed, ResolvedName) {
    let mut followed = Followed { name, is_alias: false };
    for _ in 0..LONGEST_CHAIN {
        match look_up(world, &followed.name) {
            ResolvedName::Alias(target) => {
                let target = target.trim_end_matches('.').to_ascii_lowercase();
                followed = Followed { name: target, is_alias: true };
            }
            found => return (followed, found),
        }
    }
    (followed, ResolvedName::NoSuchName)
}

/// The names that the resolver asks for, in order, without the dot at their end.
fn candidates(host: &str, namespace: &str, domain: &str) -> Vec<String> {
    if let Some(whole) = host.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let ends = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    let mut names: Vec<String> = ends.iter().map(|end| format!("{host}.{end}")).collect();
    match host.matches('.').count() >= ENOUGH_DOTS {
        true => names.insert(0, host.to_owned()),
        false => names.push(host.to_owned()),
    }
    names
}

fn look_up(world: &World, name: &str) -> ResolvedName {
    let domain = world.installation().domain.as_str();
    let Some(below) = name.strip_suffix(domain).and_then(|below| below.strip_suffix('.')) else {
        return ResolvedName::Elsewhere;
    };
    let labels: Vec<&str> = below.split('.').collect();
    match labels.as_slice() {
        [address, namespace, "pod"] => match address.replace('-', ".").parse() {
            Ok(ip) if namespaces(world).contains(namespace) => ResolvedName::Address(ip),
            _ => ResolvedName::NoSuchName,
        },
        [rest @ .., service, namespace, "svc"] => match world.service(namespace, service) {
            Some(service) => of_service(world, rest, service),
            None => ResolvedName::NoSuchName,
        },
        _ => ResolvedName::NoSuchName,
    }
}

fn of_service(world: &World, rest: &[&str], service: &Service) -> ResolvedName {
    if service.spec.kind == "ExternalName" {
        return match rest {
            [] => ResolvedName::Alias(service.spec.external_name.clone()),
            _ => ResolvedName::NoSuchName,
        };
    }
    let endpoints = || world.slices(service).flat_map(|slice| &slice.endpoints);
    let first = |mut endpoints: Box<dyn Iterator<Item = &SliceEndpoint> + '_>| {
        endpoints.find_map(|endpoint| endpoint.addresses.first()?.parse().ok())
    };
    let ready = |endpoint: &&SliceEndpoint| endpoint.conditions.ready != Some(false);
    match (rest, service.addresses().next()) {
        ([], Some(ip)) => ResolvedName::Address(ip),
        ([], None) => match first(Box::new(endpoints().filter(ready))) {
            Some(ip) => ResolvedName::Address(ip),
            None => ResolvedName::NoAddress(format!(
                "Service {}.{} has no address of its own and no endpoint that is ready",
                service.metadata.name, service.metadata.namespace
            )),
        },
        ([label], _) => {
            let own = |endpoint: &&SliceEndpoint| is_called(endpoint, label);
            first(Box::new(endpoints().filter(ready).filter(own)))
                .map_or(ResolvedName::NoSuchName, ResolvedName::Address)
        }
        _ => ResolvedName::NoSuchName,
    }
}

/// Whether `label` below its Service's name is the endpoint's.
fn is_called(endpoint: &SliceEndpoint, label: &str) -> bool {
    match &endpoint.hostname {
        Some(hostname) => hostname == label,
        None => endpoint.addresses.iter().any(|address| address.replace('.', "-") == label),
    }
}

/// Why a name that is the mesh's to answer is not there; none for a name that DNS
/// outside may have.
fn missing(world: &World, host: &str, namespace: &str) -> Option<String> {
    let domain = world.installation().domain.as_str();
    let inside = host.strip_suffix(domain).and_then(|below| below.strip_suffix('.'));
    let inside = inside.or(Some(host).filter(|host| host.ends_with(".svc")));
    let labels: Vec<&str> = inside.unwrap_or(host).split('.').collect();
    let namespaces = namespaces(world);
    match (labels.as_slice(), inside) {
        ([name], None) => Some(without(world, name, namespace)),
        ([_, name], None) if world.service(namespace, name).is_some() => {
            Some(without(world, name, namespace))
        }
        ([name, own], None) if namespaces.contains(own) => Some(without(world, name, own)),
        ([_, own, "pod"], Some(_)) if !namespaces.contains(own) => {
            Some(format!("there is no namespace {own}"))
        }
        ([.., name, own, "svc"], Some(_)) => Some(match namespaces.contains(own) {
            true => without(world, name, own),
            false => format!("there is no namespace {own}"),
        }),
        (_, Some(_)) => Some(format!("names of the cluster are NAME.NAMESPACE.svc.{domain}")),
        (_, None) => None,
    }
}

fn namespaces(world: &World) -> BTreeSet<&str> {
    let pods = world.pods().map(|pod| pod.metadata.namespace.as_str());
    let services = world.services().map(|service| service.metadata.namespace.as_str());
    pods.chain(services).chain(world.namespaces()).collect()
}

fn without(world: &World, name: &str, namespace: &str) -> String {
    let all = world.services().filter(|service| service.metadata.namespace == namespace);
    let mut names: Vec<&str> = all.map(|service| service.metadata.name.as_str()).collect();
    if names.contains(&name) {
        return format!("Service {name}.{namespace} has no endpoint of that name");
    }
    if names.len() > LISTED {
        names.truncate(LISTED);
        names.push("…");
    }
    let known = match names.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}", names.join(", ")),
    };
    format!("namespace {namespace} has no Service {name} ({known})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Unlabelled;
    use weft_translate::Installation;

    const WORLD: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.1.1, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: shop}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.1.1.1], conditions: {ready: false}}
- {addresses: [10.1.1.2], hostname: db-0}
- {addresses: [10.1.1.3]}
ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: shop}
spec: {type: ExternalName, externalName: api.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: near, namespace: shop}
spec: {type: ExternalName, externalName: cart.shop.svc.cluster.local}
";

    #[track_caller]
    fn check(host: &str, expected: &str) {
        let world = World::of_files(weft_manifest::read("w.yaml", WORLD), Unlabelled::Inject);
        let got = match resolve(&world, host, "shop") {
            Lookup::Address(ip) => ip.to_string(),
            Lookup::Unresolved(unresolved) => {
                format!("{:?}: {}", unresolved.answer, unresolved.why)
            }
        };
        assert_eq!(got, expected, "for {host}");
    }

    #[test]
    fn names_end_in_the_clusters_own_domain() {
        let installation =
            Installation { domain: "corp.example".to_owned(), ..Installation::default() };
        let documents = weft_manifest::read("w.yaml", WORLD);
        let world = World::of_files_in(documents, Unlabelled::Inject, installation);
        let found = |host: &str| match resolve(&world, host, "shop") {
            Lookup::Address(ip) => ip.to_string(),
            Lookup::Unresolved(unresolved) => unresolved.why,
        };
        for host in ["cart", "cart.shop.svc", "cart.shop.svc.corp.example"] {
            assert_eq!(found(host), "10.96.1.1", "{host}");
        }
        assert_eq!(found("cart.shop.svc.cluster.local"), "nothing in the mesh has this name");
        let form = "names of the cluster are NAME.NAMESPACE.svc.corp.example";
        assert_eq!(found("a.corp.example"), form);
    }

    #[test]
    fn services_are_found_along_the_search_path() {
        for host in ["cart", "CART", "cart.shop", "cart.shop.svc", "cart.shop.svc.cluster.local."] {
            check(host, "10.96.1.1");
        }
        check("near", "10.96.1.1");
    }

    #[test]
    fn endpoints_have_names_below_a_headless_service() {
        check("db", "10.1.1.2");
        check("db-0.db", "10.1.1.2");
        check("10-1-1-3.db.shop", "10.1.1.3");
        check("10-1-1-9.shop.pod.cluster.local", "10.1.1.9");
        check("10-1-1-9.nowhere.pod.cluster.local", "NoSuchName: there is no namespace nowhere");
        for host in ["db-1.db", "db-1.db.shop.svc"] {
            check(host, "NoSuchName: Service db.shop has no endpoint of that name");
        }
    }

    #[test]
    fn addresses_and_the_pod_itself_need_no_dns() {
        check("192.0.2.7", "192.0.2.7");
        check("[::1]", "::1");
        check("localhost", "127.0.0.1");
    }

    #[test]
    fn a_name_that_nobody_has_is_told_with_those_that_are_there() {
        let without =
            "NoSuchName: namespace shop has no Service cartt (it has away, bare, cart, db, near)";
        for host in ["cartt", "cartt.shop", "cartt.shop.svc", "cartt.shop.svc.cluster.local"] {
            check(host, without);
        }
        check("a.nowhere.svc", "NoSuchName: there is no namespace nowhere");
        check(
            "a.cluster.local",
            "NoSuchName: names of the cluster are NAME.NAMESPACE.svc.cluster.local",
        );
    }

    #[test]
    fn a_headless_service_without_ready_endpoints_has_no_address() {
        check(
            "bare",
            "NoAddress: Service bare.shop has no address of its own and no endpoint that is ready",
        );
    }

    #[test]
    fn other_names_are_for_dns_outside() {
        check("example.com", "Outside: nothing in the mesh has this name");
        check("away", "Outside: it is an alias (ExternalName) of api.example.com");
    }
}
