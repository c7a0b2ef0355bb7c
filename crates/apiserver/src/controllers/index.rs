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

    /// What refers to an object as its owner, and may: an owner with a namespace owns
    /// nothing elsewhere.
    pub fn dependents(&self, object: &Value) -> Vec<Key> {
        let all = self.dependents.get(object::uid(object)).into_iter().flatten();
        let within = object::namespace(object);
        all.filter(|key| may_own(within, key)).cloned().collect()
    }

    /// The living objects to which an object refers as its owners.
    pub fn owners(&self, object: &Value) -> Vec<Key> {
        let living = uids(object).filter_map(|uid| self.living.get(&uid));
        let within = object::namespace(object);
        living.filter(|(_, _, owner, _)| owner.is_empty() || owner == within).cloned().collect()
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

/// Whether an owner in a namespace, or in none, may own an object.
fn may_own(owner: &str, (_, _, namespace, _): &Key) -> bool {
    owner.is_empty() || owner == namespace
}

fn uids(object: &Value) -> impl Iterator<Item = String> {
    items(&object["metadata"]["ownerReferences"])
        .filter_map(|owner| owner["uid"].as_str())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_owner_with_a_namespace_owns_nothing_elsewhere() {
        let mut index = Index::default();
        let key = |namespace: &str, name: &str| -> Key {
            (String::new(), "configmaps".into(), namespace.into(), name.into())
        };
        let owner =
            |namespace: &str, uid: &str| json!({"metadata": {"namespace": namespace, "uid": uid}});
        let dependent = |namespace: &str, owner: &str| {
            json!({"metadata": {"namespace": namespace, "uid": format!("{owner}-{namespace}"),
                                "ownerReferences": [{"uid": owner, "blockOwnerDeletion": true}]}})
        };
        index.insert(&key("shop", "victim"), &owner("shop", "v"));
        index.insert(&key("", "node"), &owner("", "n"));
        for of in ["v", "n"] {
            for namespace in ["shop", "evil"] {
                index.insert(&key(namespace, of), &dependent(namespace, of));
            }
        }
        assert_eq!(index.dependents(&owner("shop", "v")), [key("shop", "v")]);
        assert_eq!(index.owners(&dependent("evil", "v")), []);
        assert_eq!(index.dependents(&owner("", "n")), [key("evil", "n"), key("shop", "n")]);
        assert_eq!(index.owners(&dependent("evil", "n")), [key("", "node")]);
    }
}
