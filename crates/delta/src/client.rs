//! The proxy's end of the stream.
//!
//! It knows which names are wanted and which versions are held, not what is in
//! them; its owner keeps the bodies.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    HELD_LIMIT, INTEREST_LIMIT, NAME_LIMIT, Name, Refusal, Request, Resource, Response, Violation,
    message::PIECE,
};

/// Whether an interest is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The answer is held, and kept up to date while there is a stream.
    Held,
    /// The answer is still to come.
    Asked,
    /// The name can never be an interest, and is not asked for.
    Refused,
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
    /// Wanted, and without an answer, as the server said: asked for again when wanted again.
    denied: HashSet<Name>,
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
        if name.len() > NAME_LIMIT || name.is_empty() {
            return Standing::Refused;
        }
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

    /// Notes that `name` is used, if it is wanted.
    pub fn used(&mut self, name: &str) {
        if self.wanted.contains_key(name) {
            self.want(name);
        }
    }

    /// A number that grows with every use, so that what was used before some moment can
    /// be told by the number that this had then.
    pub fn uses(&self) -> u64 {
        self.tick
    }

    /// No longer wants what was last used when [`Client::uses`] was `uses` or less.
    pub fn drop_unused(&mut self, uses: u64) {
        while let Some((_, name)) = self.order.first_key_value().filter(|(tick, _)| **tick <= uses)
        {
            let name = Arc::clone(name);
            self.drop_interest(&name);
        }
    }

    /// The server refused the stream's greeting: no longer wants what it has never
    /// answered, since one of these names may be the reason.
    pub fn drop_unanswered(&mut self) {
        let held = &self.held;
        let unanswered = self.order.values().filter(|name| !held.contains_key(*name));
        for name in unanswered.cloned().collect::<Vec<_>>() {
            self.drop_interest(&name);
        }
    }

    /// All interests, in no order.
    pub fn interests(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.wanted.keys()
    }

    /// All names and versions held, in no order.
    pub fn held(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.held.iter().map(|(name, version)| (name, *version))
    }

    /// A stream is open: what to say first on it, in pieces that are small enough to be
    /// sent however much is held.
    pub fn connected(&mut self) -> Vec<Request> {
        self.connected = true;
        self.unconfirmed = None;
        self.denied.clear();
        self.subscribe.clear();
        self.unsubscribe.clear();
        let mut subscribe: Vec<Name> = self.wanted.keys().cloned().collect();
        subscribe.sort_unstable();
        let mut requests = vec![Request::default()];
        let mut room = PIECE;
        let mut piece = |length: usize| {
            // A version and the frames of a message are shorter than this.
            let length = length + 40;
            if room < length {
                room = PIECE;
                requests.push(Request::default());
            }
            room = room.saturating_sub(length);
            requests.len() - 1
        };
        let subscribed: Vec<(usize, Name)> =
            subscribe.into_iter().map(|name| (piece(name.len()), name)).collect();
        let held: Vec<(usize, Name, u64)> = self
            .held
            .iter()
            .take(HELD_LIMIT)
            .map(|(name, version)| (piece(name.len()), Arc::clone(name), *version))
            .collect();
        subscribed.into_iter().for_each(|(at, name)| requests[at].subscribe.push(name));
        held.into_iter().for_each(|(at, name, version)| requests[at].held.push((name, version)));
        let last = requests.len() - 1;
        requests[..last].iter_mut().for_each(|request| request.more = true);
        requests
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
            self.denied.remove(&resource.name);
            let old = self.held.insert(Arc::clone(&resource.name), resource.version);
            if old != Some(resource.version) {
                before.push((Arc::clone(&resource.name), old));
                update.changed.push(resource);
            }
        }
        for name in response.removed {
            // An interest without an answer is reported though it was never held.
            let is_wanted = self.wanted.contains_key(&name);
            if is_wanted {
                self.denied.insert(Arc::clone(&name));
            }
            if self.held.remove(&name).is_some() || is_wanted {
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
        let is_new = self.wanted.insert(name.into(), tick).is_none();
        let is_denied = self.denied.remove(name);
        if is_new && !self.unsubscribe.remove(name) || is_denied {
            self.subscribe.insert(name.into());
        }
        self.standing(name)
    }

    fn forget(&mut self, name: &str) {
        self.denied.remove(name);
        if self.wanted.remove(name).is_some() && !self.subscribe.remove(name) {
            self.unsubscribe.insert(name.into());
        }
    }
}
