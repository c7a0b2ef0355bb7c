//! What answers cost those who have them, in bytes.

use std::collections::HashMap;

use weft_delta::{Name, Resource, ResourceSet};

/// Bytes from which on a piece is counted once for all answers that have it.
const LARGE: usize = 2 << 10;
/// What a resource costs besides its name and body, in bytes, about.
const OVERHEAD: usize = 128;

/// The bytes of an answer with all that it needs.
#[derive(Debug, Default)]
pub(crate) struct Weight {
    /// The answer itself, and small pieces.
    own: usize,
    /// Large pieces.
    large: Box<[Large]>,
}

#[derive(Debug)]
struct Large {
    name: Name,
    version: u64,
    bytes: usize,
}

impl Weight {
    /// The bytes of `answer`.
    pub(crate) fn of(answer: &ResourceSet) -> Self {
        let bytes = |one: &Resource| one.name.len() + one.body.len() + OVERHEAD;
        let (large, small): (Vec<&Resource>, Vec<&Resource>) =
            answer.pieces.iter().partition(|piece| bytes(piece) >= LARGE);
        let own = bytes(&answer.resource) + small.into_iter().map(bytes).sum::<usize>();
        let large = large.into_iter().map(|one| Large {
            name: Name::clone(&one.name),
            version: one.version,
            bytes: bytes(one),
        });
        Self { own, large: large.collect() }
    }

    /// How many they are.
    pub(crate) fn bytes(&self) -> usize {
        self.own + self.large.iter().map(|large| large.bytes).sum::<usize>()
    }
}

/// The bytes of several answers together.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: usize,
    /// Large pieces, by name and version: how many of the answers have each.
    large: HashMap<(Name, u64), usize>,
}

impl Held {
    /// How many they are.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The part of them that is due to `answer`, which is one of the answers: those that have a
    /// large piece share its bytes.
    pub(crate) fn part(&self, answer: &Weight) -> usize {
        let part = |large: &Large| {
            let users = self.large.get(&(Name::clone(&large.name), large.version));
            large.bytes / users.copied().unwrap_or(1).max(1)
        };
        answer.own + answer.large.iter().map(part).sum::<usize>()
    }

    /// One answer more.
    pub(crate) fn add(&mut self, answer: &Weight) {
        self.bytes += answer.own;
        for Large { name, version, bytes } in &answer.large {
            let users = self.large.entry((Name::clone(name), *version)).or_default();
            *users += 1;
            if *users == 1 {
                self.bytes += bytes;
            }
        }
    }

    /// One answer less, which was added before.
    pub(crate) fn remove(&mut self, answer: &Weight) {
        self.bytes = self.bytes.saturating_sub(answer.own);
        for Large { name, version, bytes } in &answer.large {
            let key = (Name::clone(name), *version);
            let Some(users) = self.large.get_mut(&key) else { continue };
            *users -= 1;
            if *users == 0 {
                self.large.remove(&key);
                self.bytes = self.bytes.saturating_sub(*bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, pieces: &[(&str, usize)]) -> Weight {
        let resource = |name: &str, bytes: usize| Resource {
            name: name.into(),
            version: 1,
            body: vec![b' '; bytes].into(),
        };
        let pieces = pieces.iter().map(|(name, bytes)| resource(name, *bytes)).collect();
        Weight::of(&ResourceSet { resource: resource(name, 10), pieces })
    }

    #[test]
    fn large_pieces_count_once_and_small_ones_for_each_answer() {
        let mut held = Held::default();
        let [one, other] = ["a", "b"].map(|name| answer(name, &[("large", 5_000), ("small", 7)]));
        held.add(&one);
        let first = held.bytes();
        assert!(first > 5_017 && first < 5_500, "{first}");
        held.add(&other);
        let both = held.bytes();
        assert!(both > first && both < first + 500, "{both}");
        let parts = [held.part(&one), held.part(&other)];
        assert!(parts[0] == parts[1] && both - parts.iter().sum::<usize>() < 2, "{parts:?}");
        held.remove(&one);
        assert_eq!(held.bytes(), first, "the other has the large piece, too");
        held.remove(&other);
        assert_eq!((held.bytes(), held.large.len()), (0, 0));
    }
}
