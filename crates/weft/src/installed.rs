//! How the mesh is installed, for commands that look at it from outside.

use weft_translate::Installation;

/// How the mesh is installed, where that is not the default.
#[derive(clap::Args, Clone, Debug)]
pub struct Installed {
    /// The domain of the cluster's names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    domain: String,
    /// The namespace of the control plane: its ConfigMap `istio` has the mesh's settings, and it
    /// is the root namespace unless they name another
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    istio_namespace: String,
    /// The name of the cluster, in metrics
    #[arg(long, value_name = "NAME", default_value = "Kubernetes")]
    cluster_name: String,
}

impl Installed {
    /// The same as translation needs it.
    pub fn installation(&self) -> Installation {
        Installation {
            namespace: self.istio_namespace.clone(),
            cluster: self.cluster_name.clone(),
            domain: self.domain.to_ascii_lowercase(),
        }
    }
}
