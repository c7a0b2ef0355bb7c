//! The mesh's settings about sidecars, as its ConfigMaps have them.

use weft_inject::{INJECTOR, MESH, Settings, Texts, Warning};

use super::{ClientError, Cluster, Resource};

impl Cluster {
    /// What the ConfigMaps in the mesh's own namespace say of sidecars, and what of
    /// it has no effect; Istio's defaults where there are none.
    pub async fn injection_settings(
        &self,
        root_namespace: &str,
    ) -> Result<(Settings, Vec<Warning>), ClientError> {
        let resource = Resource {
            version: "v1".to_owned(),
            plural: "configmaps".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespaced: true,
            ..Resource::default()
        };
        let (mesh, injector) = futures::join!(
            self.find(&resource, root_namespace, MESH),
            self.find(&resource, root_namespace, INJECTOR),
        );
        let (mesh, injector) = (mesh?.unwrap_or_default(), injector?.unwrap_or_default());
        let text = |name: &str, key: &str| {
            let config_map = if name == MESH { &mesh } else { &injector };
            config_map["data"][key].as_str()
        };
        Ok(Settings::read(Texts::find(text)))
    }
}
