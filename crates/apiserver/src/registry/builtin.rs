//! The resources that need no definition, as a table.
//!
//! Kinds that the laptop only stores (roles, leases, events) stand beside those
//! that its controllers and its node act on; a row does not say which is which.

use weft_api::Kind;

use crate::resource::{Origin, Resource};

/// Group, version, plural, kind, scope, short names, subresources.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    ResourceScope,
    &'static str,
    &'static str,
);

#[derive(Clone, Copy, PartialEq)]
enum ResourceScope {
    Namespaced,
    Cluster,
}
use ResourceScope::{Cluster, Namespaced};

const POD: &str = "status log exec attach portforward proxy eviction";

/// Kinds that the mesh's table of kinds describes, and their subresources.
const KINDS: &[(Kind, &str)] = &[
    (Kind::ConfigMap, ""),
    (Kind::Namespace, "status finalize"),
    (Kind::Pod, POD),
    (Kind::Secret, ""),
    (Kind::ServiceAccount, "token"),
    (Kind::Service, "status proxy"),
    (Kind::Deployment, "status scale"),
    (Kind::ReplicaSet, "status scale"),
    (Kind::MutatingWebhookConfiguration, ""),
    (Kind::ValidatingWebhookConfiguration, ""),
    (Kind::CustomResourceDefinition, "status"),
    (Kind::EndpointSlice, ""),
];

/// The others.
const ROWS: &[Row] = &[
    ("", "v1", "endpoints", "Endpoints", Namespaced, "ep", ""),
    ("", "v1", "events", "Event", Namespaced, "ev", ""),
    ("", "v1", "nodes", "Node", Cluster, "no", "status"),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", Namespaced, "pvc", "status"),
    ("", "v1", "persistentvolumes", "PersistentVolume", Cluster, "pv", "status"),
    ("apps", "v1", "daemonsets", "DaemonSet", Namespaced, "ds", "status"),
    ("apps", "v1", "statefulsets", "StatefulSet", Namespaced, "sts", "status scale"),
    ("batch", "v1", "cronjobs", "CronJob", Namespaced, "cj", "status"),
    ("batch", "v1", "jobs", "Job", Namespaced, "", "status"),
    ("extensions", "v1beta1", "deployments", "Deployment", Namespaced, "", "status"),
    ("events.k8s.io", "v1", "events", "Event", Namespaced, "ev", ""),
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
    ("networking.k8s.io", "v1", "ingresses", "Ingress", Namespaced, "ing", "status"),
    ("networking.k8s.io", "v1", "ingressclasses", "IngressClass", Cluster, "", ""),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", Namespaced, "netpol", ""),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", Namespaced, "pdb", "status"),
    (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", Cluster, "", ""),
    (RBAC, "v1", "clusterroles", "ClusterRole", Cluster, "", ""),
    (RBAC, "v1", "rolebindings", "RoleBinding", Namespaced, "", ""),
    (RBAC, "v1", "roles", "Role", Namespaced, "", ""),
];

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
    let mut all: Vec<Resource> = ROWS.iter().map(of_row).chain(KINDS.iter().map(of_kind)).collect();
    let place = |one: &Resource| (one.group.clone(), one.plural.clone());
    all.sort_by_key(place);
    all
}

fn of_row(&(group, version, plural, kind, scope, short, sub): &Row) -> Resource {
    let short = short.split_whitespace().map(str::to_owned).collect();
    resource((group, version), (plural, kind), scope == Namespaced, (short, sub))
}

fn of_kind(&(kind, sub): &(Kind, &'static str)) -> Resource {
    let short = kind.short_names().iter().map(ToString::to_string).collect();
    let version = (kind.group(), kind.versions()[0]);
    resource(version, (kind.plural(), kind.name()), kind.namespaced(), (short, sub))
}

fn resource(
    (group, version): (&str, &str),
    (plural, kind): (&str, &str),
    namespaced: bool,
    (short_names, sub): (Vec<String>, &str),
) -> Resource {
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
        namespaced,
        short_names,
        categories,
        subresources: sub.split_whitespace().map(str::to_owned).collect(),
        origin: Origin::BuiltIn,
    }
}
