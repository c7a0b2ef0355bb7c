//! The mesh's settings: ConfigMap `istio` in the control plane's namespace, key `mesh`.

use std::time::Duration;

use weft_api::{Diagnostic, Key, mesh_config::MeshConfig, span, virtual_service};
use weft_config::{Outside, Retries};

use crate::{graph::view::View, model::visibility::Exports, routes::rules::retries};

/// How long a connection may take to be made when nobody says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The mesh's settings as translation uses them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mesh {
    /// As written.
    pub(crate) config: MeshConfig,
    /// Who sees Services that say nothing of it.
    pub(crate) service_exports: Exports,
    /// The name of the cluster, in metrics.
    pub(crate) cluster: String,
    /// How long a connection may take to be made.
    pub(crate) connect_timeout: Duration,
    /// Retries of rules that say nothing of them.
    pub(crate) retries: Option<Retries>,
    /// What happens to traffic that leaves the mesh.
    pub(crate) outside: Outside,
    /// Whether Istio 1.0's behaviour is wanted where it differs.
    pub(crate) as_istio_1_0: bool,
}

/// Reads the settings.
pub(crate) fn read(view: &View<'_>) -> Mesh {
    let key = view.installation().settings();
    let text = view.config_map(&key).and_then(|map| map.data.get("mesh"));
    let mut config = text.map(|text| parse(text, &key).0).unwrap_or_default();
    if config.root_namespace.is_empty() {
        config.root_namespace.clone_from(&key.namespace);
    }
    let connect_timeout = span::parse(&config.connect_timeout)
        .ok()
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(CONNECT_TIMEOUT);
    let written = config.default_http_retry_policy.clone();
    let written = written.map(serde_json::from_value::<virtual_service::Retries>);
    let retries = match written {
        Some(Ok(written)) => retries::of_rule(&written, retries::Timeouts::EndTheRequest).0,
        // Perhaps nothing is to be sent twice.
        Some(Err(_)) => None,
        None => Some(istio_default()),
    };
    let as_istio_1_0 = config.compatibility == "istio-1.0";
    let outside = match config.outbound_traffic_policy.mode.as_str() {
        "REGISTRY_ONLY" => Outside::Refuse,
        _ => Outside::Allow,
    };
    let cluster = view.installation().cluster.clone();
    let service_exports = Exports::new(&config.default_service_export_to, &[]);
    Mesh { config, service_exports, cluster, connect_timeout, retries, outside, as_istio_1_0 }
}

/// What is wrong with the settings.
pub(crate) fn findings(view: &View<'_>) -> Vec<Diagnostic> {
    let key = view.installation().settings();
    let text = view.config_map(&key).and_then(|map| map.data.get("mesh"));
    text.map(|text| parse(text, &key).1).unwrap_or_default()
}

/// Reads MeshConfig; what is wrong in it costs only itself. A text that cannot be read at all
/// closes.
fn parse(text: &str, key: &Key) -> (MeshConfig, Vec<Diagnostic>) {
    match serde_saphyr::from_str(text) {
        Ok(settings) => weft_api::mesh_config(&settings, key),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            // What it said may have been narrower than the defaults are.
            let message = format!(
                "is not YAML: {reason}; until it is corrected, nothing outside of the mesh is \
                 reached, objects that do not say exportTo are seen by their own namespace only, \
                 and nothing is tried again"
            );
            (weft_api::closed_mesh_config(), vec![Diagnostic::error(key, "data.mesh", message)])
        }
    }
}

/// Retries of rules that say nothing of them, as in Istio today.
fn istio_default() -> Retries {
    Retries {
        attempts: 2,
        per_try_timeout: None,
        on: retries::DEFAULT.to_vec(),
        statuses: Vec::new(),
        backoff: retries::BACKOFF,
        avoid_tried: true,
        idempotent_only: false,
    }
}

impl Mesh {
    /// Whether a try that took too long is tried again when a rule sets
    /// `perTryTimeout` and no `retryOn`.
    pub(crate) fn timeouts(&self) -> retries::Timeouts {
        match self.as_istio_1_0 {
            true => retries::Timeouts::EndTheTry,
            false => retries::Timeouts::EndTheRequest,
        }
    }
}
