//! What the mesh's owner can choose about sidecars.

/// What holds where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A sidecar.
    Enabled,
    /// None.
    Disabled,
}

/// What the sidecar asks the scheduler for, as Kubernetes quantities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// CPU requested.
    pub cpu: String,
    /// Memory requested.
    pub memory: String,
    /// CPU at most.
    pub cpu_limit: String,
    /// Memory at most.
    pub memory_limit: String,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: "100m".to_owned(),
            memory: "128Mi".to_owned(),
            cpu_limit: "2".to_owned(),
            memory_limit: "1Gi".to_owned(),
        }
    }
}

/// What the mesh's owner can choose about sidecars; the defaults are Istio's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image of `istio-proxy` and `istio-init`.
    pub image: String,
    /// Whether the sidecar is an init container that keeps running.
    pub native_sidecar: bool,
    /// Whether pods that were selected get a sidecar when they do not say so themselves.
    pub policy: Policy,
    /// Whether the pods of a namespace that says nothing are selected.
    pub unlabelled: Policy,
    /// The revision of the control plane.
    pub revision: String,
    /// Where the control plane is.
    pub discovery_address: String,
    /// The namespace of the control plane.
    pub root_namespace: String,
    /// The mesh's trust domain.
    pub trust_domain: String,
    /// The domain of the cluster's names.
    pub cluster_domain: String,
    /// The cluster's name.
    pub cluster: String,
    /// The mesh's name.
    pub mesh: String,
    /// What the sidecar asks for.
    pub resources: Resources,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: concat!("weft/proxyv2:", env!("CARGO_PKG_VERSION")).to_owned(),
            native_sidecar: true,
            policy: Policy::Enabled,
            unlabelled: Policy::Disabled,
            revision: "default".to_owned(),
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            root_namespace: "istio-system".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            cluster: "Kubernetes".to_owned(),
            mesh: "cluster.local".to_owned(),
            resources: Resources::default(),
        }
    }
}
