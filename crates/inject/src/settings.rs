//! What the mesh's owner can choose about sidecars.

use serde_json::{Map, Value};

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
    pub cpu: Option<String>,
    /// Memory requested.
    pub memory: Option<String>,
    /// CPU at most.
    pub cpu_limit: Option<String>,
    /// Memory at most.
    pub memory_limit: Option<String>,
}

impl Default for Resources {
    fn default() -> Self {
        let some = |text: &str| Some(text.to_owned());
        Self {
            cpu: some("100m"),
            memory: some("128Mi"),
            cpu_limit: some("2"),
            memory_limit: some("1Gi"),
        }
    }
}

/// Which traffic is led through the sidecar, as `istio-iptables` gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Outbound ranges, or `*`.
    pub include_ranges: String,
    /// Outbound ranges that are left out.
    pub exclude_ranges: String,
    /// Inbound ports, or `*`.
    pub include_inbound_ports: String,
    /// Inbound ports that are left out.
    pub exclude_inbound_ports: String,
    /// Outbound ports, whatever their range.
    pub include_outbound_ports: String,
    /// Outbound ports that are left out.
    pub exclude_outbound_ports: String,
}

impl Default for Captured {
    fn default() -> Self {
        Self {
            include_ranges: "*".to_owned(),
            exclude_ranges: String::new(),
            include_inbound_ports: "*".to_owned(),
            exclude_inbound_ports: String::new(),
            include_outbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
        }
    }
}

/// When the sidecar counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Seconds before it is asked.
    pub initial_delay: u64,
    /// Seconds between two questions.
    pub period: u64,
    /// How many failures in a row count.
    pub failures: u64,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { initial_delay: 0, period: 15, failures: 4 }
    }
}

/// What the mesh's owner can choose about sidecars; the defaults are Istio's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image of `istio-proxy` and `istio-init`.
    pub image: String,
    /// When it is fetched; unset is Kubernetes' default.
    pub image_pull_policy: Option<String>,
    /// Secrets with which it is fetched.
    pub image_pull_secrets: Vec<String>,
    /// Whether the sidecar is an init container that keeps running.
    pub native_sidecar: bool,
    /// Whether pods that were selected get a sidecar when they do not say so themselves.
    pub policy: Policy,
    /// Label selectors of pods that never get one, unless they say so themselves.
    pub never: Vec<Value>,
    /// Label selectors of pods that always get one, unless they say so themselves.
    pub always: Vec<Value>,
    /// Whether the pods of a namespace that says nothing are selected.
    pub unlabelled: Policy,
    /// Annotations that every pod with a sidecar gets.
    pub annotations: Map<String, Value>,
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
    /// How much the proxy logs, and of which parts.
    pub log_level: String,
    /// The same for parts of it.
    pub component_log_level: String,
    /// Which traffic is led through it.
    pub captured: Captured,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// How often its startup probe may fail; none when it has no startup probe.
    pub startup_failures: Option<u64>,
    /// Whether the application's probes are led through it.
    pub rewrite_probes: bool,
    /// Whether it serves the application's metrics with its own.
    pub merge_metrics: bool,
    /// What is done after its start and before its end, instead of what Istio does.
    pub lifecycle: Option<Value>,
    /// ProxyConfig of the whole mesh, checked and in today's spelling.
    pub proxy: Map<String, Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: concat!("weft/proxyv2:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            native_sidecar: true,
            policy: Policy::Enabled,
            never: Vec::new(),
            always: Vec::new(),
            unlabelled: Policy::Disabled,
            annotations: Map::new(),
            revision: "default".to_owned(),
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            root_namespace: "istio-system".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            cluster: "Kubernetes".to_owned(),
            mesh: "cluster.local".to_owned(),
            resources: Resources::default(),
            log_level: "warning".to_owned(),
            component_log_level: "misc:error".to_owned(),
            captured: Captured::default(),
            readiness: Readiness::default(),
            startup_failures: Some(600),
            rewrite_probes: true,
            merge_metrics: true,
            lifecycle: None,
            proxy: Map::new(),
        }
    }
}
