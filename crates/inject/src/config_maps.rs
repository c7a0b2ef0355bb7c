//! The mesh's settings about sidecars, from the ConfigMaps that Istio keeps
//! them in: `istio` (MeshConfig) and `istio-sidecar-injector` (Helm's values, and
//! the injector's own configuration).
//!
//! What is wrong or not served costs only itself, and is reported.

use serde_json::{Map, Value};
use weft_api::{Key, Kind};

use crate::{Policy, Settings, Warning};

/// The ConfigMap with MeshConfig.
pub const MESH: &str = "istio";
/// The ConfigMap with what the injector goes by.
pub const INJECTOR: &str = "istio-sidecar-injector";

/// The texts of the ConfigMaps; what is not there says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Texts<'a> {
    /// ConfigMap [`MESH`], key `mesh`.
    pub mesh: Option<&'a str>,
    /// ConfigMap [`INJECTOR`], key `values`.
    pub values: Option<&'a str>,
    /// ConfigMap [`INJECTOR`], key `config`.
    pub config: Option<&'a str>,
}

impl<'a> Texts<'a> {
    /// The texts that `text` finds, by the name of a ConfigMap of the mesh's own namespace and
    /// a key of its data.
    pub fn find(text: impl Fn(&str, &str) -> Option<&'a str>) -> Self {
        Self {
            mesh: text(MESH, "mesh"),
            values: text(INJECTOR, "values"),
            config: text(INJECTOR, "config"),
        }
    }
}

/// Values that are set by a mesh's owner and have no effect here: where, what
/// they are when they ask for nothing, and what happens instead.
const NOT_HONOURED: &[(&str, &[&str], &str)] = &[
    ("/global/network", &[""], "every pod is of one network"),
    ("/global/caAddress", &[""], "the control plane signs"),
    ("/global/pilotCertProvider", &["", "istiod"], "the control plane signs"),
    ("/global/proxy/privileged", &["false"], "the sidecar is not privileged"),
    ("/global/proxy/enableCoreDump", &["false"], "the sidecar dumps no core"),
    ("/sidecarInjectorWebhook/enableNamespacesByDefault", &["false"], "label the namespaces"),
];

impl Settings {
    /// Istio's defaults with what the mesh's ConfigMaps say over them, and what of
    /// them is wrong or has no effect. MeshConfig's own findings are not among it,
    /// but those of its proxy configuration are.
    pub fn read(texts: Texts<'_>) -> (Self, Vec<Warning>) {
        let mut reader = Reader { settings: Self::default(), warnings: Vec::new() };
        if let Some(mesh) = reader.parse("data.mesh", texts.mesh) {
            reader.mesh(&mesh);
        }
        if let Some(values) = reader.parse("data.values", texts.values) {
            reader.values(&values);
        }
        if let Some(config) = reader.parse("data.config", texts.config) {
            reader.config(&config);
        }
        (reader.settings, reader.warnings)
    }
}

struct Reader {
    settings: Settings,
    warnings: Vec<Warning>,
}

