//! `networking.istio.io Sidecar`: what the sidecars of some workloads see and serve.

use serde::{Deserialize, Serialize};

use crate::{Metadata, service_entry::LabelSelector};

/// A sidecar's scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// Name, age.
    pub metadata: Metadata,
    /// What it says.
    pub spec: SidecarSpec,
}

/// `Sidecar` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSpec {
    /// The workloads it is for; all of its namespace when absent.
    pub workload_selector: Option<LabelSelector>,
    /// What they serve; the ports of their Services when empty.
    pub ingress: Vec<SidecarIngress>,
    /// What they see; everything when empty.
    pub egress: Vec<SidecarEgress>,
    /// What happens to traffic to unknown destinations; as the mesh's settings say when absent.
    pub outbound_traffic_policy: Option<SidecarOutboundPolicy>,
}

/// `Sidecar` `spec.outboundTrafficPolicy`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarOutboundPolicy {
    /// `ALLOW_ANY` or `REGISTRY_ONLY`; the latter when empty.
    pub mode: String,
}

/// A port of a sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarPort {
    /// Its number.
    pub number: u16,
    /// What it speaks, as the protocol of a ServiceEntry's port.
    pub protocol: String,
    /// Its name.
    pub name: String,
}

/// `Sidecar` `spec.ingress[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarIngress {
    /// The port that clients dial.
    pub port: SidecarPort,
    /// Where the application listens; at the same port when empty.
    pub default_endpoint: String,
}

/// `Sidecar` `spec.egress[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarEgress {
    /// The port that clients dial; every port that no other entry has when absent.
    pub port: Option<SidecarPort>,
    /// `NAMESPACE/DNS`; the namespace may be `*`, `.`, or `~` for none.
    pub hosts: Vec<String>,
}
