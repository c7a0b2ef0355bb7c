//! Every resource that is served at this moment.
//!
//! A registry is a value: the store keeps one, and replaces it when a
//! CustomResourceDefinition comes or goes. It knows no object but those.

mod builtin;
mod custom;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::resource::Resource;

pub use custom::established;

/// The resources that are served.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Every version of every resource; a resource's preferred version first.
    resources: Vec<Arc<Resource>>,
    /// Definition name → the resources that it brought.
    custom: BTreeMap<String, Vec<Arc<Resource>>>,
}

impl Registry {
    /// Only what is built in.
    pub fn built_in() -> Self {
        let resources = builtin::all().into_iter().map(Arc::new).collect();
        Self { resources, custom: BTreeMap::new() }
    }

    /// Takes in a CustomResourceDefinition, replacing what it said before.
    pub fn define(&mut self, definition: &Value) {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let resources = custom::resources(definition).into_iter().map(Arc::new).collect();
        self.custom.insert(name.to_owned(), resources);
    }

    /// Forgets a CustomResourceDefinition.
    pub fn undefine(&mut self, name: &str) {
        self.custom.remove(name);
    }

    /// The preferred version of what a definition has brought.
    pub fn brought_by(&self, definition: &str) -> Option<Arc<Resource>> {
        self.custom.get(definition)?.first().cloned()
    }

    /// Whether a kind that is built in has this group and plural.
    pub fn is_built_in(&self, group: &str, plural: &str) -> bool {
        self.resources.iter().any(|one| one.group == group && one.plural == plural)
    }

    /// Every resource in every version, built-in ones first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter().chain(self.custom.values().flatten())
    }

    /// The preferred version of a resource.
    pub fn find(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        self.all().find(|one| one.group == group && one.plural == plural).cloned()
    }

    /// A resource in one version.
    pub fn version(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.all()
            .find(|one| one.group == group && one.version == version && one.plural == plural)
            .cloned()
    }

    /// The resource whose objects say this `apiVersion` and `kind`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.all().find(|one| one.kind == kind && one.api_version() == api_version).cloned()
    }

    /// Every group with its versions, preferred first; the core group is empty.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in self.all() {
            let position = groups.iter().position(|(group, _)| *group == resource.group);
            let versions = match position {
                Some(index) => &mut groups[index].1,
                None => {
                    groups.push((resource.group.clone(), Vec::new()));
                    let last = groups.len() - 1;
                    &mut groups[last].1
                }
            };
            if !versions.contains(&resource.version) {
                versions.push(resource.version.clone());
            }
        }
        for (_, versions) in &mut groups {
            versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        }
        groups
    }
}

/// Kubernetes' version priority: stable before beta before alpha, then higher first.
fn priority(version: &str) -> (u8, u32, u32) {
    let digits = |text: &str| text.parse::<u32>().unwrap_or(0);
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    for (word, stage) in [("alpha", 1), ("beta", 2)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return (stage, digits(major), digits(minor));
        }
    }
    (3, digits(rest), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> Value {
        json!({
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
                "versions": [
                    {"name": "v1alpha3", "served": true, "storage": false},
                    {"name": "v1", "served": true, "storage": true},
                    {"name": "v0", "served": false, "storage": false}
                ]
            }
        })
    }

    #[test]
    fn a_definition_serves_its_versions_and_its_end_ends_them() {
        let mut registry = Registry::built_in();
        registry.define(&definition());
        let preferred = registry.find("example.com", "widgets").unwrap();
        assert_eq!((preferred.version.as_str(), preferred.singular.as_str()), ("v1", "widget"));
        let old = registry.kind("example.com/v1alpha3", "Widget").unwrap();
        assert_eq!(old.storage_version(), "example.com/v1");
        assert!(registry.version("example.com", "v0", "widgets").is_none());
        registry.undefine("widgets.example.com");
        assert!(registry.find("example.com", "widgets").is_none());
    }

    #[test]
    fn versions_are_ranked_as_on_a_cluster() {
        let mut versions = ["v1alpha3", "v10", "v1beta1", "v2", "v1", "v1beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha3"]);
    }
}
