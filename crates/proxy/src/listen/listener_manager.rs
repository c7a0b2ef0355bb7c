//! The sockets that connections arrive at, kept in step with the table.
//!
//! One socket per address; every connection goes to the worker with the fewest.
//! A listener that changes keeps its socket, one that goes stops accepting and
//! leaves its connections alone. One that cannot be opened affects no other.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
};

use tokio::time::Instant;
use weft_config::{Destination, ProcessLimits};

use crate::{
    listen::{
        accept::{Accepting, accept},
        admission::Admission,
        listener::Listener,
        passed_sockets::{Borrowing, borrow},
        socket,
        status::{ListenerState, ListenerStatus},
    },
    options::Sockets,
};

/// The listeners of a proxy.
pub struct Listeners {
    admission: Rc<Admission>,
    sockets: Sockets,
    open: BTreeMap<String, OpenListener>,
    /// Listeners whose connections come to the socket of another one.
    within: BTreeMap<String, WithinListener>,
    failed: BTreeMap<String, FailedListener>,
}

/// A listener at one address whose port another one has at every address.
struct WithinListener {
    bind: SocketAddr,
    other: String,
}

/// A listener whose socket is open.
struct OpenListener {
    bind: SocketAddr,
    listener: Arc<Listener>,
    /// How many connections it has.
    connections: Arc<AtomicUsize>,
    own: TcpListener,
    accepting: Accepting,
    borrowing: Option<Borrowing>,
}

/// A listener whose socket could not be opened.
struct FailedListener {
    bind: SocketAddr,
    error: io::Error,
    tries: u32,
    /// When it is tried again.
    next: Instant,
}

