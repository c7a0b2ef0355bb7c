//! Who owns whom, by identity.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weft_controllers::object::{self, items};

use super::Key;

/// Living objects by identity, and what refers to each as its owner.
#[derive(Debug, Default)]
pub struct Index {
    living: BTreeMap<String, Key>,
    dependents: BTreeMap<String, BTreeSet<Key>>,
    referred: BTreeMap<Key, Vec<String>>,
}

impl Index {
    /// Takes in an object as it is now.
    pub fn insert(&mut self, key: &Key, object: &Value) {
        self.living.insert(object::uid(object).to_owned(), key.clone());
        self.forget(key);
        let owners: Vec<String> = uids(object).collect();
        for owner in &owners {
            self.dependents.entry(owner.clone()).or_default().insert(key.clone());
        }
        if !owners.is_empty() {
            self.referred.insert(key.clone(), owners);
        }
    }

    /// Forgets an object; says what referred to it.
    pub fn remove(&mut self, key: &Key, object: &Value) -> Vec<Key> {
        self.living.remove(object::uid(object));
        self.forget(key);
        self.dependents(object)
    }

    /// What refers to an object as its owner.
    pub fn dependents(&self, object: &Value) -> Vec<Key> {
        self.dependents.get(object::uid(object)).into_iter().flatten().cloned().collect()
    }

    /// The living objects to which an object refers as its owners.
    pub fn owners(&self, object: &Value) -> Vec<Key> {
        uids(object).filter_map(|uid| self.living.get(&uid).cloned()).collect()
    }

    fn forget(&mut self, key: &Key) {
        for owner in self.referred.remove(key).unwrap_or_default() {
            if let Some(dependents) = self.dependents.get_mut(&owner) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner);
                }
            }
        }
    }
}

fn uids(object: &Value) -> impl Iterator<Item = String> {
    items(&object["metadata"]["ownerReferences"])
        .filter_map(|owner| owner["uid"].as_str())
        .map(str::to_owned)
}
