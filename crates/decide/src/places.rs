//! Listeners by address: those that share a port, and which of them a connection belongs to.
//!
//! A listener at one address narrows where its hosts are served, and does nothing else: it takes
//! no connection from the one at every address, and that one takes none from it.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    hello::ClientHello,
    server::{CompiledListener, CompiledServer},
    table::Table,
};

/// Names of the listeners that share their ports, by address; the first of equal addresses.
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<SocketAddr, Arc<str>>);

impl Places {
    pub(crate) fn of(listeners: &BTreeMap<Arc<str>, Arc<CompiledListener>>) -> Self {
        let mut names = HashMap::new();
        for (name, listener) in listeners.iter().filter(|(_, one)| one.data.shares_port()) {
            names.entry(canonical(listener.data.bind)).or_insert_with(|| Arc::clone(name));
        }
        Self(names)
    }

    /// The listener at this address and port alone.
    fn at(&self, address: SocketAddr) -> Option<&Arc<str>> {
        self.0.get(&address)
    }

    /// The listener at every address, as far as `family` is among those.
    fn everywhere(&self, port: u16, family: IpAddr) -> Option<&Arc<str>> {
        let four = || self.0.get(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        let six = || self.0.get(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        let four = family.is_ipv4().then(four).flatten();
        four.or_else(six)
    }
}

/// The listeners that a connection belongs to: the one at its address, then the one at every
/// address.
pub(crate) struct Belongs<'t>(SmallVec<[(&'t Arc<str>, &'t Arc<CompiledListener>); 2]>);

impl<'t> Belongs<'t> {
    /// The first of them.
    pub(crate) fn first(&self) -> Option<(&'t Arc<str>, &'t Arc<CompiledListener>)> {
        self.0.first().copied()
    }

    /// The servers for connections to `port`, but for those that only some TLS clients may use.
    pub(crate) fn servers(
        &self,
        port: u16,
    ) -> impl DoubleEndedIterator<Item = &'t Arc<CompiledServer>> + Clone {
        self.0.iter().filter_map(move |(_, listener)| listener.server(port))
    }

    /// Whether what TLS clients say first decides about connections to `port`.
    pub(crate) fn look_at_hello(&self, port: u16) -> bool {
        self.0.iter().any(|(_, listener)| listener.looks_at_hello(port))
    }

    /// The server for connections to `port` whose clients say `hello`: the one that is most
    /// exactly for them, the first of equals.
    pub(crate) fn server_for(
        &self,
        port: u16,
        hello: &ClientHello,
    ) -> Option<&'t Arc<CompiledServer>> {
        let found = self.0.iter().rev().filter_map(|(_, one)| one.server_for(port, hello));
        found.max_by_key(|(rank, _)| *rank).map(|(_, server)| server)
    }
}

impl Table {
    /// The name of the listener that takes connections to `address`.
    pub fn listener_at(&self, address: SocketAddr) -> Option<&Arc<str>> {
        let address = canonical(address);
        let everywhere = || self.places.everywhere(address.port(), address.ip());
        self.places.at(address).or_else(everywhere)
    }

    /// The listeners that a connection belongs to which arrived at `listener` for `destination`.
    /// It may have gone since: the connection then belongs to those that are left.
    pub(crate) fn belongs(&self, listener: &str, destination: SocketAddr) -> Belongs<'_> {
        let named = self.listeners.get_key_value(listener);
        let address = canonical(destination);
        let mut found = SmallVec::new();
        let bind = named.map(|(_, one)| canonical(one.data.bind));
        let is_narrow = bind == Some(address);
        let is_wide =
            bind.is_some_and(|bind| bind.ip().is_unspecified() && bind.port() == address.port());
        let shares = named.is_none_or(|(_, one)| one.data.shares_port());
        if let Some(named) = named.filter(|_| !shares || !(is_narrow || is_wide)) {
            found.push(named);
            return Belongs(found);
        }
        let by_name = |name: &Arc<str>| self.listeners.get_key_value(&**name);
        let other = || self.places.at(address).and_then(by_name);
        found.extend(named.filter(|_| is_narrow).or_else(other));
        // It is at every address of both families here: only its socket has one.
        let places = &self.places;
        let everywhere = || places.everywhere(address.port(), Ipv4Addr::UNSPECIFIED.into());
        let other = || everywhere().and_then(by_name);
        found.extend(named.filter(|_| is_wide).or_else(other));
        Belongs(found)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
