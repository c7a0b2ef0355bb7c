//! What holds for a whole proxy.

use serde_json::Value;
use weft_api::mesh_config::MeshConfig;
use weft_config::{AccessLog, LogFormat, Outside, ProcessLimits, Settings, Workload};

use crate::{Client, clusters::shares, model::mesh_config::Mesh};

/// The settings of `client`'s proxy; `outside` says what happens to traffic that leaves the mesh.
pub(crate) fn of_client(client: &Client, mesh: &Mesh, outside: Outside) -> Settings {
    Settings {
        workload: Workload { cluster: mesh.cluster.clone(), ..client.workload.clone() },
        // All of them: a rule that names another one must not reach the proxy before it.
        labels: client.labels.clone().into_iter().collect(),
        locality: shares::place(&client.labels).unwrap_or_default(),
        outside,
        access_log: access_log(&mesh.config),
        limits: ProcessLimits::new(),
        ..Settings::default()
    }
}

fn access_log(config: &MeshConfig) -> Option<AccessLog> {
    if config.access_log_file.is_empty() {
        return None;
    }
    let format = match config.access_log_encoding.as_str() {
        "JSON" => LogFormat::Json(fields(&config.access_log_format)),
        _ => LogFormat::Text(config.access_log_format.clone()),
    };
    Some(AccessLog { path: config.access_log_file.clone(), format })
}

/// The fields of a JSON log's format, which is itself a JSON object of texts;
/// none, which means Istio's default, when it is not.
fn fields(format: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::from_str(format) else { return Vec::new() };
    let texts = fields.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some((name, text)),
        _ => None,
    });
    texts.collect()
}
