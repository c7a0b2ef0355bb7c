//! The compiled whole: immutable, stateless, and cheap to change a copy of.
//!
//! What did not change is carried over. What has memory (counts, turns) lives in the
//! register of `balance`, where it is found by name.

mod change;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use smallvec::SmallVec;
use weft_balance::Register;
use weft_config::{
    Answer, Directory, Interest, Listener, Settings, directory::Known, name::suffixes,
};

use crate::{
    backend::CompiledBackend,
    endpoint_set::{Chunk, EndpointSet},
    places::Places,
    route::{CompiledRoute, CompiledRule, CompiledRules},
    server::{CompiledListener, CompiledServer},
    shards::Shards,
};

pub use change::Rejected;

/// All that a proxy decides by, at one moment.
#[derive(Clone, Debug)]
pub struct Table {
    settings: Arc<Settings>,
    directory: Arc<Directory>,
    pub(crate) listeners: Arc<BTreeMap<Arc<str>, Arc<CompiledListener>>>,
    pub(crate) places: Arc<Places>,
    routes: Shards<Arc<str>, Arc<CompiledRoute>>,
    /// Lists of rules, by name.
    rule_lists: Shards<Arc<str>, Arc<CompiledRules>>,
    /// Names of routes by the lists of rules that they name.
    rule_list_users: Shards<Arc<str>, Arc<BTreeSet<Arc<str>>>>,
    /// Closed stand-ins for hosts that only the newest version of a route has, where that was
    /// rejected, by route.
    rejected: Shards<Arc<str>, Arc<CompiledRoute>>,
    backends: Shards<Arc<str>, Arc<CompiledBackend>>,
    chunks: Shards<Arc<str>, Chunk>,
    /// Lists of chunks, by name.
    sets: Shards<Arc<str>, Arc<EndpointSet>>,
    /// Names of lists by the chunks that they name.
    chunk_users: Shards<Arc<str>, Arc<BTreeSet<Arc<str>>>>,
    /// Names of backends by the lists that they name.
    set_users: Shards<Arc<str>, Arc<BTreeSet<Arc<str>>>>,
    /// Addresses whose servers name a route, by route.
    route_users: Shards<Arc<str>, Arc<BTreeSet<SocketAddr>>>,
    /// Answers for requests, by host.
    hosts: ByName,
    /// Answers for TLS connections, by server name.
    server_names: ByName,
    addresses: Shards<SocketAddr, Arc<CompiledAnswer>>,
    passthrough: Arc<CompiledBackend>,
    passthrough_rule: Arc<CompiledRule>,
    unanswered: Unanswered,
    register: Arc<Register>,
}

/// Answers for names.
#[derive(Clone, Debug, Default)]
struct ByName {
    names: Shards<Arc<str>, Arc<ByPort>>,
    /// Answers that stand for a wildcard, by what follows its `*`.
    covers: Shards<Arc<str>, Arc<ByPort>>,
}

/// Answers for one host name, by port.
type ByPort = SmallVec<[(u16, Arc<CompiledAnswer>); 1]>;

/// An answer, and the compiled server that it leads to.
#[derive(Debug)]
pub(crate) struct CompiledAnswer {
    pub(crate) answer: Arc<Answer>,
    pub(crate) server: Option<Arc<CompiledServer>>,
    used: Used,
}

/// Whether an answer was looked up; all versions of it share this.
#[derive(Clone, Debug, Default)]
struct Used(Arc<AtomicBool>);

impl Used {
    /// Most calls only read, so that workers do not slow each other down.
    fn mark(&self) {
        if !self.0.load(Relaxed) {
            self.0.store(true, Relaxed);
        }
    }

    /// Whether it was marked since this was last asked.
    fn take(&self) -> bool {
        self.0.load(Relaxed) && self.0.swap(false, Relaxed)
    }
}

