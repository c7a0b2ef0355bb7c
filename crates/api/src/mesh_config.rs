//! MeshConfig: ConfigMap `istio` in the control plane's namespace, key `mesh`, as YAML.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::destination_rule::{LocalityLbSetting, TcpKeepalive, TrafficPolicy};

/// The mesh's settings; every field has Istio's default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// Name of the mesh's trust domain.
    pub trust_domain: String,
    /// Namespace of mesh-wide defaults; the control plane's own when empty.
    pub root_namespace: String,
    /// What happens to traffic to unknown destinations.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// Where access logs go; empty for nowhere.
    pub access_log_file: String,
    /// The log's format; Istio's default when empty.
    pub access_log_format: String,
    /// `TEXT` or `JSON`.
    pub access_log_encoding: String,
    /// How long a connection may take to be made, as in `10s`.
    pub connect_timeout: String,
    /// Probes of connections to services.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `UPGRADE` if services of HTTP/1.1 are spoken to in HTTP/2.
    pub h2_upgrade_policy: String,
    /// What holds for services of which no DestinationRule says it.
    pub default_traffic_policy: Option<Box<TrafficPolicy>>,
    /// How the places of endpoints matter where no DestinationRule says it.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// Retries of routes that say nothing of them.
    pub default_http_retry_policy: Option<Value>,
    /// Who sees a Service that does not say so.
    pub default_service_export_to: Vec<String>,
    /// Who sees a VirtualService that does not say so.
    pub default_virtual_service_export_to: Vec<String>,
    /// Who sees a DestinationRule that does not say so.
    pub default_destination_rule_export_to: Vec<String>,
    /// `istio-1.0` for the behaviour of that release where it differs; Weft's own field.
    pub compatibility: String,
}

impl Default for MeshConfig {
    fn default() -> Self {
        let everybody = || vec!["*".to_owned()];
        Self {
            trust_domain: "cluster.local".to_owned(),
            root_namespace: String::new(),
            outbound_traffic_policy: OutboundTrafficPolicy::default(),
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: "TEXT".to_owned(),
            connect_timeout: "10s".to_owned(),
            tcp_keepalive: None,
            h2_upgrade_policy: "DO_NOT_UPGRADE".to_owned(),
            default_traffic_policy: None,
            locality_lb_setting: None,
            default_http_retry_policy: None,
            default_service_export_to: everybody(),
            default_virtual_service_export_to: everybody(),
            default_destination_rule_export_to: everybody(),
            compatibility: String::new(),
        }
    }
}

/// `outboundTrafficPolicy`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// `ALLOW_ANY` or `REGISTRY_ONLY`.
    pub mode: String,
}

impl Default for OutboundTrafficPolicy {
    fn default() -> Self {
        Self { mode: "ALLOW_ANY".to_owned() }
    }
}
