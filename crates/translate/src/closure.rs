//! An answer together with every resource it needs.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{Hash, Hasher},
    sync::Arc,
};

use twox_hash::XxHash64;
use weft_api::Key;
use weft_config::{
    Action, Answer, Covers, Entry, Interest, Origin, Resource, Route, Rule, RuleList,
};

use crate::{
    BackendRef, clusters::backends, graph::view::View, listeners::Limited, routes::rules::Site,
};

/// One resource, named and hashed, with its body; clones share.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its name on the stream.
    pub name: Arc<str>,
    /// The hash of its body.
    pub hash: u64,
    /// The resource.
    pub resource: Arc<Resource>,
    /// Its body: JSON.
    pub json: Arc<[u8]>,
}

impl Piece {
    /// About how much memory it takes, in bytes: its body, and the resource, which is no
    /// smaller.
    fn cost(&self) -> usize {
        2 * self.json.len() + self.name.len() + OVERHEAD
    }
}

impl PartialEq for Piece {
    /// A tenant can write an object so that a body has the hash of another: bodies are compared.
    fn eq(&self, other: &Self) -> bool {
        let is_same = || Arc::ptr_eq(&self.json, &other.json) || self.json == other.json;
        self.hash == other.hash && self.name == other.name && is_same()
    }
}

/// An answer and what is needed to use it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The answer.
    pub answer: Answer,
    /// Every resource that the answer needs, without the answer itself; sorted by name.
    pub resources: Vec<Piece>,
    /// The hash of all of it.
    pub version: u64,
    /// Backends that rules send requests to and that do not exist, by name.
    pub missing: BTreeMap<String, BackendRef>,
    /// VirtualServices that are for what was asked for, and whose rules are left out since their
    /// namespace has too many of them.
    pub left_out: BTreeSet<Arc<Key>>,
    /// What is not served in full, of a gateway's own answer.
    pub(crate) limited: Arc<Limited>,
}

impl Resolved {
    /// The answer, of which `limited` is not served in full.
    pub(crate) fn with_limited(mut self, limited: Limited) -> Self {
        if limited != Limited::default() {
            let mut hasher = XxHash64::with_seed(self.version);
            limited.hash(&mut hasher);
            self.version = hasher.finish();
            self.limited = Arc::new(limited);
        }
        self
    }
}

impl PartialEq for Resolved {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.resources == other.resources
    }
}

/// Pieces by name and hash, so that equal ones are one.
///
/// Invariant: those that no answer holds have at most as many bytes as those that some
/// answer held at the last sweep, or [`FEW`]. Of different ones with the same hash one is here.
#[derive(Default)]
pub(crate) struct Pool {
    pieces: RefCell<HashMap<(Arc<str>, u64), Piece>>,
    /// Of all pieces, with what each costs besides its body.
    bytes: Cell<usize>,
    sweep_at: Cell<usize>,
}

/// How many bytes are too few to look for pieces that are not needed.
const FEW: usize = 4 << 20;
/// Bytes that a body may have: half of what proxies read at a time.
const MOST: usize = 32 << 20;
/// What a piece costs besides its body and its name, in bytes, about.
const OVERHEAD: usize = 512;

impl Pool {
    /// The piece for `resource`.
    pub(crate) fn piece(&self, resource: Resource) -> Piece {
        let (resource, json) = within_bound(resource);
        let hash = hash([&json[..]]);
        let name: Arc<str> = resource.name().into();
        let mut pieces = self.pieces.borrow_mut();
        if self.bytes.get() >= self.sweep_at.get() {
            self.sweep_all(&mut pieces);
        }
        let key = (Arc::clone(&name), hash);
        match pieces.get(&key) {
            Some(known) if *known.json == *json => known.clone(),
            // Someone has made it so: each has its own.
            Some(_) => Piece { name, hash, resource: Arc::new(resource), json: json.into() },
            None => {
                let piece = Piece { name, hash, resource: Arc::new(resource), json: json.into() };
                self.bytes.set(self.bytes.get() + piece.cost());
                pieces.insert(key, piece.clone());
                piece
            }
        }
    }

    /// Lets go of what no answer holds.
    pub(crate) fn sweep(&self) {
        self.sweep_all(&mut self.pieces.borrow_mut());
    }

    fn sweep_all(&self, pieces: &mut HashMap<(Arc<str>, u64), Piece>) {
        pieces.retain(|_, piece| Arc::strong_count(&piece.json) > 1);
        pieces.shrink_to(2 * pieces.len());
        self.bytes.set(pieces.values().map(Piece::cost).sum());
        self.sweep_at.set(self.bytes.get() * 2 + FEW);
    }
}

/// Gathers what an answer needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Closure {
    pieces: BTreeMap<Arc<str>, Piece>,
    missing: BTreeMap<String, BackendRef>,
    left_out: BTreeSet<Arc<Key>>,
}

impl Closure {
    /// Notes virtual services whose rules are left out.
    pub(crate) fn leave_out(&mut self, services: &BTreeSet<Arc<Key>>) {
        self.left_out.extend(services.iter().cloned());
    }