impl Reader {
    fn parse(&mut self, field: &str, text: Option<&str>) -> Option<Value> {
        match serde_saphyr::from_str::<Value>(text?) {
            Ok(value) => Some(value),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                self.warn(field, format!("is not YAML: {reason}; the defaults hold"));
                None
            }
        }
    }

    fn warn(&mut self, field: &str, message: impl Into<String>) {
        self.warnings.push(Warning { field: field.to_owned(), message: message.into() });
    }

    fn mesh(&mut self, mesh: &Value) {
        let settings = &mut self.settings;
        put(&mut settings.trust_domain, mesh, "/trustDomain");
        put(&mut settings.root_namespace, mesh, "/rootNamespace");
        put_flag(&mut settings.merge_metrics, mesh, "/enablePrometheusMerge");
        let key = Key::new(Kind::ConfigMap, settings.root_namespace.clone(), "istio");
        let place = "data.mesh.defaultConfig";
        let (proxy, found) = weft_api::proxy_config(&mesh["defaultConfig"], &key, place);
        if let Value::Object(proxy) = proxy {
            self.settings.proxy = proxy;
        }
        for diagnostic in found {
            self.warn(&diagnostic.field, diagnostic.message);
        }
        put(&mut self.settings.discovery_address, mesh, "/defaultConfig/discoveryAddress");
        put(&mut self.settings.mesh, mesh, "/defaultConfig/meshId");
    }

    fn values(&mut self, values: &Value) {
        let settings = &mut self.settings;
        put(&mut settings.cluster_domain, values, "/global/proxy/clusterDomain");
        put(&mut settings.cluster, values, "/global/multiCluster/clusterName");
        put(&mut settings.mesh, values, "/global/meshID");
        put(&mut settings.revision, values, "/revision");
        put(&mut settings.log_level, values, "/global/proxy/logLevel");
        put(&mut settings.component_log_level, values, "/global/proxy/componentLogLevel");
        put_flag(
            &mut settings.rewrite_probes,
            values,
            "/sidecarInjectorWebhook/rewriteAppHTTPProbe",
        );
        put_number(
            &mut settings.readiness.initial_delay,
            values,
            "/global/proxy/readinessInitialDelaySeconds",
        );
        put_number(&mut settings.readiness.period, values, "/global/proxy/readinessPeriodSeconds");
        put_number(
            &mut settings.readiness.failures,
            values,
            "/global/proxy/readinessFailureThreshold",
        );
        let captured = &mut settings.captured;
        put(&mut captured.include_ranges, values, "/global/proxy/includeIPRanges");
        put(&mut captured.exclude_ranges, values, "/global/proxy/excludeIPRanges");
        put(&mut captured.include_inbound_ports, values, "/global/proxy/includeInboundPorts");
        put(&mut captured.exclude_inbound_ports, values, "/global/proxy/excludeInboundPorts");
        put(&mut captured.include_outbound_ports, values, "/global/proxy/includeOutboundPorts");
        put(&mut captured.exclude_outbound_ports, values, "/global/proxy/excludeOutboundPorts");
        if text(values, "/global/proxy/autoInject").as_deref() == Some("disabled") {
            settings.policy = Policy::Disabled;
        }
        self.image(values);
        self.proxy_of(values);
        for (pointer, nothing, instead) in NOT_HONOURED {
            if let Some(value) = text(values, pointer).filter(|it| !nothing.contains(&it.as_str()))
            {
                let field = format!("data.values{}", pointer.replace('/', "."));
                self.warn(&field, format!("`{value}` is not honoured yet: {instead}"));
            }
        }
    }

    /// The image, and how it is fetched.
    fn image(&mut self, values: &Value) {
        let settings = &mut self.settings;
        let image = text(values, "/global/proxy/image").filter(|image| !image.is_empty());
        let hub = text(values, "/global/hub").filter(|hub| !hub.is_empty());
        match (image, hub) {
            (Some(image), _) if image.contains('/') => settings.image = image,
            (image, Some(hub)) => {
                let name = image.unwrap_or_else(|| "proxyv2".to_owned());
                let tag = text(values, "/global/tag").filter(|tag| !tag.is_empty());
                let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
                settings.image = format!("{}/{name}{tag}", hub.trim_end_matches('/'));
            }
            _ => {}
        }
        let policy = text(values, "/global/imagePullPolicy").filter(|text| !text.is_empty());
        settings.image_pull_policy = policy;
        let secrets = values.pointer("/global/imagePullSecrets").and_then(Value::as_array);
        let name = |secret: &Value| secret.as_str().map(str::to_owned);
        settings.image_pull_secrets = secrets.into_iter().flatten().filter_map(name).collect();
    }

    /// What Helm's values say of the proxy itself.
    fn proxy_of(&mut self, values: &Value) {
        let settings = &mut self.settings;
        let proxy = &values["global"]["proxy"];
        if proxy["resources"].is_object() {
            let amount = |pointer: &str| text(&proxy["resources"], pointer);
            settings.resources.cpu = amount("/requests/cpu");
            settings.resources.memory = amount("/requests/memory");
            settings.resources.cpu_limit = amount("/limits/cpu");
            settings.resources.memory_limit = amount("/limits/memory");
        }
        if text(proxy, "/startupProbe/enabled").as_deref() == Some("false") {
            settings.startup_failures = None;
        } else if let Some(failures) = &mut settings.startup_failures {
            put_number(failures, proxy, "/startupProbe/failureThreshold");
        }
        let lifecycle = proxy["lifecycle"].as_object().filter(|fields| !fields.is_empty());
        settings.lifecycle = lifecycle.cloned().map(Value::Object);
        // What the mesh's own configuration says comes first.
        let mut fill = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                settings.proxy.entry(name).or_insert(value);
            }
        };
        let hold = text(proxy, "/holdApplicationUntilProxyStarts");
        fill("holdApplicationUntilProxyStarts", hold.map(|text| (text == "true").into()));
        let port = text(proxy, "/statusPort").and_then(|text| text.parse::<u16>().ok());
        fill("statusPort", port.map(Into::into));
    }

    fn config(&mut self, config: &Value) {
        let settings = &mut self.settings;
        match text(config, "/policy").as_deref() {
            Some("enabled") => settings.policy = Policy::Enabled,
            Some("disabled") => settings.policy = Policy::Disabled,
            _ => {}
        }
        let list = |name: &str| config[name].as_array().cloned().unwrap_or_default();
        settings.never = list("neverInjectSelector");
        settings.always = list("alwaysInjectSelector");
        let texts = |map: &Map<String, Value>| {
            let texts = map.iter().filter(|(_, value)| value.is_string());
            texts.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        settings.annotations =
            config["injectedAnnotations"].as_object().map(texts).unwrap_or_default();
        let others = config["defaultTemplates"].as_array().into_iter().flatten();
        let others: Vec<&str> =
            others.filter_map(Value::as_str).filter(|name| *name != "sidecar").collect();
        if !others.is_empty() {
            let message = format!("{} is not honoured yet: pods get `sidecar`", others.join(", "));
            self.warn("data.config.defaultTemplates", message);
        }
    }
}

