//! The mesh's settings for sidecars, from the ConfigMaps that the injector reads as well.

use serde_json::Value;
use weft_inject::{Settings, Texts};
use weft_translate::Installation;

/// The texts of the ConfigMaps that say something of sidecars.
#[derive(Debug, Default)]
pub(crate) struct SidecarTexts {
    mesh: Option<String>,
    values: Option<String>,
    config: Option<String>,
}

impl SidecarTexts {
    /// Reads `object`, if it is one of them in a mesh that is installed so.
    pub(crate) fn note(&mut self, object: &Value, installation: &Installation) {
        let metadata = &object["metadata"];
        if object["kind"] != "ConfigMap" || metadata["namespace"] != *installation.namespace {
            return;
        }
        let text = |key: &str| object["data"][key].as_str().map(str::to_owned);
        match metadata["name"].as_str() {
            Some("istio") => self.mesh = text("mesh"),
            Some("istio-sidecar-injector") => {
                self.values = text("values");
                self.config = text("config");
            }
            _ => {}
        }
    }

    /// What they say, of a mesh that is installed so.
    pub(crate) fn settings(&self, installation: &Installation) -> Settings {
        let texts = Texts {
            mesh: self.mesh.as_deref(),
            values: self.values.as_deref(),
            config: self.config.as_deref(),
        };
        // The webhook tells what of them is wrong.
        let (settings, _) = Settings::read(texts);
        Settings {
            root_namespace: installation.namespace.clone(),
            cluster_domain: installation.domain.clone(),
            cluster: installation.cluster.clone(),
            ..settings
        }
    }
}
