//! `networking.istio.io DestinationRule`: how a service is called.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Metadata;

/// A destination rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationRule {
    /// Name, age.
    pub metadata: Metadata,
    /// What it says.
    pub spec: DestinationRuleSpec,
}

/// `DestinationRule` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationRuleSpec {
    /// The service, by its full name, a short one, or `*.suffix`.
    pub host: String,
    /// What holds for all of the service.
    pub traffic_policy: Option<Box<TrafficPolicy>>,
    /// Named parts of the service.
    pub subsets: Vec<Subset>,
    /// Who sees the rule: `.`, `*`, or namespaces; all when empty.
    pub export_to: Vec<String>,
    /// The clients it is for; all when absent.
    pub workload_selector: Option<WorkloadSelector>,
}

/// Labels of workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// Labels that a workload must have.
    pub match_labels: BTreeMap<String, String>,
}

/// `DestinationRule` `spec.subsets[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    /// Name.
    pub name: String,
    /// Labels of its endpoints.
    pub labels: BTreeMap<String, String>,
    /// What holds for it, merged over the rule's own.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// `DestinationRule` `trafficPolicy`; what Weft does not honour yet stays JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits and timeouts.
    pub connection_pool: Option<serde_json::Value>,
    /// When an endpoint is left out.
    pub outlier_detection: Option<serde_json::Value>,
    /// TLS towards the service.
    pub tls: Option<serde_json::Value>,
    /// Settings of single ports.
    pub port_level_settings: Vec<serde_json::Value>,
    /// Tunnelling of TCP.
    pub tunnel: Option<serde_json::Value>,
    /// PROXY protocol towards the service.
    pub proxy_protocol: Option<serde_json::Value>,
    /// How many retries may be under way.
    pub retry_budget: Option<serde_json::Value>,
}

/// `trafficPolicy.loadBalancer`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// `UNSPECIFIED`, `LEAST_REQUEST`, `LEAST_CONN`, `RANDOM`, `ROUND_ROBIN`, `PASSTHROUGH`.
    pub simple: Option<String>,
    /// By a hash of the request.
    pub consistent_hash: Option<serde_json::Value>,
    /// By locality.
    pub locality_lb_setting: Option<serde_json::Value>,
    /// Slow start.
    pub warmup: Option<serde_json::Value>,
}
