//! The kinds of objects that Weft reads.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `v1 Namespace`
    Namespace,
    /// `v1 Pod`
    Pod,
    /// `v1 Service`
    Service,
    /// `v1 ServiceAccount`
    ServiceAccount,
    /// `v1 ConfigMap`
    ConfigMap,
    /// `v1 Secret`
    Secret,
    /// `apps/v1 Deployment`
    Deployment,
    /// `apps/v1 ReplicaSet`
    ReplicaSet,
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlice,
    /// `apiextensions.k8s.io/v1 CustomResourceDefinition`
    CustomResourceDefinition,
    /// `admissionregistration.k8s.io/v1 MutatingWebhookConfiguration`
    MutatingWebhookConfiguration,
    /// `admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration`
    ValidatingWebhookConfiguration,
    /// `networking.istio.io Gateway`
    Gateway,
    /// `networking.istio.io VirtualService`
    VirtualService,
    /// `networking.istio.io DestinationRule`
    DestinationRule,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::Namespace,
        Self::Pod,
        Self::Service,
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Secret,
        Self::Deployment,
        Self::ReplicaSet,
        Self::EndpointSlice,
        Self::CustomResourceDefinition,
        Self::MutatingWebhookConfiguration,
        Self::ValidatingWebhookConfiguration,
        Self::Gateway,
        Self::VirtualService,
        Self::DestinationRule,
    ];

    /// The name that users write in `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::EndpointSlice => "EndpointSlice",
            Self::CustomResourceDefinition => "CustomResourceDefinition",
            Self::MutatingWebhookConfiguration => "MutatingWebhookConfiguration",
            Self::ValidatingWebhookConfiguration => "ValidatingWebhookConfiguration",
            Self::Gateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
        }
    }

    /// The API group, empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Namespace
            | Self::Pod
            | Self::Service
            | Self::ServiceAccount
            | Self::ConfigMap
            | Self::Secret => "",
            Self::Deployment | Self::ReplicaSet => "apps",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::CustomResourceDefinition => "apiextensions.k8s.io",
            Self::MutatingWebhookConfiguration | Self::ValidatingWebhookConfiguration => {
                "admissionregistration.k8s.io"
            }
            Self::Gateway | Self::VirtualService | Self::DestinationRule => "networking.istio.io",
        }
    }

    /// The versions of the group in which the kind is read, newest first.
    pub fn versions(self) -> &'static [&'static str] {
        match self.group() {
            "networking.istio.io" => &["v1", "v1beta1", "v1alpha3"],
            _ => &["v1"],
        }
    }

    /// The name in URLs.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::ServiceAccount => "serviceaccounts",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::EndpointSlice => "endpointslices",
            Self::CustomResourceDefinition => "customresourcedefinitions",
            Self::MutatingWebhookConfiguration => "mutatingwebhookconfigurations",
            Self::ValidatingWebhookConfiguration => "validatingwebhookconfigurations",
            Self::Gateway => "gateways",
            Self::VirtualService => "virtualservices",
            Self::DestinationRule => "destinationrules",
        }
    }

    /// Whether objects of the kind live in a namespace.
    pub fn namespaced(self) -> bool {
        !matches!(
            self,
            Self::Namespace
                | Self::CustomResourceDefinition
                | Self::MutatingWebhookConfiguration
                | Self::ValidatingWebhookConfiguration
        )
    }

    /// The kind that `api_version` and `kind` of a document name.
    ///
    /// `extensions/v1beta1` and `apps/v1beta*` name the same Deployments and ReplicaSets.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self::ALL.into_iter().find(|known| {
            known.name() == kind
                && (known.group() == group && known.versions().contains(&version)
                    || known.group() == "apps"
                        && matches!(
                            (group, version),
                            ("extensions", "v1beta1") | ("apps", "v1beta1" | "v1beta2")
                        ))
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind that Weft reads")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}
