//! An answer together with every resource it needs.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    hash::Hasher,
    sync::Arc,
};

use twox_hash::XxHash64;
use weft_config::{Answer, Covers, Entry, Interest, Resource};

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

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.name == other.name
    }
}

/// An answer and what is needed to use it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The answer.
    pub answer: Answer,
    /// Every resource that the answer needs, without the answer itself; sorted by name.
    pub resources: Vec<Piece>,
    /// The hash of all of it: equal versions are equal answers.
    pub version: u64,
}

impl PartialEq for Resolved {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

/// Pieces by name and hash, so that equal ones are one.
///
/// Invariant: those that no answer holds are at most as many as those that some
/// answer held at the last sweep, or a few.
#[derive(Default)]
pub(crate) struct Pool {
    pieces: RefCell<HashMap<(Arc<str>, u64), Piece>>,
    sweep_at: Cell<usize>,
}

/// How many pieces are too few to look for ones that are not needed.
const FEW: usize = 1024;

impl Pool {
    /// The piece for `resource`.
    pub(crate) fn piece(&self, resource: Resource) -> Piece {
        let json = body(&resource);
        let hash = hash([&json[..]]);
        let name: Arc<str> = resource.name().into();
        let mut pieces = self.pieces.borrow_mut();
        if pieces.len() >= self.sweep_at.get() {
            pieces.retain(|_, piece| Arc::strong_count(&piece.json) > 1);
            self.sweep_at.set(pieces.len() * 2 + FEW);
        }
        let new =
            || Piece { name: name.clone(), hash, resource: Arc::new(resource), json: json.into() };
        pieces.entry((name.clone(), hash)).or_insert_with(new).clone()
    }
}

/// Gathers what an answer needs.
#[derive(Default)]
pub(crate) struct Closure {
    pieces: BTreeMap<Arc<str>, Piece>,
}

impl Closure {
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
        Resolved { answer, resources, version }
    }
}

fn body(resource: &Resource) -> Vec<u8> {
    serde_json::to_vec(resource).expect("a resource has only text keys")
}

fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}
