//! Addresses of names outside of the mesh, as one worker knows them.
//!
//! Names are looked up by one [`Resolver`] for the whole process. A worker keeps what it was
//! told for a second, so that requests neither wait nor talk to another thread, and asks
//! again while it still uses the old answer.

mod cache;
mod resolver;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Duration,
};

use tokio::time::{Instant, timeout_at};

pub use cache::{Name, ResolveError};
#[cfg(test)]
pub use resolver::Lookup;
pub use resolver::Resolver;

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(1);
/// How long an answer is used while the resolver is asked again.
const STALE: Duration = Duration::from_secs(60);
/// How long an address that could not be connected to comes after the others.
const AVOIDED: Duration = Duration::from_secs(10);
/// Names that are remembered.
const MOST_NAMES: usize = 4096;

/// Addresses of names.
pub struct Names {
    resolver: Resolver,
    known: RefCell<HashMap<Name, Known>>,
    /// Addresses that could not be connected to, and when.
    failed: RefCell<HashMap<SocketAddr, Instant>>,
}

struct Known {
    addresses: Arc<[SocketAddr]>,
    when: Instant,
    /// Whether the resolver is being asked again.
    refreshing: bool,
}

impl Names {
    /// No names yet; they are looked up by `resolver`.
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver, known: RefCell::default(), failed: RefCell::default() }
    }

    /// The addresses of `name`, those that could be connected to first; none when it has none
    /// or they are not known until `deadline`.
    pub async fn addresses(
        self: &Rc<Self>,
        name: &Name,
        deadline: Instant,
    ) -> Result<Arc<[SocketAddr]>, ResolveError> {
        let addresses = match self.known(name) {
            Some(addresses) => addresses,
            None => {
                let asking = timeout_at(deadline, self.resolver.addresses(name.clone()));
                let addresses = asking.await.unwrap_or(Err(ResolveError::Silent))?;
                self.keep(name, &addresses);
                addresses
            }
        };
        Ok(self.in_order(addresses))
    }

    /// Notes that `address` could not be connected to.
    pub fn failed(&self, address: SocketAddr) {
        self.failed.borrow_mut().insert(address, Instant::now());
    }

    /// How many of `addresses`, the first ones, could be connected to, as far as is known.
    pub fn usable(&self, addresses: &[SocketAddr]) -> usize {
        let failed = self.failed.borrow();
        let is_avoided =
            |address: &SocketAddr| failed.get(address).is_some_and(|when| when.elapsed() < AVOIDED);
        addresses.iter().take_while(|address| !is_avoided(address)).count()
    }

    /// Forgets what is too old.
    pub fn sweep(&self) {
        self.known.borrow_mut().retain(|_, known| known.when.elapsed() < STALE);
        self.failed.borrow_mut().retain(|_, when| when.elapsed() < AVOIDED);
    }

    /// What is known of `name` and may still be used; the resolver is asked again where that
    /// is not fresh.
    fn known(self: &Rc<Self>, name: &Name) -> Option<Arc<[SocketAddr]>> {
        let mut names = self.known.borrow_mut();
        let known = names.get_mut(name)?;
        let age = known.when.elapsed();
        if age >= STALE {
            return None;
        }
        if age >= FRESH && !std::mem::replace(&mut known.refreshing, true) {
            let (names, name) = (Rc::clone(self), name.clone());
            tokio::task::spawn_local(async move {
                let answer = names.resolver.addresses(name.clone()).await;
                match answer {
                    Ok(addresses) => names.keep(&name, &addresses),
                    Err(_) => names.forget_later(&name),
                }
            });
        }
        Some(Arc::clone(&known.addresses))
    }

    fn keep(&self, name: &Name, addresses: &Arc<[SocketAddr]>) {
        let mut names = self.known.borrow_mut();
        if names.len() >= MOST_NAMES {
            names.retain(|_, known| known.when.elapsed() < FRESH);
        }
        if names.len() < MOST_NAMES || names.contains_key(name) {
            let (addresses, when) = (Arc::clone(addresses), Instant::now());
            names.insert(name.clone(), Known { addresses, when, refreshing: false });
        }
    }

    /// The old answer is used on, and the resolver asked again, until it is too old.
    fn forget_later(&self, name: &Name) {
        if let Some(known) = self.known.borrow_mut().get_mut(name) {
            known.refreshing = false;
        }
    }

    /// Addresses that could not be connected to a moment ago come last.
    fn in_order(&self, addresses: Arc<[SocketAddr]>) -> Arc<[SocketAddr]> {
        let failed = self.failed.borrow();
        let is_avoided =
            |address: &SocketAddr| failed.get(address).is_some_and(|when| when.elapsed() < AVOIDED);
        if failed.is_empty() || !addresses.iter().any(is_avoided) {
            return addresses;
        }
        let (last, mut first): (Vec<_>, Vec<_>) = addresses.iter().partition(|one| is_avoided(one));
        first.extend(last);
        first.into()
    }
}
