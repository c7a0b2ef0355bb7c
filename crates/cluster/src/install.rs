//! The objects that make up an installed mesh, in the order of their creation.
//!
//! The same for a cluster and for the laptop, with Istio's names throughout, so
//! that the tools and manifests of its users find what they look for. Nothing
//! here is sent anywhere.

mod control;
mod definitions;
mod gateway;
mod webhooks;

use serde_json::{Value, json};

/// Name of the control plane's Service, Deployment and ServiceAccount.
pub(crate) const ISTIOD: &str = "istiod";
/// Name of the configuration of the injection webhook.
pub(crate) const INJECTOR: &str = "istio-sidecar-injector";
/// First part of the name of the configuration of the validation webhook.
pub(crate) const VALIDATOR: &str = "istio-validator";
/// The port on which the control plane serves its webhooks.
pub(crate) const WEBHOOK_PORT: u16 = 15017;

/// The domain of the cluster's names where no other is chosen.
const DOMAIN: &str = "cluster.local";

/// What can be chosen about an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace of the mesh's own objects.
    pub namespace: String,
    /// The image of the control plane.
    pub control_image: String,
    /// The image of the gateways.
    pub proxy_image: String,
    /// The text of MeshConfig, as YAML.
    pub mesh: String,
    /// The domain of the cluster's names.
    pub domain: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: "istio-system".to_owned(),
            control_image: concat!("weft/pilot:", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy_image: concat!("weft/proxyv2:", env!("CARGO_PKG_VERSION")).to_owned(),
            mesh: MESH.to_owned(),
            domain: DOMAIN.to_owned(),
        }
    }
}

/// The mesh's settings unless told otherwise: Istio's, with the access log on.
const MESH: &str = "\
accessLogFile: /dev/stdout
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
rootNamespace: istio-system
trustDomain: cluster.local
";

/// Every object of the mesh itself; kinds come before objects of these kinds.
pub fn objects(settings: &Settings) -> Vec<Value> {
    let mut objects = definitions::objects();
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": settings.namespace},
    }));
    objects.extend(control::objects(settings));
    objects.extend(webhooks::objects(settings));
    objects.extend(gateway::objects(settings));
    objects
}

/// An environment variable with a text.
fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// An environment variable with a field of the pod.
fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Kind/name` of everything that is installed.
    fn names() -> Vec<String> {
        let text = |object: &Value, pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned()
        };
        let name = |object| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
        objects(&Settings::default()).iter().map(name).collect()
    }

    #[test]
    fn an_installation_has_istios_names() {
        let names = names();
        for expected in [
            "CustomResourceDefinition/virtualservices.networking.istio.io",
            "CustomResourceDefinition/authorizationpolicies.security.istio.io",
            "Namespace/istio-system",
            "ConfigMap/istio",
            "Deployment/istiod",
            "Service/istiod",
            "MutatingWebhookConfiguration/istio-sidecar-injector",
            "ValidatingWebhookConfiguration/istio-validator-istio-system",
            "Deployment/istio-ingressgateway",
            "Service/istio-ingressgateway",
            "ServiceAccount/istio-ingressgateway-service-account",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected} is not in {names:?}");
        }
    }

    #[test]
    fn another_domain_reaches_the_control_plane_gateways_and_sidecars() {
        let settings = Settings { domain: "east.example".to_owned(), ..Settings::default() };
        let objects = objects(&settings);
        let arguments = |name: &str| {
            let is_it = |object: &&Value| {
                object["kind"] == "Deployment" && object["metadata"]["name"] == name
            };
            let found = objects.iter().find(is_it).expect("a Deployment");
            found["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
        };
        assert_eq!(arguments("istiod"), r#"["control","--domain","east.example"]"#);
        let gateway = arguments("istio-ingressgateway");
        assert!(gateway.contains("$(POD_NAMESPACE).svc.east.example"), "{gateway}");
        let injector = objects
            .iter()
            .find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == INJECTOR);
        let values = injector.expect("the injector's values")["data"]["values"].to_string();
        assert!(values.contains(r#"clusterDomain\":\"east.example"#), "{values}");
    }

    #[test]
    fn nothing_is_installed_twice() {
        let mut names = names();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn selectors_select_what_the_deployments_make() {
        let objects = objects(&Settings::default());
        for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            let service = objects
                .iter()
                .find(|object| {
                    object["kind"] == "Service"
                        && object["metadata"]["name"] == deployment["metadata"]["name"]
                })
                .expect("each Deployment has a Service of its name");
            for selector in
                [&deployment["spec"]["selector"]["matchLabels"], &service["spec"]["selector"]]
            {
                for (label, value) in selector.as_object().expect("a selector is a map") {
                    assert_eq!(&labels[label], value, "{label}");
                }
            }
        }
    }
}