    /// Adds the backends that exist, with their endpoints.
    pub(crate) fn add_backends<'b>(
        &mut self,
        backends: impl IntoIterator<Item = &'b BackendRef>,
        site: &Site<'_>,
        view: &View<'_>,
    ) {
        backends.into_iter().for_each(|backend| backends::add(backend, site, view, self));
    }

    /// Adds what `other` has; of pieces of the same name, its own stay.
    pub(crate) fn extend(&mut self, other: &Self) {
        other.pieces.values().for_each(|piece| self.add(piece.clone()));
        self.missing.extend(other.missing.clone());
        self.left_out.extend(other.left_out.iter().cloned());
    }

    /// Notes that there is no backend of this name, which a rule names.
    pub(crate) fn lacks(&mut self, name: String, wanted: &BackendRef) {
        self.missing.insert(name, wanted.clone());
    }

    /// Adds a piece; one of the same name stays as it is.
    pub(crate) fn add(&mut self, piece: Piece) {
        self.pieces.entry(piece.name.clone()).or_insert(piece);
    }

    /// Whether there is a piece called `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pieces.contains_key(name)
    }

    /// The whole answer.
    pub(crate) fn answer(
        self,
        interest: &Interest,
        entry: Entry,
        covers: Option<Covers>,
    ) -> Resolved {
        let needs = self.pieces.keys().map(ToString::to_string).collect();
        self.resolved(Answer { interest: interest.clone(), entry, needs, covers })
    }

    /// The answer with the chunks of a part of the directory. It does not name
    /// them, so that it stays the same when one is added.
    pub(crate) fn directory(self, interest: &Interest) -> Resolved {
        let entry = Entry::Directory;
        self.resolved(Answer { interest: interest.clone(), entry, needs: Vec::new(), covers: None })
    }

    fn resolved(self, answer: Answer) -> Resolved {
        let resources: Vec<Piece> = self.pieces.into_values().collect();
        let own = serde_json::to_vec(&answer).expect("an answer has only text keys");
        let hashes: Vec<u8> = resources.iter().flat_map(|piece| piece.hash.to_le_bytes()).collect();
        let version = hash([&own[..], &hashes[..]]);
        Resolved {
            answer,
            resources,
            version,
            missing: self.missing,
            left_out: self.left_out,
            limited: Arc::default(),
        }
    }
}

fn body(resource: &Resource) -> Vec<u8> {
    serde_json::to_vec(resource).expect("a resource has only text keys")
}

/// The resource with its body. One that no proxy would read is closed: nothing else must be lost
/// for it.
fn within_bound(resource: Resource) -> (Resource, Vec<u8>) {
    let json = body(&resource);
    if json.len() <= MOST {
        return (resource, json);
    }
    let closed = |origin: &Origin| {
        vec![Rule::always(Action::respond(500, "too_many_rules"), origin.clone())]
    };
    let resource = match resource {
        Resource::Route(route) => {
            let rules = closed(&route.origin);
            Resource::Route(Route { lists: Vec::new(), rules, ..route })
        }
        Resource::RuleList(list) => {
            let rules = list.rules.first().map(|first| closed(&first.origin)).unwrap_or_default();
            Resource::RuleList(RuleList { rules, ..list })
        }
        other => return (other, json),
    };
    let json = body(&resource);
    (resource, json)
}

fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use weft_config::{Host, Origin, Route};

    use super::*;

    #[test]
    fn few_bytes_of_pieces_that_no_answer_holds_stay() {
        let pool = Pool::default();
        let host = |number: usize| Host::parse(&format!("{number:0200}")).unwrap();
        let piece = |version: usize| {
            let hosts = (0..5_000).map(|number| host(version + number)).collect();
            let name = "80/wide".to_owned();
            pool.piece(Resource::Route(Route {
                name,
                hosts,
                lists: Vec::new(),
                rules: Vec::new(),
                origin: Origin::default(),
            }))
        };
        let held = piece(0);
        for version in 1..40 {
            drop(piece(version));
            assert!(pool.bytes.get() <= 4 * held.cost() + 2 * FEW, "{version}");
        }
        assert!(Arc::ptr_eq(&held.json, &piece(0).json), "what is held stays");
    }

    #[test]
    fn bodies_with_the_same_hash_are_not_taken_for_one() {
        let pool = Pool::default();
        let list = |name: &str| {
            let rules = vec![Rule::always(Action::Passthrough, Origin::new(name, ""))];
            Resource::RuleList(RuleList { name: "80/shop/web".to_owned(), rules })
        };
        let own = pool.piece(list("own"));
        let other = list("other");
        let forged = Piece { json: body(&other).into(), resource: Arc::new(other), ..own.clone() };
        pool.pieces.borrow_mut().insert((own.name.clone(), own.hash), forged.clone());
        let again = pool.piece(list("own"));
        assert_eq!(again.json, own.json);
        assert!(again == own && again != forged);
    }

    #[test]
    fn a_list_that_no_proxy_would_read_is_closed() {
        let pool = Pool::default();
        let rule = Rule::always(Action::Passthrough, Origin::new("o".repeat(1 << 20), ""));
        let rules = vec![rule; 40];
        let list = pool.piece(Resource::RuleList(RuleList { name: "80/a/b".to_owned(), rules }));
        let Resource::RuleList(RuleList { rules, .. }) = &*list.resource else { panic!("a list") };
        assert!(matches!(&rules[..], [Rule { action: Action::Respond { status: 500, .. }, .. }]));
        assert!(list.json.len() < 2 << 20);
    }
}