/// What becomes of an interest that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It is asked for.
    Ask,
    /// It leads outside: there is nobody to ask.
    Outside,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// A table that knows nothing.
    pub fn new() -> Self {
        Self {
            settings: Arc::default(),
            directory: Arc::default(),
            listeners: Arc::default(),
            places: Arc::default(),
            routes: Shards::default(),
            rule_lists: Shards::default(),
            rule_list_users: Shards::default(),
            rejected: Shards::default(),
            backends: Shards::default(),
            chunks: Shards::default(),
            sets: Shards::default(),
            chunk_users: Shards::default(),
            set_users: Shards::default(),
            route_users: Shards::default(),
            hosts: ByName::default(),
            server_names: ByName::default(),
            addresses: Shards::default(),
            passthrough: Arc::new(CompiledBackend::passthrough()),
            passthrough_rule: Arc::new(CompiledRule::passthrough()),
            unanswered: Unanswered::Ask,
            register: Arc::default(),
        }
    }

    /// The same table, for which interests without an answer are `unanswered`.
    #[must_use]
    pub fn when_unanswered(&self, unanswered: Unanswered) -> Self {
        Self { unanswered, ..self.clone() }
    }

    /// What outlives this table. It is shared by all tables made of this one and to be
    /// swept from time to time.
    pub fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// What holds for the whole proxy.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Where connections arrive.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.values().map(|listener| &listener.data)
    }

    /// The backend called `name`.
    pub fn backend(&self, name: &str) -> Option<&Arc<CompiledBackend>> {
        self.backends.find(name)
    }

    /// The backend of traffic that leaves the mesh as it is.
    pub fn passthrough(&self) -> &Arc<CompiledBackend> {
        self.backends.find(&*self.passthrough.name).unwrap_or(&self.passthrough)
    }

    /// Notes that the answer to `interest` is in use, where there is one.
    pub fn mark_used(&self, interest: &Interest) {
        // Looking it up says so.
        self.knows(interest);
    }

    /// Whether `interest` has an answer.
    pub fn knows(&self, interest: &Interest) -> bool {
        match interest {
            Interest::Own | Interest::Directory(_) => true,
            Interest::Host(host, port) => self.answer_for_host(host.as_str(), *port).is_some(),
            Interest::Address(address) => self.answer_for_address(*address).is_some(),
            Interest::ServerName(host, port) => {
                self.answer_for_server_name(host.as_str(), *port).is_some()
            }
        }
    }

    pub(crate) fn passthrough_rule(&self) -> &Arc<CompiledRule> {
        &self.passthrough_rule
    }

    pub(crate) fn unanswered(&self) -> Unanswered {
        self.unanswered
    }

    /// What exists, as far as the proxy was told.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(crate) fn compiled_route(&self, name: &str) -> Option<&Arc<CompiledRoute>> {
        self.routes.find(name)
    }

    pub(crate) fn rejected_route(&self, name: &str) -> Option<&Arc<CompiledRoute>> {
        self.rejected.find(name)
    }

    /// Interests whose answers were looked up since this was last asked.
    pub fn take_used(&self) -> Vec<Interest> {
        let by_name =
            [&self.hosts, &self.server_names].into_iter().flat_map(|one| one.names.values());
        let by_name = by_name.flat_map(|ports| ports.iter().map(|(_, compiled)| compiled));
        let all = by_name.chain(self.addresses.values());
        all.filter(|compiled| compiled.used.take())
            .map(|compiled| compiled.answer.interest.clone())
            .collect()
    }

    pub(crate) fn answer_for_address(&self, address: SocketAddr) -> Option<&Arc<CompiledAnswer>> {
        self.addresses.find(&address).inspect(|compiled| compiled.used.mark())
    }

    /// The answer for `host` on `port`: its own, else the longest wildcard's, unless
    /// the directory has something more specific, which is to be asked for.
    pub(crate) fn answer_for_host(&self, host: &str, port: u16) -> Option<&Arc<CompiledAnswer>> {
        self.find_name(&self.hosts, host, port).inspect(|compiled| compiled.used.mark())
    }

    /// The answer for TLS connections for `name` on `port`, found as those for hosts are.
    pub(crate) fn answer_for_server_name(
        &self,
        name: &str,
        port: u16,
    ) -> Option<&Arc<CompiledAnswer>> {
        self.find_name(&self.server_names, name, port).inspect(|compiled| compiled.used.mark())
    }

    fn find_name<'t>(
        &self,
        answers: &'t ByName,
        host: &str,
        port: u16,
    ) -> Option<&'t Arc<CompiledAnswer>> {
        if let Some(compiled) = answers.names.find(host).and_then(|ports| on(ports, port)) {
            return Some(compiled);
        }
        if answers.covers.is_empty() {
            return None;
        }
        let (suffix, compiled) = suffixes(host)
            .find_map(|suffix| Some((suffix, on(answers.covers.find(suffix)?, port)?)))?;
        let known = self.directory.most_specific(host, port);
        (known == Some(Known::Under(suffix))).then_some(compiled)
    }
}

fn on(ports: &ByPort, port: u16) -> Option<&Arc<CompiledAnswer>> {
    ports.iter().find(|(known, _)| *known == port).map(|(_, compiled)| compiled)
}
