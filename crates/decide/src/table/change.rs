//! From one table to the next.

mod answers;
mod routes;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use weft_config::{
    Backend, ChunkList, DirectoryChunk, Discovery, Endpoint, Endpoints, Interest, Listener,
    Resource, Settings,
};

use super::{CompiledAnswer, Table};
use crate::{
    backend::CompiledBackend,
    endpoint_set::EndpointSet,
    places::Places,
    server::{CompiledListener, CompiledServer, ServedRoute},
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
    /// Lists of chunks, with what they name now where that is new.
    sets: BTreeMap<Arc<str>, Option<Arc<ChunkList>>>,
    /// Backends, with what they are now where that is new.
    backends: BTreeMap<Arc<str>, Option<Arc<Backend>>>,
    /// Routes with hosts that others may have lost or got.
    routes: BTreeSet<Arc<str>>,
    /// Routes that name lists of rules that are new, or are new themselves.
    linked: BTreeSet<Arc<str>>,
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
        if !Arc::ptr_eq(&next.listeners, &self.listeners) {
            next.places = Arc::new(Places::of(&next.listeners));
        }
        (next, rejected)
    }

    fn put(&mut self, name: &str, resource: &Resource, stale: &mut Stale) -> Result<(), String> {
        let own_name = resource.name();
        if own_name != name {
            return Err(format!("it calls itself `{own_name}`"));
        }
        match resource {
            Resource::Settings(settings) => self.put_settings(Arc::new(settings.clone()), stale),
            Resource::Directory(chunk) => {
                stale.directory.push((chunk.name.clone(), Some(Arc::new(chunk.clone()))));
            }
            Resource::Listener(listener) => self.put_listener(listener, stale),
            Resource::Route(route) => return self.put_route(route, stale),
            Resource::RuleList(list) => return self.put_rules(list, stale),
            Resource::Backend(backend) => self.put_backend(backend, stale),
            Resource::Endpoints(chunk) => self.put_chunk(chunk, stale),
            Resource::ChunkList(list) => self.put_list(list, stale),
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
            Some(("route", name)) => self.take_route(name, stale),
            Some(("rules", name)) => self.take_rules(name, stale),
            Some(("backend", name)) => {
                let name: Arc<str> = Arc::from(name);
                if let Some(list) = self.list_of(&name, stale) {
                    unlink(&mut self.set_users, &list, &name);
                }
                self.backends.set(Arc::clone(&name), None);
                stale.backends.remove(&name);
            }
            Some(("chunks", name)) => {
                let name: Arc<str> = Arc::from(name);
                for chunk in &self.named_by(&name, stale).chunks {
                    unlink(&mut self.chunk_users, chunk.as_str(), &name);
                }
                self.sets.set(Arc::clone(&name), None);
                stale.sets.remove(&name);
                self.mark_backends(&name, stale);
            }
            Some(("endpoints", name)) => {
                let name: Arc<str> = Arc::from(name);
                self.chunks.set(Arc::clone(&name), None);
                self.mark_lists(&name, stale);
            }
            None if name == "settings" => self.put_settings(Arc::default(), stale),
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

    fn put_backend(&mut self, backend: &Backend, stale: &mut Stale) {
        let name: Arc<str> = Arc::from(backend.name.as_str());
        if let Some(list) = self.list_of(&name, stale) {
            unlink(&mut self.set_users, &list, &name);
        }
        if let Some(list) = list(backend) {
            link(&mut self.set_users, Arc::from(list), Arc::clone(&name));
        }
        // Its list and chunks may come later in the same change.
        stale.backends.insert(name, Some(Arc::new(backend.clone())));
    }

    fn put_settings(&mut self, settings: Arc<Settings>, stale: &mut Stale) {
        let before = std::mem::replace(&mut self.settings, settings);
        let same =
            self.settings.locality == before.locality && self.settings.labels == before.labels;
        // Which endpoints are close depends on where the proxy runs.
        for backend in self.backends.values().filter(|one| !same && one.data.locality.is_some()) {
            stale.backends.entry(Arc::clone(&backend.name)).or_default();
        }
    }

    fn put_list(&mut self, list: &ChunkList, stale: &mut Stale) {
        let name: Arc<str> = Arc::from(list.name.as_str());
        for chunk in &self.named_by(&name, stale).chunks {
            unlink(&mut self.chunk_users, chunk.as_str(), &name);
        }
        for chunk in &list.chunks {
            link(&mut self.chunk_users, Arc::from(chunk.as_str()), Arc::clone(&name));
        }
        stale.sets.insert(name, Some(Arc::new(list.clone())));
    }

    fn put_chunk(&mut self, chunk: &Endpoints, stale: &mut Stale) {
        let name: Arc<str> = Arc::from(chunk.name.as_str());
        // What did not change is shared with what uses it already.
        let before = self.chunks.find(&*name).cloned().unwrap_or_default();
        let known: BTreeMap<SocketAddr, &Arc<Endpoint>> =
            before.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
        let shared = |endpoint: &Endpoint| match known.get(&endpoint.address) {
            Some(known) if ***known == *endpoint => Arc::clone(known),
            _ => Arc::new(endpoint.clone()),
        };
        let endpoints = chunk.endpoints.iter().map(shared).collect();
        self.chunks.set(Arc::clone(&name), Some(endpoints));
        self.mark_lists(&name, stale);
    }

    /// The list that the backend called `name` names as of now.
    fn list_of(&self, name: &Arc<str>, stale: &Stale) -> Option<Arc<str>> {
        let data = match stale.backends.get(name) {
            Some(Some(new)) => new,
            _ => &self.backends.find(&**name)?.data,
        };
        list(data).map(Arc::from)
    }

    /// What the list of chunks called `name` names as of now.
    fn named_by(&self, name: &Arc<str>, stale: &Stale) -> Arc<ChunkList> {
        match stale.sets.get(name) {
            Some(Some(new)) => Arc::clone(new),
            _ => self.sets.find(&**name).map(|set| Arc::clone(&set.list)).unwrap_or_default(),
        }
    }

    fn mark_lists(&self, chunk: &str, stale: &mut Stale) {
        for list in self.chunk_users.find(chunk).into_iter().flat_map(|users| users.iter()) {
            stale.sets.entry(Arc::clone(list)).or_default();
        }
    }

    fn mark_backends(&self, list: &str, stale: &mut Stale) {
        for backend in self.set_users.find(list).into_iter().flat_map(|users| users.iter()) {
            stale.backends.entry(Arc::clone(backend)).or_default();
        }
    }

    /// Compiles what depends on something that changed.
    fn refresh(&mut self, mut stale: Stale) {
        if !stale.directory.is_empty() {
            self.directory = Arc::new(self.directory.with(std::mem::take(&mut stale.directory)));
        }
        for (name, list) in std::mem::take(&mut stale.sets) {
            let list = list.or_else(|| Some(Arc::clone(&self.sets.find(&*name)?.list)));
            let Some(list) = list else { continue };
            let set = Arc::new(EndpointSet::new(list, &self.chunks));
            self.mark_backends(&name, &mut stale);
            self.sets.set(name, Some(set));
        }
        for (name, data) in std::mem::take(&mut stale.backends) {
            let previous = self.backends.find(&*name).cloned();
            let data = data.or_else(|| Some(Arc::clone(&previous.as_ref()?.data)));
            let Some(data) = data else { continue };
            let set = list(&data).and_then(|list| self.sets.find(list));
            let set = set.map(Arc::clone).unwrap_or_default();
            let of_process = (&*self.register, &self.settings);
            let compiled = CompiledBackend::new(data, set, of_process, previous.as_deref());
            self.backends.set(name, Some(Arc::new(compiled)));
        }
        for route in std::mem::take(&mut stale.linked) {
            self.link_rule_lists(route);
        }
        for route in &stale.routes {
            let users = self.route_users.find(&**route).into_iter();
            stale.servers.extend(users.flat_map(|users| users.iter().copied()));
        }
        let naming = self.listeners.iter().filter(|(_, listener)| listener.names(&stale.routes));
        stale.listeners.extend(naming.map(|(name, _)| Arc::clone(name)));
        let (routes, rejected) = (&self.routes, &self.rejected);
        let route = |name: &str| {
            let rejected = rejected.find(name).map(|rejected| &*rejected.data);
            Some(ServedRoute { data: &routes.find(name)?.data, rejected })
        };
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

/// The name of the list of a backend's chunks.
fn list(backend: &Backend) -> Option<&str> {
    match &backend.discovery {
        Discovery::Endpoints(list) => Some(list),
        Discovery::Nowhere
        | Discovery::Original
        | Discovery::Fixed(_)
        | Discovery::Dns { .. }
        | Discovery::Names { .. }
        | Discovery::Requested { .. } => None,
    }
}

/// Notes that `user` names what is called `name`.
fn link<T: Ord + Clone>(users: &mut Shards<Arc<str>, Arc<BTreeSet<T>>>, name: Arc<str>, user: T) {
    // Taken out, so that it is not copied for each user.
    let mut all = users.set(Arc::clone(&name), None).unwrap_or_default();
    Arc::make_mut(&mut all).insert(user);
    users.set(name, Some(all));
}

/// Notes that `user` no longer names what is called `name`.
fn unlink<T: Ord + Clone>(users: &mut Shards<Arc<str>, Arc<BTreeSet<T>>>, name: &str, user: &T) {
    let name: Arc<str> = Arc::from(name);
    let mut all = users.set(Arc::clone(&name), None).unwrap_or_default();
    Arc::make_mut(&mut all).remove(user);
    users.set(name, (!all.is_empty()).then_some(all));
}
