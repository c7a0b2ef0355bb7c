//! `networking.istio.io DestinationRule`: how a service is called.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Metadata, virtual_service::PortSelector};

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
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the service.
    pub tls: Option<serde_json::Value>,
    /// Settings of single ports.
    pub port_level_settings: Vec<PortPolicy>,
    /// Tunnelling of TCP.
    pub tunnel: Option<serde_json::Value>,
    /// PROXY protocol towards the service.
    pub proxy_protocol: Option<serde_json::Value>,
    /// How many retries may be under way.
    pub retry_budget: Option<serde_json::Value>,
}

/// `trafficPolicy.portLevelSettings[]`: takes the place of all of the policy on a port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortPolicy {
    /// The port.
    pub port: Option<PortSelector>,
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits and timeouts.
    pub connection_pool: Option<serde_json::Value>,
    /// When an endpoint is left out.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the service.
    pub tls: Option<serde_json::Value>,
}

/// `trafficPolicy.loadBalancer`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// `UNSPECIFIED`, `LEAST_REQUEST`, `LEAST_CONN`, `RANDOM`, `ROUND_ROBIN`, `PASSTHROUGH`.
    pub simple: Option<String>,
    /// By a hash of the request.
    pub consistent_hash: Option<ConsistentHash>,
    /// By locality.
    pub locality_lb_setting: Option<serde_json::Value>,
    /// Slow start.
    pub warmup: Option<serde_json::Value>,
}

/// `trafficPolicy.loadBalancer.consistentHash`: one key, and how Envoy's tables are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsistentHash {
    /// A field of the request.
    pub http_header_name: Option<String>,
    /// A cookie.
    pub http_cookie: Option<HttpCookie>,
    /// The client's address.
    pub use_source_ip: Option<bool>,
    /// A parameter of the query.
    pub http_query_parameter_name: Option<String>,
    /// Size of Envoy's ring. Weft chooses without a table, more evenly than by a ring of any size.
    pub ring_hash: Option<serde_json::Value>,
    /// Size of Envoy's table.
    pub maglev: Option<serde_json::Value>,
}

/// `consistentHash.httpCookie`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpCookie {
    /// Name.
    pub name: String,
    /// Path.
    pub path: String,
    /// How long clients keep it, as in `30s`; none is made when absent.
    pub ttl: Option<String>,
    /// Further attributes.
    pub attributes: Vec<CookieAttribute>,
}

/// `consistentHash.httpCookie.attributes[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieAttribute {
    /// Name.
    pub name: String,
    /// Value; empty when it has none.
    pub value: String,
}

/// `trafficPolicy.outlierDetection`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Whether failures to get an answer are counted separately.
    pub split_external_local_origin_errors: Option<bool>,
    /// How many of these in a row; 5 when absent.
    pub consecutive_local_origin_failures: Option<u32>,
    /// How many answers of 502, 503 and 504 in a row; they are not counted when absent.
    pub consecutive_gateway_errors: Option<u32>,
    /// How many answers of 500 and more in a row; 5 when absent, 0 for any number.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive5xx_errors: Option<u32>,
    /// How long an endpoint must be well to be left out for less long, as in `10s`.
    pub interval: Option<String>,
    /// For how long an endpoint is left out the first time, as in `30s`.
    pub base_ejection_time: Option<String>,
    /// How many percent may be left out; 10 when absent.
    pub max_ejection_percent: Option<i32>,
    /// Below how many percent all are used.
    pub min_health_percent: Option<i32>,
}
