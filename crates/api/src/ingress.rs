//! `networking.k8s.io Ingress` and `IngressClass`: hosts and paths at the mesh's gateway.

use serde::{Deserialize, Serialize};

use crate::Metadata;

/// The annotation that named a class before `spec.ingressClassName` did, and that counts first.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// The class that annotations name for the mesh's gateway.
pub const CLASS: &str = "istio";
/// The controller of the classes that are for the mesh's gateway.
pub const CONTROLLER: &str = "istio.io/ingress-controller";

/// `Ingress`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// Name, age, annotations.
    pub metadata: Metadata,
    /// What it says.
    pub spec: IngressSpec,
}

/// `Ingress` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// The IngressClass, which says whose it is.
    pub ingress_class_name: Option<String>,
    /// For requests of every host that no rule takes.
    pub default_backend: Option<IngressBackend>,
    /// Hosts with their paths.
    pub rules: Vec<IngressRule>,
    /// Hosts with their certificates.
    pub tls: Vec<IngressTls>,
}

/// `Ingress` `spec.rules[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressRule {
    /// The host, or `*.` and the rest of one; every host when absent.
    pub host: Option<String>,
    /// Its paths.
    pub http: Option<IngressPaths>,
}

/// `Ingress` `spec.rules[].http`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPaths {
    /// In no order that counts: the longest path that matches wins.
    pub paths: Vec<IngressPath>,
}

/// `Ingress` `spec.rules[].http.paths[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPath {
    /// The path; every path when absent.
    pub path: Option<String>,
    /// `Exact`, `Prefix` (of whole segments) or `ImplementationSpecific`.
    pub path_type: String,
    /// Where requests go.
    pub backend: IngressBackend,
}

/// A backend: a service's port, or another object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressBackend {
    /// The service.
    pub service: Option<IngressService>,
    /// Another object, which nobody serves.
    pub resource: Option<serde_json::Value>,
}

/// A service's port, in the Ingress's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressService {
    /// The service.
    pub name: String,
    /// Its port.
    pub port: IngressPort,
}

/// A port by number, or by name when the number is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPort {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
}

/// `Ingress` `spec.tls[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// The hosts.
    pub hosts: Vec<String>,
    /// The Secret with certificate and key.
    pub secret_name: Option<String>,
}

/// `IngressClass`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressClass {
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: IngressClassSpec,
}

/// `IngressClass` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressClassSpec {
    /// Who serves Ingresses of the class.
    pub controller: String,
}
