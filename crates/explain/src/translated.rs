//! What one proxy would be given, all at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use weft_api::{Object, kubernetes::Pod};
use weft_config::{Directory, File, Host, Interest, Part, Resource};

use crate::{
    question::Start,
    walk::{self, ExplainError},
    world::World,
};

/// The whole configuration of the proxy at `start`: what it runs itself, and the
/// answer to everything that it could ask for.
pub fn translate_for(world: &mut World, start: &Start) -> Result<File, ExplainError> {
    walk::prepare(world, start);
    let pod = walk::pod_of(world, start)?.clone();
    let client = world.client(&pod);
    let mut resources: BTreeMap<String, Resource> = BTreeMap::new();
    let mut chunks = Vec::new();
    for interest in [Interest::Own].into_iter().chain(Part::ALL.map(Interest::Directory)) {
        for piece in &world.translator.resolve(&client, &interest).resources {
            if let Resource::Directory(chunk) = &*piece.resource {
                chunks.push((chunk.name.clone(), Some(Arc::new(chunk.clone()))));
            }
            resources.insert(piece.name.to_string(), (*piece.resource).clone());
        }
    }
    let directory = Directory::default().with(chunks);
    let known = |interest: &Interest| match interest {
        Interest::Own | Interest::Directory(_) => false,
        Interest::Host(host, port) => directory.knows_host(host.as_str(), *port),
        Interest::Address(address) => directory.decides(*address) == weft_config::Decides::Address,
        Interest::ServerName(host, port) => {
            directory.reads_server_names(*port) && directory.knows_host(host.as_str(), *port)
        }
    };
    for interest in interests(world, &pod).into_iter().filter(known) {
        let resolved = world.translator.resolve(&client, &interest);
        let answer = Resource::Answer(resolved.answer.clone());
        resources.insert(answer.name(), answer);
        for piece in &resolved.resources {
            resources.insert(piece.name.to_string(), (*piece.resource).clone());
        }
    }
    Ok(File { resources: resources.into_values().collect() })
}

/// A host itself, or one that only its wildcard is for: the answer to it stands for all
/// of them.
fn example(host: &str) -> String {
    match host.strip_prefix('*') {
        Some(suffix) => format!("weft-any{suffix}"),
        None => host.to_owned(),
    }
}

/// Everything that a client could ask for, as far as the objects name it.
fn interests(world: &World, client: &Pod) -> BTreeSet<Interest> {
    let mut hosts: BTreeSet<String> = BTreeSet::new();
    let mut ports: BTreeSet<u16> = [80].into();
    let mut addresses: BTreeSet<SocketAddr> = BTreeSet::new();
    for service in world.services() {
        let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
        if *namespace == client.metadata.namespace {
            hosts.insert(name.clone());
        }
        let domain = &world.installation().domain;
        for end in ["", ".svc", &format!(".svc.{domain}"), &format!(".svc.{domain}.")] {
            hosts.insert(format!("{name}.{namespace}{end}"));
        }
        if service.headless() {
            // Its pods have names below its own, which one answer covers.
            let below: Vec<String> = hosts
                .iter()
                .filter(|host| host.split('.').next() == Some(name))
                .map(|host| format!("*.{host}"))
                .collect();
            hosts.extend(below);
        }
        hosts.extend(service.addresses().map(|ip| match ip.is_ipv6() {
            true => format!("[{ip}]"),
            false => ip.to_string(),
        }));
        let numbers: Vec<u16> = service.spec.ports.iter().map(|port| port.port).collect();
        ports.extend(&numbers);
        let own = service.addresses().flat_map(|ip| numbers.iter().map(move |port| (ip, *port)));
        addresses.extend(own.map(SocketAddr::from));
        for slice in world.slices(service) {
            let ips = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
            for ip in ips.filter_map(|ip| ip.parse().ok()) {
                addresses.extend(numbers.iter().map(|port| SocketAddr::new(ip, *port)));
                addresses.extend(slice.ports.iter().map(|port| SocketAddr::new(ip, port.port)));
            }
        }
    }
    for (_, object) in world.translator.objects() {
        match &**object {
            Object::VirtualService(service) => {
                let named = service.spec.hosts.iter();
                hosts.extend(named.map(|host| example(&host.to_ascii_lowercase())));
            }
            Object::ServiceEntry(entry) => {
                let named = entry.spec.hosts.iter();
                hosts.extend(named.map(|host| example(&host.to_ascii_lowercase())));
                let numbers: Vec<u16> = entry.spec.ports.iter().map(|port| port.number).collect();
                ports.extend(&numbers);
                let ips = entry.spec.addresses.iter().filter_map(|text| text.parse().ok());
                let ips: Vec<IpAddr> = ips.collect();
                hosts.extend(ips.iter().map(|ip| match ip.is_ipv6() {
                    true => format!("[{ip}]"),
                    false => ip.to_string(),
                }));
                let pairs = ips.iter().flat_map(|ip| numbers.iter().map(move |port| (*ip, *port)));
                addresses.extend(pairs.map(SocketAddr::from));
            }
            _ => {}
        }
    }
    let named = hosts.iter().filter_map(|host| Host::parse(host).ok()).flat_map(|host| {
        let both = |port: &u16| {
            [Interest::Host(host.clone(), *port), Interest::ServerName(host.clone(), *port)]
        };
        ports.iter().flat_map(both).collect::<Vec<_>>()
    });
    named.chain(addresses.into_iter().map(Interest::Address)).collect()
}
