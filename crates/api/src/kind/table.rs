//! The rows.

use serde::{Deserialize, Serialize};

use super::{
    Effect::{Configures, Decides, NotYet},
    Row, Scope,
};
use crate::schema::{
    cluster, destination_rule, gateway, ingress, service, service_entry, sidecar, virtual_service,
    workload,
};

/// A kind of the core group, unless a row says otherwise.
const CORE: Row = Row {
    name: "",
    text: "",
    group: "",
    versions: &["v1"],
    older: &[],
    plural: "",
    short: &[],
    scope: Scope::Namespaced,
    effect: super::Effect::Unrelated,
    defined: false,
    columns: &[],
    fields: None,
};
/// Workloads.
const APPS: Row = Row { group: "apps", fields: None, ..CORE };
/// Webhooks of the API server.
const ADMISSION: Row = Row {
    group: "admissionregistration.k8s.io",
    scope: Scope::Cluster,
    fields: Some(cluster::WEBHOOK_CONFIGURATION),
    ..CORE
};
/// What Kubernetes has of gateways.
const NETWORK: Row = Row { group: "networking.k8s.io", ..CORE };
/// Istio's routing.
const NETWORKING: Row = Row {
    group: "networking.istio.io",
    versions: &["v1", "v1beta1", "v1alpha3"],
    effect: NotYet,
    defined: true,
    ..CORE
};
/// Istio's policies.
const SECURITY: Row =
    Row { group: "security.istio.io", versions: &["v1", "v1beta1"], ..NETWORKING };
/// Kinds that Istio had before 1.6, and that its older courses use.
const RBAC: Row =
    Row { group: "rbac.istio.io", versions: &["v1alpha1"], defined: false, ..NETWORKING };
/// The Gateway API, whose definitions its users bring.
const GATEWAY_API: Row = Row {
    group: "gateway.networking.k8s.io",
    versions: &["v1", "v1beta1", "v1alpha3", "v1alpha2"],
    effect: NotYet,
    ..CORE
};

/// Makes the enumeration and the table of the same rows, so that neither lacks one.
macro_rules! kinds {
    ($($kind:ident: $row:expr,)*) => {
        /// A kind of object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Kind {
            $(
                #[doc = concat!("`", stringify!($kind), "` of the table.")]
                $kind,
            )*
        }

        impl Kind {
            pub(super) const ALL: &'static [Self] = &[$(Self::$kind,)*];

            pub(super) fn row(self) -> &'static Row {
                match self {
                    $(Self::$kind => const { &$row },)*
                }
            }
        }
    };
}

