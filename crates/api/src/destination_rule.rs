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
    pub traffic_policy: Option<Box<TrafficPolicy>>,
}

/// `DestinationRule` `trafficPolicy`; what Weft does not honour yet stays JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits and timeouts.
    pub connection_pool: Option<ConnectionPool>,
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
    pub retry_budget: Option<RetryBudget>,
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
    pub connection_pool: Option<ConnectionPool>,
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
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// Slow start.
    pub warmup: Option<Warmup>,
    /// The same by its older name, with the defaults of the rest.
    pub warmup_duration_secs: Option<String>,
}

/// `trafficPolicy.loadBalancer.localityLbSetting`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityLbSetting {
    /// Shares of places.
    pub distribute: Vec<Distribute>,
    /// Which other regions come first.
    pub failover: Vec<Failover>,
    /// Labels that make endpoints close.
    pub failover_priority: Vec<String>,
    /// Whether places matter; true when absent.
    pub enabled: Option<bool>,
}

/// `localityLbSetting.distribute[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Distribute {
    /// Whose requests: a place, in which `*` stands for any part.
    pub from: String,
    /// Percentages of places, which are 100 together.
    pub to: BTreeMap<String, u32>,
}

/// `localityLbSetting.failover[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failover {
    /// The region of the client.
    pub from: String,
    /// The region that comes next.
    pub to: String,
}

/// `trafficPolicy.loadBalancer.warmup`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Warmup {
    /// How long it takes, as in `60s`.
    pub duration: Option<String>,
    /// With how many percent an endpoint begins; 10 when absent.
    pub minimum_percent: Option<f64>,
    /// 1 when absent: evenly.
    pub aggression: Option<f64>,
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
    /// The same in Istio 1.0; counts where the other is absent.
    pub consecutive_errors: Option<i32>,
    /// How long an endpoint must be well to be left out for less long, as in `10s`.
    pub interval: Option<String>,
    /// For how long an endpoint is left out the first time, as in `30s`.
    pub base_ejection_time: Option<String>,
    /// How many percent may be left out; 10 when absent.
    pub max_ejection_percent: Option<i32>,
    /// Below how many percent all are used.
    pub min_health_percent: Option<i32>,
}

/// `trafficPolicy.connectionPool`. A number of zero is the same as none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionPool {
    /// Of all connections.
    pub tcp: Option<TcpSettings>,
    /// Of connections for HTTP.
    pub http: Option<HttpSettings>,
}

/// `trafficPolicy.connectionPool.tcp`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSettings {
    /// How many there may be.
    pub max_connections: Option<i32>,
    /// How long one may take to be made.
    pub connect_timeout: Option<String>,
    /// Probes of the kernel.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long one is used.
    pub max_connection_duration: Option<String>,
    /// How long one may be silent; `0s` is without end.
    pub idle_timeout: Option<String>,
}

/// `trafficPolicy.connectionPool.tcp.tcpKeepalive`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpKeepalive {
    /// How many get no answer before the connection ends.
    pub probes: Option<u32>,
    /// After how much silence the first is sent.
    pub time: Option<String>,
    /// The pause between two.
    pub interval: Option<String>,
}

/// `trafficPolicy.connectionPool.http`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSettings {
    /// How many requests may wait for a connection.
    pub http1_max_pending_requests: Option<i32>,
    /// How many requests may be under way, of either version.
    pub http2_max_requests: Option<i32>,
    /// How many requests a connection serves.
    pub max_requests_per_connection: Option<i32>,
    /// How many further tries may be under way.
    pub max_retries: Option<i32>,
    /// How long a connection without requests is kept.
    pub idle_timeout: Option<String>,
    /// `DEFAULT`, `DO_NOT_UPGRADE` or `UPGRADE`.
    pub h2_upgrade_policy: Option<String>,
    /// Whether the service is spoken to as its client speaks.
    pub use_client_protocol: Option<bool>,
    /// How many streams a connection of HTTP/2 may have.
    pub max_concurrent_streams: Option<i32>,
    /// PING frames: `interval` and `timeout`.
    pub http2_keep_alive: Option<serde_json::Value>,
}

/// `trafficPolicy.retryBudget`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Of the requests that are under way; 20 when absent.
    pub percent: Option<f64>,
    /// Always so many; 3 when absent.
    pub min_retry_concurrency: Option<u32>,
}
