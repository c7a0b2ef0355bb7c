//! The networks of pods: their addresses and links, and what they play beyond
//! the mesh.

use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use ipnet::Ipv4Net;
use tokio::sync::Notify;

use super::{Addresses, PodNetwork, Router};

/// Gives pods their networks, and knows which there are.
pub(crate) struct PodNetworks {
    router: Router,
    addresses: Mutex<Addresses>,
    links: AtomicU32,
    /// The router's link of each pod that has one.
    connected: Mutex<HashMap<Ipv4Addr, String>>,
    /// What pods play beyond the mesh, by uid.
    played: Mutex<HashMap<String, Played>>,
    changed: Notify,
}

struct Played {
    ranges: Vec<Ipv4Net>,
    names: Vec<(String, Ipv4Addr)>,
}

impl PodNetworks {
    pub(crate) fn new(router: Router) -> Self {
        Self {
            router,
            addresses: Mutex::default(),
            links: AtomicU32::new(0),
            connected: Mutex::default(),
            played: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A namespace with a link and an address.
    pub(crate) async fn connect(&self) -> io::Result<PodNetwork> {
        let address = lock(&self.addresses).take();
        let address = address.ok_or_else(|| {
            io::Error::other("all pod addresses are taken; delete pods, or scale workloads down")
        })?;
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        let made = self.router.connect(number, address).await;
        match &made {
            Ok(network) => {
                lock(&self.connected).insert(address, network.link.clone());
                self.note_change();
            }
            Err(_) => lock(&self.addresses).release(address),
        }
        made
    }

    /// Removes what [`PodNetworks::connect`] made, and what the pod played.
    pub(crate) async fn disconnect(&self, network: &PodNetwork, uid: &str) {
        lock(&self.played).remove(uid);
        lock(&self.connected).remove(&network.address);
        self.router.disconnect(network).await;
        lock(&self.addresses).release(network.address);
        self.note_change();
    }

    /// Lets a pod answer for addresses and names beyond the mesh. A name may say its
    /// address after `=`, else it has the first of the ranges.
    pub(crate) async fn play_outside(
        &self,
        network: &PodNetwork,
        uid: &str,
        (ranges, names): (&[Ipv4Net], &str),
    ) -> io::Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        self.router.play_outside(network, ranges).await?;
        let first = ranges.first().and_then(|range| range.hosts().next());
        let names = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .filter_map(|name| match name.split_once('=') {
                Some((name, address)) => Some((name.to_lowercase(), address.parse().ok()?)),
                None => Some((name.to_lowercase(), first?)),
            })
            .collect();
        lock(&self.played).insert(uid.to_owned(), Played { ranges: ranges.to_vec(), names });
        self.note_change();
        Ok(())
    }

    /// The router's link of each pod.
    pub(crate) fn links(&self) -> std::collections::BTreeMap<Ipv4Addr, String> {
        lock(&self.connected).iter().map(|(address, link)| (*address, link.clone())).collect()
    }

    /// The addresses beyond the mesh that pods answer for.
    pub(crate) fn played_ranges(&self) -> Vec<Ipv4Net> {
        let mut all: Vec<Ipv4Net> =
            lock(&self.played).values().flat_map(|played| played.ranges.clone()).collect();
        all.sort();
        all
    }

    /// The address of a name beyond the mesh that a pod answers for.
    pub(crate) fn played_name(&self, name: &str) -> Option<Ipv4Addr> {
        let played = lock(&self.played);
        let mut names = played.values().flat_map(|played| &played.names);
        names.find(|(pattern, _)| covers(pattern, name)).map(|(_, address)| *address)
    }

    /// Says that the router's rules may have to change.
    pub(crate) fn note_change(&self) {
        self.changed.notify_one();
    }

    /// Waits until the router's rules may have to change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => suffix.len() < name.len() && name.ends_with(suffix),
        None => pattern == name,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only insertions and removals happen under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