impl Listeners {
    /// No listeners yet; `admission` will let their connections in.
    pub fn new(admission: Admission, sockets: Sockets) -> Self {
        Self {
            admission: Rc::new(admission),
            sockets,
            open: BTreeMap::new(),
            within: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Opens and closes sockets until they are those of `listeners`. Each one that is not
    /// open is tried, unless it failed and its pause is not over yet.
    pub fn reconcile<'l>(
        &mut self,
        listeners: impl Iterator<Item = &'l Arc<weft_config::Listener>>,
        limits: &ProcessLimits,
        now: Instant,
    ) {
        self.admission.limit(limits);
        let wanted: BTreeMap<&str, &Arc<weft_config::Listener>> =
            listeners.map(|listener| (listener.name.as_str(), listener)).collect();
        let everywhere = open_everywhere(wanted.values().copied());
        let is_wanted = |name: &str, bind: SocketAddr| {
            wanted.get(name).is_some_and(|listener| listener.bind == bind)
        };
        let gone = self.open.extract_if(.., |name, open| {
            wanted.get(name.as_str()).is_none_or(|listener| {
                listener.bind != open.bind || place(&everywhere, listener) != Place::Own
            })
        });
        gone.for_each(|(_, open)| open.close(&self.admission));
        self.failed.retain(|name, failed| is_wanted(name, failed.bind));
        let mut known = std::mem::take(&mut self.within);
        known.retain(|name, within| is_wanted(name, within.bind));
        for listener in wanted.values() {
            match place(&everywhere, listener) {
                Place::Own => self.open_or_change(listener, None, now),
                Place::Taken(other) => self.open_or_change(listener, Some(other), now),
                Place::Within(other) => {
                    let is_known = known.contains_key(&listener.name);
                    self.share(listener, other, is_known, now);
                }
            }
        }
    }

    /// Has `other`, which has the port at every address, take the connections of a listener.
    fn share(&mut self, wanted: &weft_config::Listener, other: &str, is_known: bool, now: Instant) {
        let name = &wanted.name;
        if self.failed.get(name).is_some_and(|failed| now < failed.next) {
            return;
        }
        let is_here = if is_known { Ok(()) } else { socket::is_here(wanted.bind.ip()) };
        match is_here {
            Ok(()) => {
                self.failed.remove(name);
                let within = WithinListener { bind: wanted.bind, other: other.to_owned() };
                self.within.insert(name.clone(), within);
            }
            Err(error) => self.failed(wanted, error, now),
        }
    }

    /// Opens a listener, unless `other` has its port at every address.
    fn open_or_change(
        &mut self,
        wanted: &weft_config::Listener,
        other: Option<&str>,
        now: Instant,
    ) {
        let name = &wanted.name;
        let listener = Listener::of(wanted);
        let before = self.open.get(name);
        if before.is_some_and(|open| *open.listener == listener)
            || self.failed.get(name).is_some_and(|failed| now < failed.next)
        {
            return;
        }
        let (own, connections) = match before {
            Some(open) => (open.own.try_clone(), Arc::clone(&open.connections)),
            None if let Some(other) = other => {
                let why = format!("listener `{other}` has this port at every address");
                (Err(io::Error::new(io::ErrorKind::AddrInUse, why)), Arc::default())
            }
            None => (socket::bind(wanted.bind), Arc::default()),
        };
        let opened = own.and_then(|own| {
            let listener = Arc::new(listener);
            let accepting = accept(own.try_clone()?, &listener, &connections, &self.admission)?;
            let borrowing = self.borrow(wanted.bind, &listener, &connections);
            Ok(OpenListener { bind: wanted.bind, listener, connections, own, accepting, borrowing })
        });
        match opened {
            Ok(open) => {
                if self.failed.remove(name).is_some() {
                    tracing::info!(listener = name, "a listener is open that could not be before");
                }
                self.open.insert(name.clone(), open);
            }
            Err(error) if before.is_some() => {
                tracing::warn!(%error, listener = name, "a changed listener keeps its old settings");
            }
            Err(error) => self.failed(wanted, error, now),
        }
    }

    /// Where others lend sockets, these are used beside those of the listener that is open at
    /// every address. No other one may take what comes to them.
    fn borrow(
        &self,
        bind: SocketAddr,
        listener: &Listener,
        connections: &Arc<AtomicUsize>,
    ) -> Option<Borrowing> {
        match &self.sockets {
            Sockets::Node { lender, address }
                if listener.destination == Destination::Socket
                    && bind.ip() == Ipv4Addr::UNSPECIFIED =>
            {
                let destination = SocketAddr::new(address.unwrap_or(bind.ip()), bind.port());
                Some(borrow(lender.clone(), destination, listener, connections, &self.admission))
            }
            Sockets::Node { .. } | Sockets::Bind => None,
        }
    }

    fn failed(&mut self, wanted: &weft_config::Listener, error: io::Error, now: Instant) {
        let tries = self.failed.get(&wanted.name).map_or(0, |failed| failed.tries) + 1;
        let pause = socket::pause(tries);
        tracing::warn!(%error, listener = wanted.name, bind = %wanted.bind, again_in = ?pause,
            "a listener cannot be opened; the others are not affected");
        let failed = FailedListener { bind: wanted.bind, error, tries, next: now + pause };
        self.failed.insert(wanted.name.clone(), failed);
    }

    /// When a listener that failed is to be tried again.
    pub fn next_try(&self) -> Option<Instant> {
        self.failed.values().map(|failed| failed.next).min()
    }

    /// Every listener, and whether it is open.
    pub fn status(&self) -> Vec<ListenerStatus> {
        let open = self.open.iter().map(|(name, open)| {
            let address = open.own.local_addr().unwrap_or(open.bind);
            let state = ListenerState::Open { address };
            ListenerStatus { name: name.clone(), bind: open.bind, state }
        });
        let failed = self.failed.iter().map(|(name, failed)| {
            let state =
                ListenerState::Failed { error: failed.error.to_string(), tries: failed.tries };
            ListenerStatus { name: name.clone(), bind: failed.bind, state }
        });
        let within = self.within.iter().map(|(name, within)| {
            let state = match self.open.contains_key(&within.other) {
                true => ListenerState::Open { address: within.bind },
                false => ListenerState::Failed {
                    error: format!(
                        "listener `{}` has this port at every address, and cannot be opened",
                        within.other
                    ),
                    tries: 0,
                },
            };
            ListenerStatus { name: name.clone(), bind: within.bind, state }
        });
        open.chain(within).chain(failed).collect()
    }

    /// Accepts nothing more.
    pub fn close(&mut self) {
        for open in std::mem::take(&mut self.open).into_values() {
            open.close(&self.admission);
        }
        self.within.clear();
        self.failed.clear();
    }
}

/// Listeners that are open at every address, by port. One of all IPv4 addresses is preferred to
/// one of all IPv6 addresses: the kernel opens the latter for both.
fn open_everywhere<'l>(
    listeners: impl Iterator<Item = &'l Arc<weft_config::Listener>>,
) -> BTreeMap<u16, &'l weft_config::Listener> {
    let mut by_port: BTreeMap<u16, &weft_config::Listener> = BTreeMap::new();
    for listener in listeners.filter(|one| one.bind.ip().is_unspecified() && one.bind.port() != 0) {
        let first = by_port.entry(listener.bind.port()).or_insert(listener);
        if first.bind.is_ipv6() && listener.bind.is_ipv4() {
            *first = listener;
        }
    }
    by_port
}

