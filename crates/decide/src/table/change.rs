//! From one table to the next.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use weft_balance::Register;
use weft_config::{
    Action, Answer, Backend, DirectoryChunk, Discovery, Entry, Interest, Listener, Resource, Route,
};

use super::{ByPort, CompiledAnswer, Table};
use crate::{
    backend::CompiledBackend,
    route::CompiledRoute,
    server::{CompiledListener, CompiledServer},
    shards::Shards,
};

/// A resource that cannot be used; what it would have replaced stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The resource's name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What has to be compiled again once everything new is in place.
#[derive(Default)]
struct Stale {
    backends: BTreeSet<Arc<str>>,
    routes: BTreeSet<Arc<str>>,
    listeners: BTreeSet<Arc<str>>,
    servers: BTreeSet<SocketAddr>,
    directory: Vec<(String, Option<Arc<DirectoryChunk>>)>,
}

impl Table {
    /// This table with `changed` resources, by name; `None` removes one. A resource that cannot
    /// be used is reported by name, and the one before it stays in force.
    pub fn with(
        &self,
        changed: impl IntoIterator<Item = (String, Option<Arc<Resource>>)>,
    ) -> (Table, Vec<Rejected>) {
        let mut next = self.clone();
        let mut stale = Stale::default();
        let mut rejected = Vec::new();
        for (name, resource) in changed {
            let outcome = match resource {
                Some(resource) => next.put(&name, &resource, &mut stale),
                None => next.take(&name, &mut stale),
            };
            if let Err(reason) = outcome {
                rejected.push(Rejected { name, reason });
            }
        }
        next.refresh(stale);
        (next, rejected)
    }

