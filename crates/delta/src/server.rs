//! The control plane's end of one stream.
//!
//! It mirrors what its client holds, so that each response carries exactly what
//! is missing or no longer needed. It does not know how answers are made.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use crate::{
    HELD_BYTES, HELD_LIMIT, INTEREST_LIMIT, NAME_LIMIT, Name, REFUSED_BYTES, Refusal, Request,
    Resource, Response, Violation,
};

/// Refused revisions of one resource that are remembered: nobody waits for older ones.
const REFUSED: usize = 256;

/// Bytes that a name costs besides its characters, where the client holds it: in `sent`, and in
/// `due` or `gone`.
const HELD_OVERHEAD: usize = 160;

/// The answer to one interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSet {
    /// The resource that is called as the interest.
    pub resource: Resource,
    /// Everything else that it needs.
    pub pieces: Arc<[Resource]>,
}

impl ResourceSet {
    /// The answer's own resource, then the others.
    fn all(&self) -> impl Iterator<Item = &Resource> {
        std::iter::once(&self.resource).chain(self.pieces.iter())
    }
}

/// What a request means to the maker of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client has a new interest; offer an answer.
    Wanted(Name),
    /// The client has lost interest.
    Dropped(Name),
    /// The response in flight is in force.
    Accepted,
    /// The response in flight is in force but for these.
    Refused(Vec<Refusal>),
    /// Nothing of the response in flight counts as in force: one of these refusals
    /// names nothing that the response carried.
    RefusedWhole(Vec<Refusal>),
}

/// How what there is to say is split into responses.
#[derive(Clone, Copy, Debug)]
pub struct Splitting {
    /// Bytes of bodies after which a response ends. A body is never split: one that is
    /// larger has a response of its own.
    pub bytes: usize,
    /// The place of a resource by its name: what others refer to has a lower one than
    /// they, so that each response is of use with those before it.
    pub place: fn(&str) -> u8,
}

impl Default for Splitting {
    /// One response for everything.
    fn default() -> Self {
        Self { bytes: usize::MAX, place: |_| 0 }
    }
}

/// The control plane's end of one stream; a new stream gets a new one. `R` names a state of
/// the world that answers are made from.
///
/// Invariants: `sent` is what the client holds once everything sent has arrived
/// (what it refused by name counts as held). `latest` has the names that some of `answers`
/// needs, with the number of those answers. `due`, `gone` and `lost` have every name for
/// which the two differ.
#[derive(Debug)]
pub struct Server<R = u64> {
    splitting: Splitting,
    greeting: Greeting,
    /// The client's interests, and what each of them was last answered; none so far.
    answers: BTreeMap<Name, Option<ResourceSet>>,
    latest: HashMap<Name, (Resource, usize)>,
    sent: HashMap<Name, u64>,
    /// With their places.
    due: BTreeSet<(u8, Name)>,
    /// Perhaps to be forgotten by the client, once nothing is due any more.
    gone: BTreeSet<Name>,
    /// Sent in responses that the client refused as a whole: to be sent again with the next
    /// change, which may mend what was wrong.
    lost: BTreeSet<Name>,
    /// Interests that have no answer, to be told.
    absent: BTreeSet<Name>,
    /// Interests of the greeting that are not answered yet: until then
    /// nothing held counts as no longer needed.
    resuming: BTreeSet<Name>,
    flight: Option<Flight<R>>,
    nonce: u64,
    /// Bytes of the names that the client said it holds.
    held_bytes: usize,
    /// How many these are.
    held_count: usize,
    /// Bytes of the names that wait to be refused.
    refused_bytes: usize,
    revisions: BTreeSet<R>,
    /// Of what the client has refused and not accepted since: the newest [`REFUSED`] of each.
    refused: HashMap<Name, BTreeSet<R>>,
    /// Revisions of removals that were refused. These are not sent again, so the
    /// revisions are lacking until the stream ends.
    refused_removals: BTreeSet<R>,
}

/// How far the client has come in saying what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Greeting {
    #[default]
    Awaited,
    /// More of it follows; nothing is sent until it is complete.
    Begun,
    Complete,
}

