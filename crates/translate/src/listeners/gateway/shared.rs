//! Ports that servers have at every address and at some: what is said at every address is said
//! at each of them.
//!
//! Nothing of it stands there again but the names of lists, for hosts that a server at the address
//! has as well: the proxy looks up all others at every address.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
};

use super::{
    Bound,
    budget::{Budget, HOST},
    routes::{GatewayRules, Through},
};
use crate::model::hosts::HostIndex;

/// Something for each host.
type ByHost<T> = BTreeMap<String, T>;

/// What is said at every address, by port; of ports that are at single addresses, too.
pub(super) struct Shared<'g>(BTreeMap<u16, Everywhere<'g>>);

/// What is said on a port at every address.
#[derive(Default)]
pub(super) struct Everywhere<'g> {
    /// How many things are said.
    pub(super) count: usize,
    said: ByHost<Vec<Rc<GatewayRules<'g>>>>,
    /// The Gateways that hosts are served through.
    through: ByHost<Through<'g>>,
    /// Servers that send clients to TLS, by their hosts, unless that is known not to hold.
    redirecting: HostIndex<RefCell<Vec<Bound<'g>>>>,
}

impl<'g> Shared<'g> {
    /// Of these places of a gateway; nothing is said yet.
    pub(super) fn of<'p>(places: impl Iterator<Item = &'p SocketAddr>) -> Self {
        let narrow = places.filter(|at| !at.ip().is_unspecified());
        Self(narrow.map(|at| (at.port(), Everywhere::default())).collect())
    }

    /// What is said at `at`, too, since it is said at every address.
    pub(super) fn at(&self, at: SocketAddr) -> Option<&Everywhere<'g>> {
        self.0.get(&at.port()).filter(|_| !at.ip().is_unspecified())
    }

    /// Notes what is said at `at`, where that is every address and others have the port.
    pub(super) fn note(
        &mut self,
        at: SocketAddr,
        count: usize,
        (said, through): (&ByHost<Vec<Rc<GatewayRules<'g>>>>, &ByHost<Through<'g>>),
        redirecting: impl Iterator<Item = (String, Bound<'g>)>,
    ) {
        let Some(everywhere) = self.0.get_mut(&at.port()) else { return };
        if at.ip().is_unspecified() {
            let mut servers: HostIndex<RefCell<Vec<_>>> = HostIndex::default();
            for (host, server) in redirecting {
                servers.entry(&host).get_mut().push(server);
            }
            let (said, through) = (said.clone(), through.clone());
            *everywhere = Everywhere { count, said, through, redirecting: servers };
        }
    }
}

impl<'g> Everywhere<'g> {
    /// Whether something is said for `host` itself.
    pub(super) fn says(&self, host: &str) -> bool {
        self.said.contains_key(host)
    }

    /// What it costs to say all this for `host` at one more address.
    pub(super) fn cost(&self, host: &str) -> usize {
        self.said.get(host).map_or(0, |said| HOST * said.len())
    }

    /// Adds to `said`, what is said for hosts at one address, what is said for them everywhere.
    /// A virtual service that has its rules there already keeps them.
    pub(super) fn join(&self, said: &mut ByHost<Vec<Rc<GatewayRules<'g>>>>) {
        for (host, own) in said {
            let Some(others) = self.said.get(host) else { continue };
            let known: BTreeSet<_> = own.iter().map(|said| said.named()).collect();
            let others = others.iter().filter(|said| !known.contains(&said.named()));
            own.extend(others.cloned());
        }
    }

    /// Whether `host` is served through another Gateway than `gateway`.
    pub(super) fn of_others(&self, host: &str, gateway: (&'g str, &'g str)) -> bool {
        self.through.get(host).is_some_and(|through| *through != Through::One(gateway))
    }

    /// Notes the servers everywhere that send clients to TLS for hosts in `served`, which other
    /// Gateways serve at one address.
    pub(super) fn note_redirects(&self, served: &ByHost<Through<'g>>, budget: &mut Budget<'g>) {
        for (host, through) in served {
            // Each is looked at once.
            let servers = self.redirecting.covering(host).flat_map(RefCell::take);
            let of_others = servers.filter(|one| *through != Through::One(one.key()));
            of_others.for_each(|one| budget.note_redirect(&one, host));
        }
    }
}
