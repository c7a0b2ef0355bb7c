//! ProxyConfig of one pod: the mesh's, with the pod's own over it.

use serde_json::{Map, Value};
use weft_api::{Diagnostic, Key, Kind};

use crate::{Settings, annotations::Annotations};

/// The annotation with a pod's own settings, as YAML.
pub(crate) const ANNOTATION: &str = "proxy.istio.io/config";

/// Where the status of the sidecar is served unless told otherwise.
const STATUS_PORT: u16 = 15020;

/// What holds for the proxy of one pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyConfig(Map<String, Value>);

impl ProxyConfig {
    /// The mesh's settings with the pod's own over them. Fields are replaced, but
    /// `proxyMetadata` is merged by key, as in Istio.
    pub(crate) fn of(annotations: Annotations<'_>, settings: &Settings) -> Self {
        let mut merged = settings.proxy.clone();
        let own = annotations.text(ANNOTATION).and_then(|text| own(text).ok());
        if let Some((Value::Object(own), _)) = own {
            for (name, value) in own {
                match (merged.get_mut(&name), value) {
                    (Some(Value::Object(known)), Value::Object(more))
                        if name == "proxyMetadata" =>
                    {
                        known.extend(more);
                    }
                    (_, value) => {
                        merged.insert(name, value);
                    }
                }
            }
        }
        let port = annotations.text("status.sidecar.istio.io/port");
        if let Some(port) = port.and_then(|text| text.parse::<u16>().ok()) {
            merged.insert("statusPort".to_owned(), port.into());
        }
        Self(merged)
    }

    /// As the proxy gets it; what is Istio's default anyway is left out.
    pub(crate) fn to_text(&self, settings: &Settings) -> String {
        let mut told = self.0.clone();
        let usual = [
            ("discoveryAddress", Value::from(settings.discovery_address.as_str())),
            ("statusPort", STATUS_PORT.into()),
            ("holdApplicationUntilProxyStarts", false.into()),
            ("interceptionMode", "REDIRECT".into()),
        ];
        for (name, usual) in usual {
            if told.get(name) == Some(&usual) {
                told.remove(name);
            }
        }
        Value::Object(told).to_string()
    }

    /// Whether the application is started after the proxy is ready.
    pub(crate) fn holds_application(&self) -> bool {
        self.0.get("holdApplicationUntilProxyStarts") == Some(&Value::Bool(true))
    }

    /// Where the proxy's status is served; none when nowhere.
    pub(crate) fn status_port(&self) -> Option<u16> {
        let port = self.0.get("statusPort").and_then(Value::as_u64);
        let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(STATUS_PORT);
        (port != 0).then_some(port)
    }

    /// Where the control plane is, if it says so.
    pub(crate) fn discovery_address(&self) -> Option<&str> {
        self.0.get("discoveryAddress")?.as_str()
    }

    /// Variables of the proxy, by name.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let metadata = self.0.get("proxyMetadata").and_then(Value::as_object);
        let entries = metadata.into_iter().flatten();
        entries.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }
}

/// The settings that an annotation's text has, and what is wrong with them; or why
/// it cannot be read at all.
pub(crate) fn own(text: &str) -> Result<(Value, Vec<Diagnostic>), String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let reason = error.to_string();
        format!("is not YAML: {}", reason.lines().next().unwrap_or_default())
    })?;
    if !value.is_object() && !value.is_null() {
        return Err("is not a map of settings".to_owned());
    }
    Ok(weft_api::proxy_config(&value, &Key::new(Kind::Pod, "", ""), ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(mesh: Value, own: &str, expected: &str) {
        let pod = json!({"metadata": {"annotations": {ANNOTATION: own}}});
        let Value::Object(proxy) = mesh else { panic!("a map is needed") };
        let settings = Settings { proxy, ..Settings::default() };
        let config = ProxyConfig::of(Annotations::of(&pod), &settings);
        assert_eq!(config.to_text(&settings), expected);
    }

    #[test]
    fn a_pods_own_settings_stand_over_the_meshs() {
        check(json!({}), "", "{}");
        check(json!({"concurrency": 2}), "concurrency: 4", r#"{"concurrency":4}"#);
        check(json!({"concurrency": 2}), "{\"statusPort\": 15020}", r#"{"concurrency":2}"#);
        check(
            json!({"proxyMetadata": {"A": "1", "B": "2"}}),
            "proxyMetadata: {B: '3'}",
            r#"{"proxyMetadata":{"A":"1","B":"3"}}"#,
        );
        check(json!({"concurrency": 2}), "[nonsense", r#"{"concurrency":2}"#);
    }
}
