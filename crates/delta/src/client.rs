//! The proxy's end of the stream.
//!
//! It knows which names are wanted and which versions are held, not what is in
//! them; whoever drives it keeps the bodies.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{INTEREST_LIMIT, Name, Refusal, Request, Resource, Response, Violation};

/// Whether an interest is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The answer is held, and kept up to date while there is a stream.
    Held,
    /// The answer is still to come.
    Asked,
}

/// What a response changes. Apply all of it at once, then call
/// [`Client::accepted`] or [`Client::refused`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Names the response.
    pub nonce: String,
    /// New or changed resources.
    pub changed: Vec<Resource>,
    /// Resources to forget.
    pub removed: Vec<Name>,
}

/// The proxy's end of the stream; it outlives connections.
///
/// Invariant: `order` holds the unpinned wanted names, least recently used first.
#[derive(Debug, Default)]
pub struct Client {
    wanted: HashMap<Name, Option<u64>>,
    order: BTreeMap<u64, Name>,
    tick: u64,
    held: HashMap<Name, u64>,
    subscribe: BTreeSet<Name>,
    unsubscribe: BTreeSet<Name>,
    connected: bool,
    unconfirmed: Option<Unconfirmed>,
}

/// A response that was handed out and not yet accepted or refused.
#[derive(Debug)]
struct Unconfirmed {
    nonce: String,
    before: Vec<(Name, Option<u64>)>,
}

impl Client {
    /// A client that wants and holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `name` is held at `version` from an earlier life.
    pub fn restore(&mut self, name: &str, version: u64) {
        self.held.insert(name.into(), version);
    }

    /// Wants `name`, and never gives it up for others.
    pub fn want_always(&mut self, name: &str) -> Standing {
        if let Some(tick) = self.wanted.get(name).copied().flatten() {
            self.order.remove(&tick);
        }
        self.insert(name, None)
    }

    /// Wants `name`, or notes that it is used again; beyond the limit, the
    /// least recently used interest is given up.
    pub fn want(&mut self, name: &str) -> Standing {
        match self.wanted.get(name) {
            Some(None) => return self.standing(name),
            Some(Some(tick)) => {
                self.order.remove(&tick.clone());
            }
            None if self.wanted.len() >= INTEREST_LIMIT => {
                if let Some((_, oldest)) = self.order.pop_first() {
                    self.forget(&oldest);
                }
            }
            None => {}
        }
        self.tick += 1;
        self.order.insert(self.tick, name.into());
        self.insert(name, Some(self.tick))
    }

    /// No longer wants `name`. Its answer stays until the server says that it goes.
    pub fn drop_interest(&mut self, name: &str) {
        if let Some(tick) = self.wanted.get(name).copied().flatten() {
            self.order.remove(&tick);
        }
        self.forget(name);
    }

    /// All interests, in no order.
    pub fn interests(&self) -> impl Iterator<Item = &Name> {
        self.wanted.keys()
    }

    /// All names and versions held, in no order.
    pub fn held(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.held.iter().map(|(name, version)| (name, *version))
    }

    /// A stream is open: what to say first on it.
    pub fn connected(&mut self) -> Request {
        self.connected = true;
        self.unconfirmed = None;
        self.subscribe.clear();
        self.unsubscribe.clear();
        let mut subscribe: Vec<Name> = self.wanted.keys().cloned().collect();
        subscribe.sort_unstable();
        let held = self.held.iter().map(|(name, version)| (Arc::clone(name), *version)).collect();
        Request { subscribe, held, ..Request::default() }
    }

    /// The stream is gone.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// What to send, if anything; call after [`want`](Self::want) and
    /// [`drop_interest`](Self::drop_interest), once for many of them.
    pub fn request(&mut self) -> Option<Request> {
        if !self.connected || self.subscribe.is_empty() && self.unsubscribe.is_empty() {
            return None;
        }
        let subscribe = std::mem::take(&mut self.subscribe).into_iter().collect();
        let unsubscribe = std::mem::take(&mut self.unsubscribe).into_iter().collect();
        Some(Request { subscribe, unsubscribe, ..Request::default() })
    }

    /// What `response` changes; counts as applied from now on.
    pub fn received(&mut self, response: Response) -> Result<Update, Violation> {
        if response.nonce.is_empty() {
            return Err(Violation::NoNonce);
        }
        if self.unconfirmed.is_some() {
            return Err(Violation::TooEarly(response.nonce));
        }
        let names = response.resources.iter().map(|resource| &resource.name);
        let mut seen = HashSet::new();
        if let Some(name) = names.chain(&response.removed).find(|name| !seen.insert(*name)) {
            return Err(Violation::Repeated(Arc::clone(name)));
        }
        let mut before = Vec::new();
        let mut update = Update { nonce: response.nonce.clone(), ..Update::default() };
        for resource in response.resources {
            let old = self.held.insert(Arc::clone(&resource.name), resource.version);
            if old != Some(resource.version) {
                before.push((Arc::clone(&resource.name), old));
                update.changed.push(resource);
            }
        }
        for name in response.removed {
            // An interest without an answer is reported though it was never held.
            if self.held.remove(&name).is_some() || self.wanted.contains_key(&name) {
                update.removed.push(name);
            }
        }
        self.unconfirmed = Some(Unconfirmed { nonce: response.nonce, before });
        Ok(update)
    }

    /// The update of `nonce` is in force: what to send.
    pub fn accepted(&mut self, nonce: &str) -> Option<Request> {
        self.refused(nonce, Vec::new())
    }

    /// The update of `nonce` is in force but for `refused`, whose former
    /// versions stay: what to send.
    pub fn refused(&mut self, nonce: &str, refused: Vec<Refusal>) -> Option<Request> {
        let unconfirmed = self.unconfirmed.take_if(|unconfirmed| unconfirmed.nonce == nonce)?;
        for (name, version) in unconfirmed.before {
            if refused.iter().any(|refusal| refusal.name == name) {
                match version {
                    Some(version) => self.held.insert(name, version),
                    None => self.held.remove(&name),
                };
            }
        }
        let request = Request { nonce: unconfirmed.nonce, refused, ..Request::default() };
        self.connected.then_some(request)
    }

    fn standing(&self, name: &str) -> Standing {
        match self.held.contains_key(name) {
            true => Standing::Held,
            false => Standing::Asked,
        }
    }

    fn insert(&mut self, name: &str, tick: Option<u64>) -> Standing {
        if self.wanted.insert(name.into(), tick).is_none() && !self.unsubscribe.remove(name) {
            self.subscribe.insert(name.into());
        }
        self.standing(name)
    }

    fn forget(&mut self, name: &str) {
        if self.wanted.remove(name).is_some() && !self.subscribe.remove(name) {
            self.unsubscribe.insert(name.into());
        }
    }
}