/// Where the connections of a listener arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place<'l> {
    /// At a socket of its own.
    Own,
    /// At the socket of this one, which has the port at every address.
    Within(&'l str),
    /// Nowhere: this one has the port at every address.
    Taken(&'l str),
}

/// Where the connections of `listener` arrive. None takes the port of one at every address away:
/// the kernel would give it all connections to its own one.
fn place<'l>(
    everywhere: &BTreeMap<u16, &'l weft_config::Listener>,
    listener: &weft_config::Listener,
) -> Place<'l> {
    let bind = SocketAddr::new(listener.bind.ip().to_canonical(), listener.bind.port());
    let Some(other) = everywhere.get(&bind.port()) else { return Place::Own };
    match (bind.ip().is_unspecified(), bind.is_ipv6() && other.bind.is_ipv4()) {
        (true, true) => Place::Taken(&other.name),
        // Its own socket is open to no address of this one.
        (true, false) | (false, true) => Place::Own,
        (false, false) if listener.shares_port() && other.shares_port() => {
            Place::Within(&other.name)
        }
        (false, false) => Place::Taken(&other.name),
    }
}

impl OpenListener {
    /// Closes the socket, after taking what the kernel has accepted already: it would be reset.
    fn close(self, admission: &Admission) {
        drop((self.accepting, self.borrowing));
        while let Ok((stream, client)) = self.own.accept() {
            if stream.set_nonblocking(true).is_ok() {
                admission.admit_now(stream, client, &self.listener, &self.connections);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, bind: &str, destination: Destination) -> Arc<weft_config::Listener> {
        Arc::new(weft_config::Listener {
            name: name.to_owned(),
            bind: bind.parse().unwrap(),
            destination,
            layers: Vec::new(),
            limits: weft_config::Limits::default(),
            scope: weft_config::Scope::Servers(Vec::new()),
        })
    }

    #[test]
    fn only_an_address_that_the_other_socket_is_open_to_shares_it() {
        let of = |bind| listener("one", bind, Destination::Socket);
        let four = of("0.0.0.0:80");
        let six = listener("six", "[::]:80", Destination::Socket);
        let both = [Arc::clone(&four), Arc::clone(&six)];
        let everywhere = open_everywhere(both.iter());
        for (bind, expected) in [
            ("10.1.0.1:80", Place::Within("one")),
            ("[::ffff:10.1.0.1]:80", Place::Within("one")),
            ("[::1]:80", Place::Own),
            ("10.1.0.1:81", Place::Own),
        ] {
            assert!(place(&everywhere, &of(bind)) == expected, "{bind}");
        }
        assert!(place(&everywhere, &four) == Place::Own);
        assert!(place(&everywhere, &six) == Place::Taken("one"), "the kernel opens it for both");
        let captured = listener("captured", "10.1.0.1:80", Destination::Kernel);
        assert!(place(&everywhere, &captured) == Place::Taken("one"));
        let alone = [six];
        let everywhere = open_everywhere(alone.iter());
        for bind in ["10.1.0.1:80", "[::1]:80"] {
            assert!(place(&everywhere, &of(bind)) == Place::Within("six"), "{bind}");
        }
    }
}
