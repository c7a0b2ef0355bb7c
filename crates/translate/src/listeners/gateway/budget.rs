//! What may be repeated at a gateway: the hosts and rules of a virtual service on several ports,
//! and the hosts that its patterns cover.
//!
//! What is written once may be as much as it is; products have a bound. What goes beyond it is
//! closed for its owner's namespace, and a diagnostic says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
};

use weft_api::{Key, Kind, virtual_service::VirtualService};

use super::{Bound, routes::Attached};

/// Bytes of hosts and rules that the virtual services of a namespace may have on further
/// ports: so many, and [`TIMES`] times what they have on their first ones.
pub(crate) const FURTHER: usize = 32 << 20;
/// See [`FURTHER`].
pub(crate) const TIMES: usize = 4;
/// Hosts that the virtual services of a namespace may have at a gateway and do not name, since a
/// pattern of theirs covers them: so many, and [`TIMES`] times the hosts that they name and that
/// Gateways have.
pub(crate) const COVERED: usize = 16_384;
/// Bytes of names of lists that the routes of a namespace's virtual services may have on their
/// first ports: so many, and [`TIMES`] times those of the hosts that they name.
pub(crate) const NAMES: usize = 8 << 20;
/// Ports that the Gateways of a namespace may have at a gateway.
pub(crate) const PORTS: usize = 1_000;

/// What a host costs on a port besides its name, in bytes, about.
pub(crate) const HOST: usize = 128;
/// What it costs to read one of the things that rules name, in bytes of what comes out of it.
pub(crate) const READ: usize = 32;

/// What a gateway does not serve in full, because it would be repeated too often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Limited {
    /// Servers of Gateways that have too many ports, by Gateway: their indexes.
    pub(crate) servers: BTreeMap<Key, BTreeSet<usize>>,
    /// Virtual services that are not served on some ports, with the first of them.
    pub(crate) ports: BTreeMap<Key, u16>,
    /// Virtual services whose patterns cover too many hosts, with the first port.
    pub(crate) hosts: BTreeMap<Key, u16>,
    /// Virtual services that have too many hosts, each of which names their rules, with the port.
    pub(crate) names: BTreeMap<Key, u16>,
    /// Servers that have no port, by Gateway: their indexes, each with the older one that has it,
    /// and the older ones, each with one that has none.
    pub(crate) conflicts: BTreeMap<Key, BTreeMap<usize, Rival>>,
    /// Gateways that send clients to TLS for hosts that others serve in plaintext: the index of a
    /// server, and the host.
    pub(crate) redirects: BTreeMap<Key, (usize, String)>,
}

/// A server that another is not compatible with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rival {
    /// Its Gateway.
    pub(crate) gateway: Key,
    /// Which of the Gateway's servers it is.
    pub(crate) index: usize,
    /// Whether it has the port.
    pub(crate) has_port: bool,
}

/// One virtual service at one Gateway, on one port.
#[derive(Clone, Copy)]
pub(super) struct Turn<'g> {
    service: &'g VirtualService,
    at: SocketAddr,
    /// Whether it is the service's first.
    is_first: bool,
}

/// What the objects of each namespace may still repeat.
#[derive(Default)]
pub(super) struct Budget<'g> {
    /// Ports by the namespaces of Gateways.
    ports: BTreeMap<&'g str, BTreeSet<SocketAddr>>,
    /// What is left for further ports, by the namespaces of virtual services.
    further: BTreeMap<&'g str, usize>,
    /// What is left of hosts that patterns cover, by the namespaces of virtual services.
    covered: BTreeMap<&'g str, usize>,
    /// What is left of names of lists, by the namespaces of virtual services.
    names: BTreeMap<&'g str, usize>,
    /// Virtual services that have a port already, and those that have no more.
    begun: BTreeSet<Named<'g>>,
    ended: BTreeSet<Named<'g>>,
    /// The virtual services of each Gateway.
    bound: BTreeMap<Named<'g>, Rc<Vec<Attached<'g>>>>,
    limited: Limited,
}

/// Namespace and name of an object.
type Named<'g> = (&'g str, &'g str);

fn named(service: &VirtualService) -> Named<'_> {
    (&service.metadata.namespace, &service.metadata.name)
}

