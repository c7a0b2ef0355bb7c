//! What a translation lets through, as a set of sentences: the fewer, the narrower. That a
//! directory lists a host lets nothing through; what its name is answered with does.

use std::collections::{BTreeMap, BTreeSet};

use weft_config::{
    Action, Backend, ChunkList, Discovery, Endpoints, Entry, Outside, Resource, Route, Rule, Scope,
    Server, TcpTarget,
};
use weft_translate::Resolved;

use crate::worlds;

/// What `resolved` lets through.
pub fn of(resolved: &Resolved) -> BTreeSet<String> {
    let mut world = World::default();
    for piece in &resolved.resources {
        match &*piece.resource {
            Resource::Backend(one) => {
                world.backends.insert(&one.name, one);
            }
            Resource::Endpoints(one) => {
                world.endpoints.insert(&one.name, one);
            }
            Resource::ChunkList(one) => {
                world.lists.insert(&one.name, one);
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for route in worlds::routes(resolved).values() {
        world.route(route, &mut found);
    }
    for piece in &resolved.resources {
        match &*piece.resource {
            Resource::Listener(one) => match &one.scope {
                Scope::Servers(servers) => {
                    servers.iter().for_each(|one| world.server(one, &mut found));
                }
                Scope::Directory => {}
            },
            Resource::Settings(one) if one.outside == Outside::Allow => {
                found.insert("anything outside".to_owned());
            }
            _ => {}
        }
    }
    if let Entry::Server(one) = &resolved.answer.entry {
        world.server(one, &mut found);
    }
    found
}

/// What sentences are made of.
#[derive(Default)]
struct World<'r> {
    backends: BTreeMap<&'r str, &'r Backend>,
    endpoints: BTreeMap<&'r str, &'r Endpoints>,
    lists: BTreeMap<&'r str, &'r ChunkList>,
}

impl World<'_> {
    /// A rule takes what the rules before it leave: what those are is part of the sentence.
    fn route(&self, route: &Route, found: &mut BTreeSet<String>) {
        let mut before = Vec::new();
        for Rule { conditions, action, .. } in &route.rules {
            before.push(serde_json::to_string(conditions).expect("conditions are JSON"));
            let asked = before.join(" else ");
            let reached: BTreeSet<String> = match action {
                Action::Forward(targets) => {
                    targets.iter().flat_map(|one| self.reached(&one.backend)).collect()
                }
                Action::Respond { .. } | Action::Redirect(_) => BTreeSet::new(),
                Action::Passthrough => BTreeSet::from(["where the client dialled".to_owned()]),
            };
            for host in &route.hosts {
                found.extend(reached.iter().map(|to| format!("{host} {asked} reaches {to}")));
            }
        }
    }

    fn server(&self, server: &Server, found: &mut BTreeSet<String>) {
        for TcpTarget { source, backends, .. } in &server.tcp {
            let reached = backends.iter().flat_map(|(name, _)| self.reached(name));
            let name = &server.name;
            found.extend(reached.map(|to| format!("bytes to {name} of {source:?} reach {to}")));
        }
    }

    /// Where requests to a backend go; nowhere when there is no such backend.
    fn reached(&self, name: &str) -> BTreeSet<String> {
        let Some(backend) = self.backends.get(name).filter(|one| one.closed.is_none()) else {
            return BTreeSet::new();
        };
        match &backend.discovery {
            Discovery::Nowhere => BTreeSet::new(),
            Discovery::Endpoints(list) => {
                let chunks = self.lists[&**list].chunks.iter();
                let all = chunks.flat_map(|name| &self.endpoints[&**name].endpoints);
                let wanted = backend.subset.iter().flat_map(|one| &one.labels).collect::<Vec<_>>();
                let inside = all.filter(|one| wanted.iter().all(|it| one.labels.contains(it)));
                inside.map(|one| one.address.to_string()).collect()
            }
            other => BTreeSet::from([format!("{other:?} port {}", backend.port)]),
        }
    }
}
