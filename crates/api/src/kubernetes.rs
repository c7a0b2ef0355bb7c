//! The Kubernetes kinds, as far as the mesh reads them.
//!
//! These are views: what they leave out is kept in the JSON.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::Metadata;

/// `v1 Namespace`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// Name and labels.
    pub metadata: Metadata,
}

/// `v1 ConfigMap`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Name and labels.
    pub metadata: Metadata,
    /// Texts by key.
    pub data: BTreeMap<String, String>,
}

/// `v1 Service`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Name, labels, annotations.
    pub metadata: Metadata,
    /// What it does.
    pub spec: ServiceSpec,
}

/// `v1 Service` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP` (also when empty), `NodePort`, `LoadBalancer`, `ExternalName`.
    #[serde(rename = "type")]
    pub kind: String,
    /// An address, `None` for a headless service, empty when not assigned yet.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// All addresses of the service.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Labels of its pods; none for a service whose endpoints others write.
    pub selector: BTreeMap<String, String>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// The name that an `ExternalName` service stands for.
    pub external_name: String,
    /// Whether pods that are not ready count.
    pub publish_not_ready_addresses: bool,
}

impl Service {
    /// Whether clients are given the pods' own addresses.
    pub fn headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }

    /// The addresses that clients dial, none for headless services.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let many = self.spec.cluster_ips.iter();
        let one =
            std::iter::once(&self.spec.cluster_ip).filter(|_| self.spec.cluster_ips.is_empty());
        many.chain(one).filter_map(|text| text.parse().ok())
    }
}

/// `v1 Service` `spec.ports[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Name; its first part may declare the protocol.
    pub name: String,
    /// The port that clients dial.
    pub port: u16,
    /// `TCP` when empty.
    pub protocol: String,
    /// The pods' port, by number or name; the same as `port` when absent.
    pub target_port: Option<PortRef>,
    /// Declares the protocol, before the name does.
    pub app_protocol: Option<String>,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By the name of a container's port.
    Name(String),
}

/// `discovery.k8s.io/v1 EndpointSlice`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Name; the label `kubernetes.io/service-name` names its service.
    pub metadata: Metadata,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports, the same for all endpoints; their names are the service's.
    pub ports: Vec<SlicePort>,
}

/// The label of an EndpointSlice that names its service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// `EndpointSlice` `endpoints[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    /// Addresses of one endpoint.
    pub addresses: Vec<String>,
    /// State.
    pub conditions: SliceConditions,
    /// Its name below the service's in DNS.
    pub hostname: Option<String>,
    /// The pod behind it.
    pub target_ref: Option<TargetRef>,
    /// The node it runs on.
    pub node_name: Option<String>,
    /// The zone it runs in.
    pub zone: Option<String>,
}

/// `EndpointSlice` `endpoints[].conditions`; unset `ready` means ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceConditions {
    /// Whether it takes new requests.
    pub ready: Option<bool>,
    /// Whether it still answers.
    pub serving: Option<bool>,
    /// Whether it is going away.
    pub terminating: Option<bool>,
}

/// The object behind an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetRef {
    /// `Pod`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `EndpointSlice` `ports[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlicePort {
    /// The service port's name.
    pub name: String,
    /// The endpoints' port.
    pub port: u16,
    /// `TCP` when empty.
    pub protocol: String,
    /// The service port's application protocol.
    pub app_protocol: Option<String>,
}

/// `v1 Pod`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Name, labels, annotations, owners.
    pub metadata: Metadata,
    /// What it runs.
    pub spec: PodSpec,
    /// How it is.
    pub status: PodStatus,
}

/// `v1 Pod` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Its service account; `default` when empty.
    pub service_account_name: String,
    /// Its node.
    pub node_name: String,
    /// Containers.
    pub containers: Vec<Container>,
    /// Init containers, native sidecars among them.
    pub init_containers: Vec<Container>,
    /// Whether it shares the node's network.
    pub host_network: bool,
}

/// `v1 Pod` `spec.containers[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Ports.
    pub ports: Vec<ContainerPort>,
    /// `Always` makes an init container a native sidecar.
    pub restart_policy: Option<String>,
}

/// `v1 Pod` `spec.containers[].ports[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: String,
    /// Number.
    pub container_port: u16,
    /// `TCP` when empty.
    pub protocol: String,
}

/// `v1 Pod` `status`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// Its address.
    #[serde(rename = "podIP", deserialize_with = "address")]
    pub pod_ip: Option<IpAddr>,
    /// `Ready` and others.
    pub conditions: Vec<PodCondition>,
}

/// An address; none where the text is not one, as before a pod has got any.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(|text| text.parse().ok()))
}

/// `v1 Pod` `status.conditions[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
}
