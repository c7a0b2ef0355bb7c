//! What may be repeated at a gateway: the rules of a virtual service for hosts that it shares
//! with others, and what a Gateway has on several ports.
//!
//! What is written once may be as much as it is; products have a bound. What goes beyond it is
//! closed for its owner's namespace, and a diagnostic says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use weft_api::{Key, Kind};

use super::{Bound, routes::Said};

/// Bytes of rules that the virtual services of a namespace may have more than once on a
/// port, because they share some of their hosts with others and not all: so many, and
/// [`TIMES`] times what they have once.
pub(crate) const RULES: usize = 16 << 20;
/// Bytes of hosts and rules that the Gateways of a namespace may have on further ports: so
/// many, and [`TIMES`] times what they have on their first ones.
pub(crate) const PORTS: usize = 32 << 20;
/// See [`RULES`] and [`PORTS`].
pub(crate) const TIMES: usize = 4;

/// What a port costs besides hosts and rules, in bytes, about: a listener here and in the
/// proxy, and a socket.
pub(super) const PORT: usize = 16 << 10;
/// What it costs to look at a host, in bytes, about, whether it is served on the port or not.
pub(super) const HOST: usize = 128;

/// What a gateway does not serve in full, because it would be repeated too often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Limited {
    /// Gateways, with the index of a server.
    pub(crate) servers: BTreeSet<(Key, usize)>,
    /// Virtual services, with a host for which their rules are closed.
    pub(crate) services: BTreeMap<Key, String>,
}

/// What the objects of each namespace may still repeat.
#[derive(Default)]
pub(super) struct Budget<'g> {
    rules: BTreeMap<&'g str, usize>,
    ports: BTreeMap<&'g str, usize>,
    /// Gateways, by namespace and name, that have a port already.
    begun: BTreeSet<(&'g str, &'g str)>,
    /// Gateways that have no more.
    ended: BTreeSet<(&'g str, &'g str)>,
    limited: Limited,
}

impl<'g> Budget<'g> {
    /// Whether a Gateway may have one more port, whatever that costs.
    pub(super) fn is_open(&self, one: &Bound<'g>) -> bool {
        !self.ended.contains(&one.key())
    }

    /// Whether a Gateway may have one more port, which costs `cost`.
    pub(super) fn charge(&mut self, one: &Bound<'g>, cost: usize) -> bool {
        let key = one.key();
        let left = self.ports.entry(key.0).or_insert(PORTS);
        if self.begun.insert(key) {
            *left += TIMES * cost;
            return true;
        }
        match left.checked_sub(cost) {
            Some(after) => *left = after,
            None => {
                self.ended.insert(key);
                return false;
            }
        }
        true
    }

    /// Notes that servers of a Gateway are not served.
    pub(super) fn refuse(&mut self, servers: &[Bound<'g>]) {
        for one in servers {
            let (namespace, name) = one.key();
            let key = Key::new(Kind::Gateway, namespace, name);
            self.limited.servers.insert((key, one.index));
        }
    }

    /// What was not served in full.
    pub(super) fn into_limited(self) -> Limited {
        self.limited
    }

    /// The budget for the rules of `said`, all that is said on one port.
    pub(super) fn of_port<'b>(
        &'b mut self,
        said: impl Iterator<Item = &'b Rc<Said<'g>>>,
    ) -> Repeats<'b, 'g> {
        let mut seen = BTreeSet::new();
        for said in said.filter(|said| seen.insert(Rc::as_ptr(said))) {
            *self.rules.entry(said.namespace()).or_insert(RULES) += TIMES * said.size;
        }
        Repeats { left: &mut self.rules, limited: &mut self.limited, seen: BTreeSet::new() }
    }
}

/// The budget for rules on one port.
pub(super) struct Repeats<'b, 'g> {
    left: &'b mut BTreeMap<&'g str, usize>,
    limited: &'b mut Limited,
    seen: BTreeSet<*const Said<'g>>,
}

impl<'g> Repeats<'_, 'g> {
    /// Whether `said` may stand at one more place, where `host` is.
    pub(super) fn has(&mut self, said: &Rc<Said<'g>>, host: &str) -> bool {
        if self.seen.insert(Rc::as_ptr(said)) {
            return true;
        }
        let left = self.left.entry(said.namespace()).or_default();
        match left.checked_sub(said.size) {
            Some(after) => *left = after,
            None => {
                self.limited.services.entry(said.key()).or_insert_with(|| host.to_owned());
                return false;
            }
        }
        true
    }
}
