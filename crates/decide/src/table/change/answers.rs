//! Answers of a table, and the wildcards that they stand for.

use std::{net::SocketAddr, sync::Arc};

use weft_config::{Answer, Entry, Interest};

use super::{Stale, link, unlink};
use crate::{
    server::CompiledServer,
    shards::Shards,
    table::{ByName, ByPort, CompiledAnswer, Table, on},
};

impl Table {
    pub(super) fn set_answer(
        &mut self,
        interest: &Interest,
        answer: Option<&Answer>,
        stale: &mut Stale,
    ) {
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
                self.hosts.set(host.as_str(), *port, compiled);
            }
            Interest::ServerName(host, port) => {
                self.server_names.set(host.as_str(), *port, compiled);
            }
        }
    }

    /// What the answer to `interest` itself leads to.
    fn answered(&self, interest: &Interest) -> Option<&Arc<CompiledAnswer>> {
        match interest {
            Interest::Own | Interest::Directory(_) => None,
            Interest::Address(address) => self.addresses.find(address),
            Interest::Host(host, port) => on(self.hosts.names.find(host.as_str())?, *port),
            Interest::ServerName(host, port) => {
                on(self.server_names.names.find(host.as_str())?, *port)
            }
        }
    }

    fn link_routes(
        &mut self,
        address: SocketAddr,
        before: Option<&CompiledAnswer>,
        after: Option<&CompiledAnswer>,
    ) {
        for route in routes(before) {
            unlink(&mut self.route_users, route.as_str(), &address);
        }
        for route in routes(after) {
            link(&mut self.route_users, Arc::from(route.as_str()), address);
        }
    }
}

impl ByName {
    /// Sets the answer for `host` on `port`, and what it stands for.
    fn set(&mut self, host: &str, port: u16, compiled: Option<Arc<CompiledAnswer>>) {
        let previous = set_port(&mut self.names, host, port, compiled.clone());
        if let Some(previous) = &previous
            && let Some(pattern) = pattern(previous)
        {
            let holds = |one: &Arc<CompiledAnswer>| Arc::ptr_eq(one, previous);
            let now = self.covers.find(pattern).and_then(|ports| on(ports, port));
            if now.is_some_and(holds) {
                // Another answer may say the same, and holds on.
                let other = self.covering(pattern, port);
                set_port(&mut self.covers, pattern, port, other);
            }
        }
        if let Some(pattern) = compiled.as_deref().and_then(pattern) {
            set_port(&mut self.covers, pattern, port, compiled.clone());
        }
    }

    /// An answer for `port` that stands for all names that end in `suffix`.
    fn covering(&self, suffix: &str, port: u16) -> Option<Arc<CompiledAnswer>> {
        let mut answers = self.names.values().filter_map(|ports| on(ports, port));
        answers.find(|one| pattern(one) == Some(suffix)).cloned()
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