/// A response that was sent and not yet accepted or refused.
#[derive(Debug)]
struct Flight<R> {
    nonce: String,
    names: BTreeSet<Name>,
    removed: BTreeSet<Name>,
    revisions: BTreeSet<R>,
    /// Whether a change came since it was sent.
    followed: bool,
}

impl<R> Flight<R> {
    /// Whether `nonce` names this response. A refusal without a nonce can only be of the
    /// response that waits for one.
    fn is(&self, nonce: &str, refused: &[Refusal]) -> bool {
        self.nonce == nonce || nonce.is_empty() && !refused.is_empty()
    }

    fn carried(&self, name: &Name) -> bool {
        self.names.contains(name) || self.removed.contains(name)
    }
}

impl<R: Copy + Ord> Default for Server<R> {
    fn default() -> Self {
        Self::new(Splitting::default())
    }
}

impl<R: Copy + Ord> Server<R> {
    /// The end of a stream that has just been opened.
    pub fn new(splitting: Splitting) -> Self {
        Self {
            splitting,
            greeting: Greeting::default(),
            answers: BTreeMap::new(),
            latest: HashMap::new(),
            sent: HashMap::new(),
            due: BTreeSet::new(),
            gone: BTreeSet::new(),
            lost: BTreeSet::new(),
            absent: BTreeSet::new(),
            resuming: BTreeSet::new(),
            flight: None,
            nonce: 0,
            held_bytes: 0,
            held_count: 0,
            refused_bytes: 0,
            revisions: BTreeSet::new(),
            refused: HashMap::new(),
            refused_removals: BTreeSet::new(),
        }
    }

    /// Whether the client has said all that it holds: before that it is sent nothing.
    pub fn is_greeted(&self) -> bool {
        self.greeting == Greeting::Complete
    }

    /// Takes one request.
    pub fn request(&mut self, request: Request) -> Result<Vec<Event>, Violation> {
        let mut events = Vec::new();
        events.extend(self.acknowledge(&request.nonce, request.refused));
        for name in request.unsubscribe {
            if let Some(answer) = self.answers.remove(&name) {
                answer
                    .iter()
                    .flat_map(ResourceSet::all)
                    .for_each(|resource| self.release(resource));
                self.absent.remove(&name);
                self.resuming.remove(&name);
                events.push(Event::Dropped(name));
            }
        }
        let greeting = self.greeting != Greeting::Complete;
        self.greeting = match request.more && greeting {
            true => Greeting::Begun,
            false => Greeting::Complete,
        };
        if !greeting && !request.held.is_empty() {
            return Err(Violation::HeldTwice);
        }
        if greeting && self.sent.len() + request.held.len() > HELD_LIMIT {
            return Err(Violation::TooManyHeld(HELD_LIMIT));
        }
        self.held_count += request.held.len();
        self.held_bytes += request.held.iter().map(|(name, _)| name.len()).sum::<usize>();
        if self.held_bytes > HELD_BYTES {
            return Err(Violation::LongNames(HELD_BYTES));
        }
        request.held.iter().for_each(|(name, _)| self.is_due(name));
        self.sent.extend(request.held);
        for name in request.subscribe {
            if self.answers.contains_key(&name) {
                continue;
            }
            if name.len() > NAME_LIMIT || self.answers.len() >= INTEREST_LIMIT {
                // Such a name has no answer, which is no reason to end the stream.
                self.refused_bytes += name.len();
                if self.refused_bytes > REFUSED_BYTES {
                    return Err(Violation::LongNames(REFUSED_BYTES));
                }
                self.refuse(name);
                if self.absent.len() > 2 * INTEREST_LIMIT {
                    return Err(Violation::TooManyRefused(2 * INTEREST_LIMIT));
                }
                continue;
            }
            self.answers.insert(Arc::clone(&name), None);
            if greeting {
                self.resuming.insert(Arc::clone(&name));
            }
            events.push(Event::Wanted(name));
        }
        Ok(events)
    }