impl<'g> Budget<'g> {
    /// The virtual services that are bound to a Gateway; `find` finds them once.
    pub(super) fn bound_to(
        &mut self,
        gateway: Named<'g>,
        find: impl FnOnce() -> Vec<Attached<'g>>,
    ) -> Rc<Vec<Attached<'g>>> {
        Rc::clone(self.bound.entry(gateway).or_insert_with(|| Rc::new(find())))
    }

    /// Whether `servers`, which are of one Gateway, may have the port.
    pub(super) fn may_listen(&mut self, at: SocketAddr, servers: &[Bound<'g>]) -> bool {
        let Some(one) = servers.first() else { return false };
        let (namespace, name) = one.key();
        let ports = self.ports.entry(namespace).or_default();
        if ports.len() < PORTS || ports.contains(&at) {
            ports.insert(at);
            return true;
        }
        let key = Key::new(Kind::Gateway, namespace, name);
        let limited = self.limited.servers.entry(key).or_default();
        limited.extend(servers.iter().map(|one| one.index));
        false
    }

    /// Notes that `loser` has no port, since `winner` has it and reads connections in another way.
    pub(super) fn note_conflict(&mut self, winner: &Bound<'g>, loser: &Bound<'g>) {
        for (own, other, has_port) in [(loser, winner, true), (winner, loser, false)] {
            let [own_key, gateway] = [own, other].map(|one| {
                let (namespace, name) = one.key();
                Key::new(Kind::Gateway, namespace, name)
            });
            let rival = Rival { gateway, index: other.index, has_port };
            self.limited.conflicts.entry(own_key).or_default().entry(own.index).or_insert(rival);
        }
    }

    /// Notes that `server` sends clients of `host` to TLS, which another Gateway serves.
    pub(super) fn note_redirect(&mut self, server: &Bound<'g>, host: &str) {
        let (namespace, name) = server.key();
        let key = Key::new(Kind::Gateway, namespace, name);
        self.limited.redirects.entry(key).or_insert_with(|| (server.index, host.to_owned()));
    }

    /// How many hosts a virtual service of `namespace` may have besides those that it names.
    pub(super) fn coverable(&self, namespace: &str) -> usize {
        self.covered.get(namespace).copied().unwrap_or(COVERED)
    }

    /// Notes that virtual services of `namespace` name, or may serve, `hosts` more hosts.
    pub(super) fn add_hosts(&mut self, namespace: &'g str, hosts: usize) {
        *self.covered.entry(namespace).or_insert(COVERED) += TIMES * hosts;
    }

    /// Whether `service` may have `count` hosts at `at` that it does not name.
    pub(super) fn may_cover(
        &mut self,
        service: &'g VirtualService,
        at: SocketAddr,
        count: usize,
    ) -> bool {
        let (namespace, name) = named(service);
        let left = self.covered.entry(namespace).or_insert(COVERED);
        match left.checked_sub(count) {
            Some(after) => *left = after,
            None => {
                self.ended.insert((namespace, name));
                let key = Key::new(Kind::VirtualService, namespace, name);
                self.limited.hosts.insert(key, at.port());
                return false;
            }
        }
        true
    }

    /// Begins to serve `service` at `at`, if it has exceeded no limit so far.
    pub(super) fn begin(
        &mut self,
        service: &'g VirtualService,
        at: SocketAddr,
    ) -> Option<Turn<'g>> {
        let is_open = !self.ended.contains(&named(service));
        is_open.then(|| Turn { service, at, is_first: self.begun.insert(named(service)) })
    }

    /// Whether the service of `turn` may cost `cost` more there.
    pub(super) fn charge(&mut self, turn: Turn<'g>, cost: usize) -> bool {
        let Turn { service, at, is_first } = turn;
        let namespace = service.metadata.namespace.as_str();
        let left = self.further.entry(namespace).or_insert(FURTHER);
        if is_first {
            *left += TIMES * cost;
            return true;
        }
        match left.checked_sub(cost) {
            Some(after) => *left = after,
            None => {
                self.ended.insert(named(service));
                let key = Key::new(Kind::VirtualService, namespace, &*service.metadata.name);
                self.limited.ports.insert(key, at.port());
                return false;
            }
        }
        true
    }

    /// Whether `service` may cost `cost` more at `at` for what is there anyway: its first place
    /// is no reason for it.
    pub(super) fn repeat(
        &mut self,
        service: &'g VirtualService,
        at: SocketAddr,
        cost: usize,
    ) -> bool {
        self.charge(Turn { service, at, is_first: false }, cost)
    }

    /// Whether hosts of the service of `turn` may have `cost` bytes of names of its lists there.
    /// What further ports have is charged with the rest.
    pub(super) fn may_name(&mut self, turn: Turn<'g>, cost: usize) -> bool {
        let Turn { service, at, is_first } = turn;
        if !is_first {
            return true;
        }
        let namespace = service.metadata.namespace.as_str();
        let left = self.names.entry(namespace).or_insert(NAMES);
        let written = service.spec.hosts.iter().map(String::len).sum::<usize>();
        match (*left + TIMES * written).checked_sub(cost) {
            Some(after) => *left = after,
            None => {
                self.ended.insert(named(service));
                let key = Key::new(Kind::VirtualService, namespace, &*service.metadata.name);
                self.limited.names.insert(key, at.port());
                return false;
            }
        }
        true
    }

    /// What was not served in full.
    pub(super) fn into_limited(self) -> Limited {
        self.limited
    }
}