kinds! {
    Namespace: Row { name: "Namespace", plural: "namespaces", short: &["ns"], scope: Scope::Cluster, effect: Decides, fields: Some(cluster::NAMESPACE), ..CORE },
    Pod: Row { name: "Pod", plural: "pods", short: &["po"], effect: Decides, fields: Some(workload::POD), ..CORE },
    Service: Row { name: "Service", plural: "services", short: &["svc"], effect: Configures, fields: Some(service::SERVICE), ..CORE },
    ServiceAccount: Row { name: "ServiceAccount", plural: "serviceaccounts", short: &["sa"], fields: Some(cluster::SERVICE_ACCOUNT), ..CORE },
    ConfigMap: Row { name: "ConfigMap", plural: "configmaps", short: &["cm"], effect: Configures, fields: Some(cluster::CONFIG_MAP), ..CORE },
    Secret: Row { name: "Secret", plural: "secrets", fields: Some(cluster::SECRET), ..CORE },
    Deployment: Row { name: "Deployment", plural: "deployments", short: &["deploy"], older: &["extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"], fields: Some(workload::DEPLOYMENT), ..APPS },
    ReplicaSet: Row { name: "ReplicaSet", plural: "replicasets", short: &["rs"], older: &["extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"], fields: Some(workload::REPLICA_SET), ..APPS },
    EndpointSlice: Row { name: "EndpointSlice", plural: "endpointslices", effect: Decides, group: "discovery.k8s.io", fields: Some(service::ENDPOINT_SLICE), ..CORE },
    Ingress: Row { name: "Ingress", plural: "ingresses", short: &["ing"], effect: Configures, fields: Some(ingress::INGRESS), ..NETWORK },
    IngressClass: Row { name: "IngressClass", plural: "ingressclasses", scope: Scope::Cluster, effect: Decides, fields: Some(ingress::INGRESS_CLASS), ..NETWORK },
    CustomResourceDefinition: Row { name: "CustomResourceDefinition", plural: "customresourcedefinitions", short: &["crd", "crds"], scope: Scope::Cluster, group: "apiextensions.k8s.io", fields: Some(cluster::CUSTOM_RESOURCE_DEFINITION), ..CORE },
    MutatingWebhookConfiguration: Row { name: "MutatingWebhookConfiguration", plural: "mutatingwebhookconfigurations", ..ADMISSION },
    ValidatingWebhookConfiguration: Row { name: "ValidatingWebhookConfiguration", plural: "validatingwebhookconfigurations", ..ADMISSION },
    Gateway: Row { name: "Gateway", plural: "gateways", short: &["gw"], effect: Configures, fields: Some(gateway::GATEWAY), ..NETWORKING },
    VirtualService: Row { name: "VirtualService", plural: "virtualservices", short: &["vs"], effect: Configures, columns: &[("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")], fields: Some(virtual_service::VIRTUAL_SERVICE), ..NETWORKING },
    DestinationRule: Row { name: "DestinationRule", plural: "destinationrules", short: &["dr"], effect: Configures, columns: &[("Host", ".spec.host")], fields: Some(destination_rule::DESTINATION_RULE), ..NETWORKING },
    EnvoyFilter: Row { name: "EnvoyFilter", plural: "envoyfilters", versions: &["v1alpha3"], ..NETWORKING },
    ProxyConfig: Row { name: "ProxyConfig", plural: "proxyconfigs", versions: &["v1beta1"], ..NETWORKING },
    ServiceEntry: Row { name: "ServiceEntry", plural: "serviceentries", short: &["se"], effect: Configures, fields: Some(service_entry::SERVICE_ENTRY), columns: &[("Hosts", ".spec.hosts"), ("Location", ".spec.location"), ("Resolution", ".spec.resolution")], ..NETWORKING },
    Sidecar: Row { name: "Sidecar", plural: "sidecars", effect: Configures, fields: Some(sidecar::SIDECAR), ..NETWORKING },
    WorkloadEntry: Row { name: "WorkloadEntry", plural: "workloadentries", short: &["we"], effect: Configures, fields: Some(service_entry::WORKLOAD_ENTRY), columns: &[("Address", ".spec.address")], ..NETWORKING },
    WorkloadGroup: Row { name: "WorkloadGroup", plural: "workloadgroups", short: &["wg"], ..NETWORKING },
    AuthorizationPolicy: Row { name: "AuthorizationPolicy", plural: "authorizationpolicies", short: &["ap"], columns: &[("Action", ".spec.action")], ..SECURITY },
    PeerAuthentication: Row { name: "PeerAuthentication", plural: "peerauthentications", short: &["pa"], columns: &[("Mode", ".spec.mtls.mode")], ..SECURITY },
    RequestAuthentication: Row { name: "RequestAuthentication", plural: "requestauthentications", short: &["ra"], ..SECURITY },
    Telemetry: Row { name: "Telemetry", plural: "telemetries", short: &["telemetry"], versions: &["v1", "v1alpha1"], group: "telemetry.istio.io", ..NETWORKING },
    WasmPlugin: Row { name: "WasmPlugin", plural: "wasmplugins", versions: &["v1alpha1"], group: "extensions.istio.io", ..NETWORKING },
    ServiceRole: Row { name: "ServiceRole", plural: "serviceroles", ..RBAC },
    ServiceRoleBinding: Row { name: "ServiceRoleBinding", plural: "servicerolebindings", ..RBAC },
    RbacConfig: Row { name: "RbacConfig", plural: "rbacconfigs", ..RBAC },
    ClusterRbacConfig: Row { name: "ClusterRbacConfig", plural: "clusterrbacconfigs", scope: Scope::Cluster, ..RBAC },
    AuthenticationPolicy: Row { name: "Policy", plural: "policies", group: "authentication.istio.io", ..RBAC },
    MeshPolicy: Row { name: "MeshPolicy", plural: "meshpolicies", scope: Scope::Cluster, group: "authentication.istio.io", ..RBAC },
    GatewayClass: Row { name: "GatewayClass", plural: "gatewayclasses", scope: Scope::Cluster, ..GATEWAY_API },
    GatewayOfGatewayApi: Row { name: "Gateway", plural: "gateways", text: "Gateway.gateway.networking.k8s.io", ..GATEWAY_API },
    HttpRoute: Row { name: "HTTPRoute", plural: "httproutes", ..GATEWAY_API },
    GrpcRoute: Row { name: "GRPCRoute", plural: "grpcroutes", ..GATEWAY_API },
    TlsRoute: Row { name: "TLSRoute", plural: "tlsroutes", ..GATEWAY_API },
    TcpRoute: Row { name: "TCPRoute", plural: "tcproutes", ..GATEWAY_API },
    UdpRoute: Row { name: "UDPRoute", plural: "udproutes", ..GATEWAY_API },
    ReferenceGrant: Row { name: "ReferenceGrant", plural: "referencegrants", ..GATEWAY_API },
    BackendTlsPolicy: Row { name: "BackendTLSPolicy", plural: "backendtlspolicies", ..GATEWAY_API },
    ListenerSet: Row { name: "ListenerSet", plural: "listenersets", ..GATEWAY_API },
}