    /// Ends an interest that has no answer, or no longer, and tells the client so.
    pub fn refuse(&mut self, interest: Name) {
        let answer = self.answers.remove(&interest).flatten();
        answer.iter().flat_map(ResourceSet::all).for_each(|resource| self.release(resource));
        self.resuming.remove(&interest);
        self.absent.insert(interest);
    }

    /// Takes answers. `revision` names the state of the world that they are made from.
    /// Interests that the client does not have are ignored.
    pub fn offer(&mut self, answers: impl IntoIterator<Item = (Name, ResourceSet)>, revision: R) {
        for (interest, answer) in answers {
            let Some(old) = self.answers.get_mut(&interest).map(Option::take) else { continue };
            self.resuming.remove(&interest);
            self.absent.remove(&interest);
            match &old {
                Some(old) => self.replace(old, &answer),
                None => answer.all().for_each(|resource| self.hold(resource.clone())),
            }
            self.answers.insert(interest, Some(answer));
            self.revisions.insert(revision);
        }
        if self.due.is_empty() {
            return;
        }
        if let Some(flight) = &mut self.flight {
            flight.followed = true;
        }
        std::mem::take(&mut self.lost).iter().for_each(|name| self.is_due(name));
    }

    /// The next response, when none is in flight and there is something to say. What
    /// does not fit comes after it; what the client is to forget comes last.
    pub fn response(&mut self) -> Option<Response> {
        if self.flight.is_some() || self.greeting == Greeting::Begun {
            return None;
        }
        let mut response = Response::default();
        self.refused_bytes = 0;
        for name in std::mem::take(&mut self.absent) {
            self.sent.remove(&name);
            response.removed.push(name);
        }
        response.resources = self.next_resources();
        if self.due.is_empty() && self.resuming.is_empty() {
            for name in std::mem::take(&mut self.gone) {
                if !self.latest.contains_key(&name) && self.sent.remove(&name).is_some() {
                    response.removed.push(name);
                }
            }
        }
        // What is still due may be of any of them.
        let mut revisions = match self.due.is_empty() {
            true => std::mem::take(&mut self.revisions),
            false => self.revisions.clone(),
        };
        if response.resources.is_empty() && response.removed.is_empty() {
            return None;
        }
        // Whether these are in force is known when the client has forgotten what it refused.
        for name in &response.removed {
            revisions.extend(self.refused.remove(name).unwrap_or_default());
        }
        self.nonce += 1;
        response.nonce = self.nonce.to_string();
        let names = response.resources.iter().map(|resource| Arc::clone(&resource.name)).collect();
        let removed = response.removed.iter().cloned().collect();
        let nonce = response.nonce.clone();
        self.flight = Some(Flight { nonce, names, removed, revisions, followed: false });
        Some(response)
    }

    /// Bytes of bodies that the next response has at most, as of now: those of one resource, or
    /// those after which a response ends.
    pub fn next_bytes(&mut self) -> usize {
        while let Some((place, name)) = self.due.pop_first() {
            match self.latest.get(&name) {
                None => drop(self.gone.insert(name)),
                Some((resource, _)) if self.sent.get(&name) == Some(&resource.version) => {}
                Some((resource, _)) => {
                    let first = resource.body.len();
                    self.due.insert((place, name));
                    return first.max(self.splitting.bytes);
                }
            }
        }
        0
    }

