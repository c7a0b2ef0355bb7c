//! The resources that need no definition, as a table.
//!
//! Kinds that the laptop only stores (roles, leases, events) stand beside those
//! that its controllers and its node act on; a row does not say which is which.

use crate::resource::{Origin, Resource};

/// Group, version, plural, kind, scope, short names, subresources.
type Row =
    (&'static str, &'static str, &'static str, &'static str, Scope, &'static str, &'static str);

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Namespaced,
    Cluster,
}
use Scope::{Cluster, Namespaced};

const POD: &str = "status log exec attach portforward proxy eviction";

const ROWS: &[Row] = &[
    ("", "v1", "configmaps", "ConfigMap", Namespaced, "cm", ""),
    ("", "v1", "endpoints", "Endpoints", Namespaced, "ep", ""),
    ("", "v1", "events", "Event", Namespaced, "ev", ""),
    ("", "v1", "namespaces", "Namespace", Cluster, "ns", "status finalize"),
    ("", "v1", "nodes", "Node", Cluster, "no", "status"),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", Namespaced, "pvc", "status"),
    ("", "v1", "persistentvolumes", "PersistentVolume", Cluster, "pv", "status"),
    ("", "v1", "pods", "Pod", Namespaced, "po", POD),
    ("", "v1", "secrets", "Secret", Namespaced, "", ""),
    ("", "v1", "serviceaccounts", "ServiceAccount", Namespaced, "sa", "token"),
    ("", "v1", "services", "Service", Namespaced, "svc", "status proxy"),
    ("apps", "v1", "daemonsets", "DaemonSet", Namespaced, "ds", "status"),
    ("apps", "v1", "deployments", "Deployment", Namespaced, "deploy", "status scale"),
    ("apps", "v1", "replicasets", "ReplicaSet", Namespaced, "rs", "status scale"),
    ("apps", "v1", "statefulsets", "StatefulSet", Namespaced, "sts", "status scale"),
    ("batch", "v1", "cronjobs", "CronJob", Namespaced, "cj", "status"),
    ("batch", "v1", "jobs", "Job", Namespaced, "", "status"),
    ("extensions", "v1beta1", "deployments", "Deployment", Namespaced, "", ""),
    ("events.k8s.io", "v1", "events", "Event", Namespaced, "ev", ""),
    (
        ADMISSION,
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        Cluster,
        "",
        "",
    ),
    (
        ADMISSION,
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        Cluster,
        "",
        "",
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        Cluster,
        "crd crds",
        "status",
    ),
    ("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", Cluster, "", ""),
    ("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", Cluster, "", ""),
    ("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", Cluster, "", ""),
    (
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        Cluster,
        "",
        "",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        Cluster,
        "",
        "",
    ),
    (
        "authorization.k8s.io",
        "v1",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        Namespaced,
        "",
        "",
    ),
    ("coordination.k8s.io", "v1", "leases", "Lease", Namespaced, "", ""),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", Namespaced, "", ""),
    ("networking.k8s.io", "v1", "ingresses", "Ingress", Namespaced, "ing", "status"),
    ("networking.k8s.io", "v1", "ingressclasses", "IngressClass", Cluster, "", ""),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", Namespaced, "netpol", ""),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", Namespaced, "pdb", "status"),
    (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", Cluster, "", ""),
    (RBAC, "v1", "clusterroles", "ClusterRole", Cluster, "", ""),
    (RBAC, "v1", "rolebindings", "RoleBinding", Namespaced, "", ""),
    (RBAC, "v1", "roles", "Role", Namespaced, "", ""),
];

const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// What `kubectl get all` shows.
const ALL: &[&str] = &[
    "pods",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "jobs",
    "cronjobs",
];

/// Every built-in resource.
pub fn all() -> Vec<Resource> {
    ROWS.iter().map(resource).collect()
}

fn resource(&(group, version, plural, kind, scope, short, sub): &Row) -> Resource {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let categories = match plural {
        plural if ALL.contains(&plural) && group != "extensions" => vec!["all".to_owned()],
        _ if group.starts_with("admissionregistration") || group.starts_with("apiextensions") => {
            vec!["api-extensions".to_owned()]
        }
        _ => Vec::new(),
    };
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_ascii_lowercase(),
        kind: kind.to_owned(),
        namespaced: scope == Namespaced,
        short_names: words(short),
        categories,
        subresources: words(sub),
        origin: Origin::BuiltIn,
    }
}