    fn put(&mut self, name: &str, resource: &Resource, stale: &mut Stale) -> Result<(), String> {
        let own_name = resource.name();
        if own_name != name {
            return Err(format!("it calls itself `{own_name}`"));
        }
        match resource {
            Resource::Settings(settings) => self.settings = Arc::new(settings.clone()),
            Resource::Directory(chunk) => {
                stale.directory.push((chunk.name.clone(), Some(Arc::new(chunk.clone()))));
            }
            Resource::Listener(listener) => self.put_listener(listener, stale),
            Resource::Route(route) => return self.put_route(route, stale),
            Resource::Backend(backend) => self.put_backend(backend, stale),
            Resource::Endpoints(chunk) => {
                let name: Arc<str> = Arc::from(chunk.name.as_str());
                self.chunks.set(Arc::clone(&name), Some(Arc::new(chunk.clone())));
                self.mark_users(&name, stale);
            }
            Resource::Answer(answer) => {
                let interest = answer.interest.clone();
                self.set_answer(&interest, Some(answer), stale);
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &str, stale: &mut Stale) -> Result<(), String> {
        match name.split_once('/') {
            Some(("directory", chunk)) if name.parse::<Interest>().is_err() => {
                stale.directory.push((chunk.to_owned(), None));
            }
            Some(("listener", name)) => {
                Arc::make_mut(&mut self.listeners).remove(name);
            }
            Some(("route", name)) => {
                let name: Arc<str> = Arc::from(name);
                self.routes.set(Arc::clone(&name), None);
                stale.routes.insert(name);
            }
            Some(("backend", name)) => {
                let name: Arc<str> = Arc::from(name);
                if let Some(previous) = self.backends.set(Arc::clone(&name), None) {
                    self.link_chunks(&name, chunks(&previous.data), &[]);
                }
                stale.backends.remove(&name);
            }
            Some(("endpoints", name)) => {
                let name: Arc<str> = Arc::from(name);
                self.chunks.set(Arc::clone(&name), None);
                self.mark_users(&name, stale);
            }
            None if name == "settings" => self.settings = Arc::default(),
            _ => {
                let interest: Interest = name.parse().map_err(|_| "no such kind".to_owned())?;
                self.set_answer(&interest, None, stale);
            }
        }
        Ok(())
    }

    fn put_listener(&mut self, listener: &Listener, stale: &mut Stale) {
        let name: Arc<str> = Arc::from(listener.name.as_str());
        let compiled = CompiledListener { data: Arc::new(listener.clone()), servers: Vec::new() };
        Arc::make_mut(&mut self.listeners).insert(Arc::clone(&name), Arc::new(compiled));
        stale.listeners.insert(name);
    }

    fn put_route(&mut self, route: &Route, stale: &mut Stale) -> Result<(), String> {
        let name: Arc<str> = Arc::from(route.name.as_str());
        let previous = self.routes.find(&*name).cloned();
        let (compiled, outcome) =
            match CompiledRoute::new(route.clone(), &self.register, previous.as_deref()) {
                Ok(compiled) => (compiled, Ok(())),
                Err(error) if previous.is_some() => return Err(error.to_string()),
                // Without a previous version the hosts must not fall to a wider route.
                Err(error) => {
                    (CompiledRoute::closed(route, &self.register), Err(error.to_string()))
                }
            };
        if previous.is_none_or(|previous| previous.data.hosts != route.hosts) {
            stale.routes.insert(Arc::clone(&name));
        }
        self.routes.set(name, Some(Arc::new(compiled)));
        outcome
    }

    fn put_backend(&mut self, backend: &Backend, stale: &mut Stale) {
        let name: Arc<str> = Arc::from(backend.name.as_str());
        let previous = self.backends.find(&*name).cloned();
        let before = previous.as_ref().map_or(&[][..], |previous| chunks(&previous.data));
        if before != chunks(backend) {
            self.link_chunks(&name, before, chunks(backend));
        }
        let data = Arc::new(backend.clone());
        let compiled =
            CompiledBackend::new(data, &self.chunks, &self.register, previous.as_deref());
        self.backends.set(Arc::clone(&name), Some(Arc::new(compiled)));
        // Its chunks may come later in the same change.
        stale.backends.insert(name);
    }

    /// Notes that `backend` no longer names the chunks `before`, but those of `after`.
    fn link_chunks(&mut self, backend: &Arc<str>, before: &[String], after: &[String]) {
        for chunk in before {
            let mut users = self.chunk_users.find(chunk.as_str()).cloned().unwrap_or_default();
            Arc::make_mut(&mut users).retain(|user| user != backend);
            set_unless_empty(&mut self.chunk_users, chunk, users);
        }
        for chunk in after {
            let mut users = self.chunk_users.find(chunk.as_str()).cloned().unwrap_or_default();
            Arc::make_mut(&mut users).push(Arc::clone(backend));
            set_unless_empty(&mut self.chunk_users, chunk, users);
        }
    }

    fn mark_users(&self, chunk: &str, stale: &mut Stale) {
        if let Some(users) = self.chunk_users.find(chunk) {
            stale.backends.extend(users.iter().map(Arc::clone));
        }
    }

    fn set_answer(&mut self, interest: &Interest, answer: Option<&Answer>, stale: &mut Stale) {
        let used =
            self.answered(interest).map(|compiled| compiled.used.clone()).unwrap_or_default();
        let compiled = answer.map(|answer| {
            let server = match &answer.entry {
                Entry::Server(server) => {
                    let data = Arc::new((**server).clone());
                    Some(Arc::new(CompiledServer::new(data, &self.register, |_| None)))
                }
                Entry::Own | Entry::Directory | Entry::Route(_) | Entry::Outside => None,
            };
            Arc::new(CompiledAnswer { answer: Arc::new(answer.clone()), server, used })
        });
        match interest {
            Interest::Own | Interest::Directory(_) => {}
            Interest::Address(address) => {
                let previous = self.addresses.set(*address, compiled.clone());
                self.link_routes(*address, previous.as_deref(), compiled.as_deref());
                stale.servers.insert(*address);
            }
            Interest::Host(host, port) => {
                let previous = set_port(&mut self.hosts, host.as_str(), *port, compiled.clone());
                if let Some(pattern) = previous.as_deref().and_then(pattern) {
                    set_port(&mut self.covers, pattern, *port, None);
                }
                if let Some(pattern) = compiled.as_deref().and_then(pattern) {
                    set_port(&mut self.covers, pattern, *port, compiled.clone());
                }
            }
        }
    }

    /// What the answer to `interest` itself leads to.
    fn answered(&self, interest: &Interest) -> Option<&Arc<CompiledAnswer>> {
        match interest {
            Interest::Own | Interest::Directory(_) => None,
            Interest::Address(address) => self.addresses.find(address),
            Interest::Host(host, port) => super::on(self.hosts.find(host.as_str())?, *port),
        }
    }

    fn link_routes(
        &mut self,
        address: SocketAddr,
        before: Option<&CompiledAnswer>,
        after: Option<&CompiledAnswer>,
    ) {
        for route in routes(before) {
            let mut users = self.route_users.find(route.as_str()).cloned().unwrap_or_default();
            Arc::make_mut(&mut users).retain(|user| *user != address);
            set_unless_empty(&mut self.route_users, route, users);
        }
        for route in routes(after) {
            let mut users = self.route_users.find(route.as_str()).cloned().unwrap_or_default();
            Arc::make_mut(&mut users).push(address);
            set_unless_empty(&mut self.route_users, route, users);
        }
    }

    /// Compiles what depends on something that changed.
    fn refresh(&mut self, mut stale: Stale) {
        if !stale.directory.is_empty() {
            self.directory = Arc::new(self.directory.with(stale.directory));
        }
        for name in &stale.backends {
            if let Some(previous) = self.backends.find(&**name).cloned() {
                let data = Arc::clone(&previous.data);
                let compiled =
                    CompiledBackend::new(data, &self.chunks, &self.register, Some(&previous));
                self.backends.set(Arc::clone(name), Some(Arc::new(compiled)));
            }
        }
        for route in &stale.routes {
            let users = self.route_users.find(&**route).into_iter();
            stale.servers.extend(users.flat_map(|users| users.iter().copied()));
            let naming = self.listeners.iter().filter(|(_, listener)| listener.names(route));
            stale.listeners.extend(naming.map(|(name, _)| Arc::clone(name)));
        }
        let routes = &self.routes;
        let route = |name: &str| routes.find(name).map(|route| &route.data);
        for name in &stale.listeners {
            let Some(listener) = self.listeners.get(name) else { continue };
            let data = Arc::clone(&listener.data);
            let listener = Arc::new(CompiledListener::new(data, &self.register, route));
            Arc::make_mut(&mut self.listeners).insert(Arc::clone(name), listener);
        }
        for address in stale.servers {
            let Some(compiled) = self.addresses.find(&address).cloned() else { continue };
            let Some(server) = &compiled.server else { continue };
            let server = CompiledServer::new(Arc::clone(&server.data), &self.register, route);
            let answer = Arc::clone(&compiled.answer);
            let used = compiled.used.clone();
            let compiled =
                Arc::new(CompiledAnswer { answer, server: Some(Arc::new(server)), used });
            self.addresses.set(address, Some(compiled));
        }
    }
}

impl CompiledRoute {
    /// What stands in for a route that cannot be compiled: its hosts answer 500.
    fn closed(route: &Route, register: &Register) -> Self {
        let action = Action::respond(500, "route_rejected");
        let rule = weft_config::Rule::always(action, route.origin.clone());
        let closed = Route { rules: vec![rule], ..route.clone() };
        Self::new(closed, register, None).expect("a rule without conditions compiles")
    }
}

/// The names of the chunks of a backend.
fn chunks(backend: &Backend) -> &[String] {
    match &backend.discovery {
        Discovery::Endpoints(chunks) => chunks,
        Discovery::Original | Discovery::Fixed(_) | Discovery::Dns { .. } => &[],
    }
}

/// The names of the routes of an answer's server.
fn routes(compiled: Option<&CompiledAnswer>) -> &[String] {
    compiled.and_then(|compiled| compiled.server.as_ref()).map_or(&[], |server| &server.data.routes)
}

/// What follows the `*` of the wildcard that an answer stands for.
fn pattern(compiled: &CompiledAnswer) -> Option<&str> {
    compiled.answer.covers.as_ref()?.pattern.as_str().strip_prefix('*')
}

fn set_unless_empty<T: Clone>(
    users: &mut Shards<Arc<str>, Arc<Vec<T>>>,
    name: &str,
    list: Arc<Vec<T>>,
) {
    let list = (!list.is_empty()).then_some(list);
    users.set(Arc::from(name), list);
}

fn set_port(
    hosts: &mut Shards<Arc<str>, Arc<ByPort>>,
    host: &str,
    port: u16,
    compiled: Option<Arc<CompiledAnswer>>,
) -> Option<Arc<CompiledAnswer>> {
    let mut ports = hosts.find(host).cloned().unwrap_or_default();
    let list = Arc::make_mut(&mut ports);
    let at = list.iter().position(|(known, _)| *known == port);
    let previous = at.map(|at| list.remove(at).1);
    list.extend(compiled.map(|compiled| (port, compiled)));
    let ports = (!list.is_empty()).then_some(ports);
    hosts.set(Arc::from(host), ports);
    previous
}
