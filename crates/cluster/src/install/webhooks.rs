//! Where the API server asks about pods and about the mesh's own objects.
//!
//! The selectors are Istio's: a namespace or a pod that asks is injected, one
//! that says anything else is not. The authority is filled in by the control
//! plane, which makes it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weft_api::{Kind, kind::Effect};

use super::{INJECTOR, ISTIOD, Settings, VALIDATOR};

const INJECTION: &str = "istio-injection";
const REVISION: &str = "istio.io/rev";
const INJECT: &str = "sidecar.istio.io/inject";

/// Both webhook configurations.
pub(super) fn objects(settings: &Settings) -> Vec<Value> {
    vec![injector(settings), validator(settings)]
}

fn is(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "In", "values": values})
}

fn is_not(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "NotIn", "values": values})
}

fn absent(key: &str) -> Value {
    json!({"key": key, "operator": "DoesNotExist"})
}

fn injector(settings: &Settings) -> Value {
    let hooks = [
        (
            "rev.namespace",
            json!([is(REVISION, &["default"]), absent(INJECTION)]),
            json!([is_not(INJECT, &["false"])]),
        ),
        (
            "rev.object",
            json!([absent(REVISION), absent(INJECTION)]),
            json!([is_not(INJECT, &["false"]), is(REVISION, &["default"])]),
        ),
        ("namespace", json!([is(INJECTION, &["enabled"])]), json!([is_not(INJECT, &["false"])])),
        (
            "object",
            json!([absent(INJECTION), absent(REVISION)]),
            json!([is(INJECT, &["true"]), absent(REVISION)]),
        ),
    ];
    let hook = |(name, namespaces, pods): (&str, Value, Value)| {
        json!({
            "name": format!("{name}.sidecar-injector.istio.io"),
            "clientConfig": service(settings, "/inject"),
            "sideEffects": "None",
            "rules": [{
                "operations": ["CREATE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
            }],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 10,
            "namespaceSelector": {"matchExpressions": namespaces},
            "objectSelector": {"matchExpressions": pods},
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": INJECTOR, "labels": {"app": "sidecar-injector"}},
        "webhooks": hooks.into_iter().map(hook).collect::<Vec<_>>(),
    })
}

/// Validation is asked, but not waited for, until the control plane serves it:
/// it sets the failure policy when it fills in its authority.
fn validator(settings: &Settings) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": format!("{VALIDATOR}-{}", settings.namespace),
            "labels": {"app": ISTIOD, "istio": "istiod"},
        },
        "webhooks": [{
            "name": "rev.validation.istio.io",
            "clientConfig": service(settings, "/validate"),
            "rules": [{
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": groups(),
                "apiVersions": ["*"],
                "resources": ["*"],
            }],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
        }],
    })
}

/// The groups of the kinds that are checked: those of the mesh, and those that users expect
/// to have an effect.
fn groups() -> BTreeSet<&'static str> {
    let checked = |kind: &Kind| kind.is_defined_by_mesh() || kind.effect() == Effect::NotYet;
    Kind::all().filter(checked).map(Kind::group).collect()
}

fn service(settings: &Settings, path: &str) -> Value {
    json!({"service": {
        "name": ISTIOD,
        "namespace": settings.namespace,
        "path": path,
        "port": 443,
    }})
}
