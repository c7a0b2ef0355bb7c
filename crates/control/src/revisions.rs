//! Which state of the world includes which version of an object.
//!
//! A generation is one batch of changes; the revisions remembers in which
//! generations an object changed. It does not know proxies.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use weft_api::Key;

/// Generations remembered for one object; more matter only to a proxy that is
/// that far behind.
const PER_OBJECT: usize = 16;
/// Deleted objects remembered.
const DELETED: usize = 4096;
/// Generations whose facts are remembered.
const GENERATIONS: usize = 1024;

/// Which generation includes which version of an object.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    objects: HashMap<Key, ObjectHistory>,
    deleted: VecDeque<(Key, u64)>,
    generations: VecDeque<Generation>,
}

#[derive(Debug)]
struct ObjectHistory {
    version: String,
    generations: VecDeque<u64>,
}

/// Facts about one generation.
#[derive(Debug)]
struct Generation {
    number: u64,
    at: Instant,
    proxies: usize,
}

impl Revisions {
    /// `key` is at `version` as of `generation`.
    pub(crate) fn applied(&mut self, key: &Key, version: String, generation: u64) {
        let entry = self.objects.entry(key.clone()).or_insert_with(|| ObjectHistory {
            version: String::new(),
            generations: VecDeque::new(),
        });
        if entry.version == version && !version.is_empty() {
            return;
        }
        entry.version = version;
        entry.generations.push_back(generation);
        if entry.generations.len() > PER_OBJECT {
            entry.generations.pop_front();
        }
    }

    /// `key` is gone at `version` as of `generation`.
    pub(crate) fn deleted(&mut self, key: &Key, version: String, generation: u64) {
        self.applied(key, version, generation);
        self.deleted.push_back((key.clone(), generation));
        if self.deleted.len() > DELETED
            && let Some((oldest, at)) = self.deleted.pop_front()
            && self.objects.get(&oldest).is_some_and(|entry| entry.generations.back() == Some(&at))
        {
            self.objects.remove(&oldest);
        }
    }

    /// A batch of changes has been worked on, at the time `at`, and concerns
    /// this many proxies.
    pub(crate) fn worked(&mut self, number: u64, at: Instant, proxies: usize) {
        self.generations.push_back(Generation { number, at, proxies });
        if self.generations.len() > GENERATIONS {
            self.generations.pop_front();
        }
    }

    /// The generations in which `key` came to be at `version` or a later one;
    /// `None` when it has not been seen there yet.
    pub(crate) fn generations(&self, key: &Key, version: &str) -> Option<Vec<u64>> {
        // Of the others no proxy ever learns, so there is nothing to wait for.
        if !key.kind.decides() {
            return Some(Vec::new());
        }
        let entry = self.objects.get(key)?;
        reaches(&entry.version, version).then(|| entry.generations.iter().copied().collect())
    }

    /// When a generation was worked on, while that is remembered.
    pub(crate) fn at(&self, number: u64) -> Option<Instant> {
        self.find(number).map(|generation| generation.at)
    }

    /// How many proxies a generation concerned, while that is remembered.
    pub(crate) fn proxies(&self, number: u64) -> usize {
        self.find(number).map_or(0, |generation| generation.proxies)
    }

    fn find(&self, number: u64) -> Option<&Generation> {
        let index = self.generations.binary_search_by_key(&number, |one| one.number).ok()?;
        self.generations.get(index)
    }
}

/// Whether `seen` is `asked` or later. Kubernetes' versions are numbers that
/// grow; anything else is compared as it is.
fn reaches(seen: &str, asked: &str) -> bool {
    match (seen.parse::<u64>(), asked.parse::<u64>()) {
        (Ok(seen), Ok(asked)) => seen >= asked,
        _ => seen == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn an_object_is_seen_from_its_version_on() {
        let mut revisions = Revisions::default();
        let hello = key("VirtualService/default/hello");
        assert_eq!(revisions.generations(&hello, "5"), None);
        revisions.applied(&hello, "9".into(), 3);
        assert_eq!(revisions.generations(&hello, "10"), None);
        assert_eq!(revisions.generations(&hello, "9"), Some(vec![3]));
        revisions.applied(&hello, "9".into(), 4);
        revisions.deleted(&hello, "12".into(), 5);
        assert_eq!(revisions.generations(&hello, "10"), Some(vec![3, 5]));
    }

    #[test]
    fn kinds_that_decide_nothing_are_not_waited_for() {
        let revisions = Revisions::default();
        assert_eq!(revisions.generations(&key("Deployment/default/hello"), "7"), Some(vec![]));
    }

    #[test]
    fn versions_that_are_no_numbers_are_compared_as_they_are() {
        assert!(reaches("a", "a") && !reaches("b", "a") && reaches("10", "9"));
    }
}