    /// Bytes of memory that the names need which the client said it holds, about.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes + self.held_count * HELD_OVERHEAD
    }

    /// Those of the due resources that fit into one response.
    fn next_resources(&mut self) -> Vec<Resource> {
        let mut resources = Vec::new();
        let mut room = self.splitting.bytes;
        while let Some((place, name)) = self.due.pop_first() {
            let Some((resource, _)) = self.latest.get(&name) else {
                self.gone.insert(name);
                continue;
            };
            if self.sent.get(&name) == Some(&resource.version) {
                continue;
            }
            if !resources.is_empty() && resource.body.len() > room {
                self.due.insert((place, name));
                break;
            }
            room = room.saturating_sub(resource.body.len());
            self.sent.insert(name, resource.version);
            resources.push(resource.clone());
        }
        resources
    }

    fn is_due(&mut self, name: &Name) {
        self.due.insert(((self.splitting.place)(name), Arc::clone(name)));
    }

    /// The client's interests.
    pub fn interests(&self) -> impl Iterator<Item = &Name> {
        self.answers.keys()
    }

    /// Whether a response waits for the client's word.
    pub fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether something that was offered as of `revision` is not in force at
    /// the client: not sent, not acknowledged, or refused.
    pub fn lacks(&self, revision: R) -> bool {
        let flight =
            self.flight.as_ref().is_some_and(|flight| flight.revisions.contains(&revision));
        let refused = self.refused_removals.contains(&revision)
            || self.refused.values().any(|revisions| revisions.contains(&revision));
        let begun = self.greeting == Greeting::Begun;
        begun || flight || refused || self.revisions.contains(&revision)
    }

    /// Takes the client's word about the response in flight. What a refusal that cannot be
    /// assigned is about is not known, so all that the response carried counts as refused.
    fn acknowledge(&mut self, nonce: &str, refused: Vec<Refusal>) -> Option<Event> {
        let flight = self.flight.take_if(|flight| flight.is(nonce, &refused))?;
        let is_whole = !refused.iter().all(|refusal| flight.carried(&refusal.name));
        let named: BTreeSet<&Name> = refused.iter().map(|refusal| &refusal.name).collect();
        for name in &flight.names {
            if is_whole || named.contains(name) {
                // What was refused before is not in force either.
                let revisions = self.refused.entry(Arc::clone(name)).or_default();
                revisions.extend(&flight.revisions);
                while revisions.len() > REFUSED {
                    revisions.pop_first();
                }
            } else {
                self.refused.remove(name);
            }
        }
        if is_whole {
            for name in &flight.names {
                // Which version it holds is not known.
                self.sent.entry(Arc::clone(name)).and_modify(|version| *version = !*version);
            }
            match flight.followed {
                true => flight.names.iter().for_each(|name| self.is_due(name)),
                false => self.lost.extend(flight.names.iter().cloned()),
            }
        }
        if is_whole && !flight.removed.is_empty() {
            self.refused_removals.extend(&flight.revisions);
        }
        Some(match is_whole {
            _ if refused.is_empty() => Event::Accepted,
            true => Event::RefusedWhole(refused),
            false => Event::Refused(refused),
        })
    }

    /// Holds what `new` needs instead of what `old` needed. Most of a long answer,
    /// such as a directory, is the same before and after: only what lies between
    /// the common beginning and the common end is looked at.
    fn replace(&mut self, old: &ResourceSet, new: &ResourceSet) {
        let same = |one: &Resource, other: &Resource| {
            one.version == other.version && one.name == other.name
        };
        let (before, after) = (&old.pieces[..], &new.pieces[..]);
        let begin = before.iter().zip(after).take_while(|(one, other)| same(one, other)).count();
        let (before, after) = (&before[begin..], &after[begin..]);
        let pairs = before.iter().rev().zip(after.iter().rev());
        let end = pairs.take_while(|(one, other)| same(one, other)).count();
        // Held first, so that what both need is never let go.
        let held = std::iter::once(&new.resource).chain(&after[..after.len() - end]);
        held.for_each(|resource| self.hold(resource.clone()));
        let released = std::iter::once(&old.resource).chain(&before[..before.len() - end]);
        released.for_each(|resource| self.release(resource));
    }

    fn hold(&mut self, resource: Resource) {
        let name = Arc::clone(&resource.name);
        if self.sent.get(&name) != Some(&resource.version) {
            self.is_due(&name);
        }
        match self.latest.entry(Arc::clone(&name)) {
            Entry::Occupied(mut entry) => {
                let users = entry.get().1 + 1;
                entry.insert((resource, users));
            }
            Entry::Vacant(entry) => drop(entry.insert((resource, 1))),
        }
    }

    fn release(&mut self, resource: &Resource) {
        let Some((_, users)) = self.latest.get_mut(&resource.name) else { return };
        *users -= 1;
        if *users == 0
            && let Some((name, _)) = self.latest.remove_entry(&resource.name)
        {
            self.is_due(&name);
        }
    }
}
