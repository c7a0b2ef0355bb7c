//! What is known of a mesh from its installation, rather than from objects.

use weft_api::{Key, Kind};

/// How a mesh is installed: what no object says, and what never changes while the control
/// plane runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The namespace of the control plane. Its ConfigMap `istio` holds the mesh's settings, and
    /// it is the root namespace unless these name another.
    pub namespace: String,
    /// The name of the cluster, in metrics.
    pub cluster: String,
    /// The domain of the cluster's names.
    pub domain: String,
}

impl Default for Installation {
    fn default() -> Self {
        Self {
            namespace: "istio-system".to_owned(),
            cluster: "Kubernetes".to_owned(),
            domain: "cluster.local".to_owned(),
        }
    }
}

impl Installation {
    /// The ConfigMap with the mesh's settings.
    pub fn settings(&self) -> Key {
        Key::new(Kind::ConfigMap, self.namespace.as_str(), "istio")
    }
}
