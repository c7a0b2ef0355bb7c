//! The mesh's settings for sidecars, from the ConfigMaps that the injector reads as well.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_inject::{INJECTOR, MESH, Settings, Texts};
use weft_translate::Installation;

/// The data of the mesh's own ConfigMaps, by name.
#[derive(Debug, Default)]
pub(crate) struct ConfigMaps(BTreeMap<String, Value>);

impl ConfigMaps {
    /// Takes in `object`, if it is one of them in a mesh that is installed so.
    pub(crate) fn note(&mut self, object: &Value, installation: &Installation) {
        let metadata = &object["metadata"];
        if object["kind"] == "ConfigMap"
            && metadata["namespace"] == *installation.namespace
            && let Some(name @ (MESH | INJECTOR)) = metadata["name"].as_str()
        {
            self.0.insert(name.to_owned(), object["data"].clone());
        }
    }

    /// What they say of sidecars in a mesh that is installed so.
    pub(crate) fn settings(&self, installation: &Installation) -> Settings {
        let text = |name: &str, key: &str| self.0.get(name)?[key].as_str();
        // The webhook tells what of them is wrong.
        let (settings, _) = Settings::read(Texts::find(text));
        Settings {
            root_namespace: installation.namespace.clone(),
            cluster_domain: installation.domain.clone(),
            cluster: installation.cluster.clone(),
            ..settings
        }
    }
}