/// A text, number or flag, as a text.
fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.pointer(pointer)?.to_string()),
        _ => None,
    }
}

fn put(place: &mut String, value: &Value, pointer: &str) {
    if let Some(text) = text(value, pointer).filter(|text| !text.is_empty()) {
        *place = text;
    }
}

fn put_number(place: &mut u64, value: &Value, pointer: &str) {
    if let Some(number) = text(value, pointer).and_then(|text| text.parse().ok()) {
        *place = number;
    }
}

fn put_flag(place: &mut bool, value: &Value, pointer: &str) {
    if let Some(flag) = text(value, pointer).and_then(|text| text.parse().ok()) {
        *place = flag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helms_values_choose_image_resources_and_traffic() {
        let values = r#"{"global": {
            "hub": "registry.example/mesh", "tag": 7,
            "imagePullSecrets": ["regcred"],
            "meshID": "blue",
            "network": "east",
            "proxy": {
                "image": "proxyv2", "logLevel": "debug", "excludeIPRanges": "10.9.0.0/16",
                "resources": {"requests": {"cpu": "10m"}},
                "holdApplicationUntilProxyStarts": true,
                "readinessPeriodSeconds": 3
            }
        }, "sidecarInjectorWebhook": {"rewriteAppHTTPProbe": false}}"#;
        let texts = Texts { values: Some(values), ..Texts::default() };
        let (settings, warnings) = Settings::read(texts);
        assert_eq!(settings.image, "registry.example/mesh/proxyv2:7");
        assert_eq!(settings.image_pull_secrets, ["regcred"]);
        assert_eq!(settings.mesh, "blue");
        assert_eq!(settings.log_level, "debug");
        assert_eq!(settings.captured.exclude_ranges, "10.9.0.0/16");
        assert_eq!(settings.captured.include_ranges, "*");
        assert_eq!(settings.resources.cpu.as_deref(), Some("10m"));
        assert_eq!(settings.resources.cpu_limit, None);
        assert_eq!(settings.readiness.period, 3);
        assert_eq!(settings.proxy["holdApplicationUntilProxyStarts"], true);
        assert!(!settings.rewrite_probes);
        let told: Vec<String> =
            warnings.iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
        let expected =
            ["data.values.global.network: `east` is not honoured yet: every pod is of one network"];
        assert_eq!(told, expected);
    }

    #[test]
    fn the_meshs_own_configuration_comes_before_helms_values() {
        let mesh = "\
trustDomain: example.org
defaultConfig:
  hold_application_until_proxy_starts: false
  proxyMetadata: {A: b}
  concurency: 2
";
        let values = "global: {proxy: {holdApplicationUntilProxyStarts: true}}";
        let texts = Texts { mesh: Some(mesh), values: Some(values), config: None };
        let (settings, warnings) = Settings::read(texts);
        assert_eq!(settings.trust_domain, "example.org");
        assert_eq!(settings.proxy["holdApplicationUntilProxyStarts"], false);
        assert_eq!(settings.proxy["proxyMetadata"]["A"], "b");
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].field, "data.mesh.defaultConfig.concurency");
        assert!(warnings[0].message.contains("`concurrency`"), "{}", warnings[0].message);
    }

    #[test]
    fn the_injectors_configuration_chooses_pods() {
        let config = "\
policy: disabled
alwaysInjectSelector: [{matchLabels: {mesh: 'yes'}}]
injectedAnnotations: {note: mesh}
defaultTemplates: [sidecar, own]
";
        let (settings, warnings) =
            Settings::read(Texts { config: Some(config), ..Texts::default() });
        assert_eq!(settings.policy, Policy::Disabled);
        assert_eq!(settings.always.len(), 1);
        assert_eq!(settings.annotations["note"], "mesh");
        assert_eq!(warnings[0].message, "own is not honoured yet: pods get `sidecar`");
    }

    #[test]
    fn what_cannot_be_read_costs_only_itself() {
        let texts = Texts { mesh: Some("a: [b"), values: Some("{}"), config: None };
        let (settings, warnings) = Settings::read(texts);
        assert_eq!(settings, Settings { image_pull_secrets: Vec::new(), ..Settings::default() });
        assert!(warnings[0].message.starts_with("is not YAML"), "{}", warnings[0].message);
    }
}
