//! Objects, and what is said of them. Each case is a patch of one that is right.

use serde_json::{Value, json};

use super::*;
use crate::{defaults, form, registry::Registry};

/// An object of each kind that is right.
fn right(kind: &str) -> Value {
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    let template = json!({"metadata": {"labels": {"app": "w"}}, "spec": pod});
    let workload = json!({"selector": {"matchLabels": {"app": "w"}}, "template": template});
    let (api_version, rest) = match kind {
        "Pod" => ("v1", json!({"spec": pod})),
        "Service" => ("v1", json!({"spec": {"ports": [{"port": 80}]}})),
        "ConfigMap" => ("v1", json!({"data": {"a": "b"}})),
        "Secret" => ("v1", json!({"data": {"a": "Yg=="}})),
        "Deployment" => ("apps/v1", json!({"spec": workload})),
        "EndpointSlice" => (
            "discovery.k8s.io/v1",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.9"]}]}),
        ),
        "Endpoints" => ("v1", json!({"subsets": [{"addresses": [{"ip": "10.244.0.9"}]}]})),
        "Role" => (
            "rbac.authorization.k8s.io/v1",
            json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
        ),
        "RoleBinding" => (
            "rbac.authorization.k8s.io/v1",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
                   "subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
        ),
        "ValidatingWebhookConfiguration" => (
            "admissionregistration.k8s.io/v1",
            json!({"webhooks": [{"name": "a.b.c", "clientConfig": {"url": "https://x"},
                   "sideEffects": "None", "admissionReviewVersions": ["v1"]}]}),
        ),
        other => panic!("no object of kind {other}"),
    };
    let mut object = json!({"apiVersion": api_version, "kind": kind,
                            "metadata": {"name": "w", "namespace": "default"}});
    json_patch::merge(&mut object, &rest);
    object
}

/// Fields and messages of what is wrong with a right object after a merge patch.
fn wrong(kind: &str, patch: &Value, old: Option<&Value>) -> String {
    let mut new = right(kind);
    json_patch::merge(&mut new, patch);
    let api_version = new["apiVersion"].as_str().unwrap();
    let resource = Registry::built_in().kind(api_version, kind).unwrap();
    form::decode(&resource, &mut new).unwrap();
    defaults::apply(&resource, &mut new);
    let causes = object(&resource, &new, old);
    causes.iter().map(|cause| format!("{}: {}\n", cause.field, cause.message)).collect()
}

#[track_caller]
fn check(kind: &str, patch: Value, expected: &str) {
    assert_eq!(wrong(kind, &json!({}), None), "", "{kind}");
    let found = wrong(kind, &patch, None);
    assert!(found.contains(expected) && !expected.is_empty(), "{patch}: {found}");
}

#[test]
fn metadata_is_checked_on_every_kind() {
    let meta = |metadata: Value| json!({"metadata": metadata});
    for kind in ["Pod", "ConfigMap", "Deployment", "Role"] {
        check(
            kind,
            meta(json!({"labels": {"a": "b c"}})),
            "metadata.labels: Invalid value: \"b c\"",
        );
        check(
            kind,
            meta(json!({"labels": {"a b": ""}})),
            "metadata.labels: Invalid value: \"a b\"",
        );
        let text = "x".repeat(256 << 10);
        let expected = "metadata.annotations: Too long: may not be more than 262144 bytes\n";
        check(kind, meta(json!({"annotations": {"a": text}})), expected);
        check(kind, meta(json!({"finalizers": ["no one"]})), "metadata.finalizers[0]: Invalid");
    }
}

#[test]
fn pods_are_checked() {
    let container = |container: Value| {
        let mut whole = json!({"name": "c", "image": "i"});
        json_patch::merge(&mut whole, &container);
        json!({"spec": {"containers": [whole], "volumes": [{"name": "v", "emptyDir": {}}]}})
    };
    check("Pod", json!({"spec": {"containers": null}}), "spec.containers: Required value\n");
    for (part, expected) in [
        (json!({"image": null}), "image: Required value\n"),
        (json!({"name": "C"}), "name: Invalid value: \"C\": a lowercase RFC 1123 label"),
        (
            json!({"ports": [{"containerPort": 70_000}]}),
            "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive\n",
        ),
        (json!({"ports": [{"name": "HTTP", "containerPort": 1}]}), "ports[0].name: Invalid value"),
        (
            json!({"imagePullPolicy": "Sometimes"}),
            "imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"\n",
        ),
        (
            json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}),
            "volumeMounts[0].name: Not found: \"x\"\n",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]}),
            "volumeMounts[1].mountPath: Invalid value: \"/x\": must be unique\n",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "../y"}]}),
            "volumeMounts[0].subPath: Invalid value: \"../y\": must not contain '..'\n",
        ),
        (
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            "resources.requests[cpu]: Invalid value: \"2\": must be less than or equal to cpu limit of 1\n",
        ),
        (
            json!({"livenessProbe": {}}),
            "livenessProbe: Required value: must specify a handler type\n",
        ),
        (
            json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "y"}}}]}),
            "env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty\n",
        ),
        (
            json!({"securityContext": {"runAsUser": -5}}),
            "securityContext.runAsUser: Invalid value: -5: must be between 0 and 2147483647, inclusive\n",
        ),
    ] {
        check("Pod", container(part), &format!("spec.containers[0].{expected}"));
    }
    check(
        "Pod",
        json!({"spec": {"volumes": [{"name": "v"}]}}),
        "spec.volumes[0]: Required value: must specify a volume type\n",
    );
    check(
        "Pod",
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]}}),
        "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type\n",
    );
    check("Pod", json!({"spec": {"hostname": "A"}}), "spec.hostname: Invalid value: \"A\"");
}

#[test]
fn other_kinds_are_checked() {
    check("Deployment", json!({"spec": {"selector": null}}), "spec.selector: Required value\n");
    check(
        "Deployment",
        json!({"spec": {"selector": {"matchLabels": {"app": "x"}}}}),
        "`selector` does not match template `labels`",
    );
    check(
        "Deployment",
        json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
        "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"\n",
    );
    check(
        "Deployment",
        json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}}),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0\n",
    );
    check(
        "Service",
        json!({"spec": {"ports": [{"port": 80}, {"port": 80}]}}),
        "spec.ports[0].name: Required value\n",
    );
    check(
        "Service",
        json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}}),
        "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}\n",
    );
    check(
        "Service",
        json!({"spec": {"ports": [{"port": 80, "nodePort": 30_000}]}}),
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'\n",
    );
    check(
        "Service",
        json!({"spec": {"type": "Public"}}),
        "spec.type: Unsupported value: \"Public\"",
    );
    check(
        "ConfigMap",
        json!({"data": {"a/b": "c"}}),
        "data[a/b]: Invalid value: \"a/b\": a valid config key",
    );
    check(
        "ConfigMap",
        json!({"data": {"a": "x".repeat((1 << 20) + 1)}}),
        "[]: Too long: may not be more than 1048576 bytes\n",
    );
    check("Secret", json!({"type": "kubernetes.io/tls"}), "data[tls.crt]: Required value\n");
    check(
        "Role",
        json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
        "rules[0].verbs: Required value: verbs must contain at least one value\n",
    );
    check(
        "RoleBinding",
        json!({"roleRef": {"kind": "Part"}}),
        "roleRef.kind: Unsupported value: \"Part\"",
    );
    check(
        "ValidatingWebhookConfiguration",
        json!({"webhooks": [{"name": "short"}]}),
        "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun\n",
    );
}

#[test]
fn what_may_not_change_does_not() {
    #[track_caller]
    fn check(kind: &str, patch: Value, expected: &str) {
        let api_version = right(kind)["apiVersion"].as_str().unwrap().to_owned();
        let resource = Registry::built_in().kind(&api_version, kind).unwrap();
        let mut old = right(kind);
        defaults::apply(&resource, &mut old);
        assert_eq!(wrong(kind, &json!({}), Some(&old)), "");
        let found = wrong(kind, &patch, Some(&old));
        assert!(found.contains(expected) && !expected.is_empty(), "{patch}: {found}");
    }
    let labels = json!({"app": "x"});
    check(
        "Deployment",
        json!({"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}),
        "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable\n",
    );
    check(
        "Pod",
        json!({"spec": {"hostname": "other"}}),
        "spec: Forbidden: pod updates may not change fields other than",
    );
    check(
        "Secret",
        json!({"type": "example.com/own"}),
        "type: Invalid value: \"example.com/own\": field is immutable\n",
    );
    check("RoleBinding", json!({"roleRef": {"name": "other"}}), "cannot change roleRef\n");
    let image = json!({"spec": {"containers": [{"name": "c", "image": "new"}]}});
    let mut old = right("Pod");
    let pods = Registry::built_in().find("", "pods").unwrap();
    defaults::apply(&pods, &mut old);
    assert_eq!(wrong("Pod", &image, Some(&old)), "");
}

#[test]
fn names_follow_the_rule_of_their_kind() {
    #[track_caller]
    fn check(group: &str, plural: &str, fine: &str, bad: &str) {
        let resource = Registry::built_in().find(group, plural).unwrap();
        assert_eq!(name(&resource, fine), None, "{plural} {fine}");
        assert!(name(&resource, bad).is_some(), "{plural} {bad}");
    }
    check("", "services", "web-1", "1-web");
    check("", "namespaces", "1-blue", "blue.green");
    check("", "configmaps", "kube-root-ca.crt", "Big");
    check("rbac.authorization.k8s.io", "roles", "system:reader", "a/b");
}

#[test]
fn endpoints_are_other_machines_and_not_too_many() {
    let slice = |endpoints: Value| json!({"endpoints": endpoints});
    let of = |kind: &str, address: &str| json!({"addressType": kind, "endpoints": [{"addresses": [address]}]});
    for (kind, address, rule) in [
        ("IPv4", "127.0.0.1", "may not be in the loopback range"),
        ("IPv4", "0.0.0.0", "may not be unspecified"),
        ("IPv4", "169.254.169.254", "may not be in the link-local range"),
        ("IPv4", "224.0.0.1", "may not be a multicast address"),
        ("IPv4", "255.255.255.255", "may not be a multicast address"),
        ("IPv4", "::1", "must be a valid IPv4 address"),
        ("IPv6", "::1", "may not be in the loopback range"),
        ("IPv6", "::ffff:127.0.0.1", "may not be in the loopback range"),
        ("IPv6", "fe80::1", "may not be in the link-local range"),
        ("FQDN", "localhost", "at least two segments"),
    ] {
        check(
            "EndpointSlice",
            of(kind, address),
            &format!("endpoints[0].addresses[0]: Invalid value: \"{address}\": "),
        );
        check("EndpointSlice", of(kind, address), rule);
    }
    for address in ["127.0.0.1", "::", "ff02::1"] {
        let patch = json!({"subsets": [{"notReadyAddresses": [{"ip": address}]}]});
        check("Endpoints", patch, "subsets[0].notReadyAddresses[0].ip: Invalid value");
    }
    let one = json!({"addresses": ["10.244.0.9"]});
    let many = "endpoints: Too many: 1001: must have at most 1000 items";
    check("EndpointSlice", slice(vec![one; 1001].into()), many);
    let many = "endpoints[0].addresses: Too many: 101: must have at most 100 items";
    check("EndpointSlice", slice(json!([{"addresses": vec!["10.244.0.9"; 101]}])), many);
    let ports = |count: u64| -> Value {
        (0..count).map(|one| json!({"name": format!("p{one}"), "port": 80})).collect()
    };
    assert_eq!(wrong("EndpointSlice", &json!({"ports": ports(20_000)}), None), "");
    check("EndpointSlice", json!({"ports": ports(20_001)}), "ports: Too many: 20001");
    let twice = json!({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]});
    check("EndpointSlice", twice, "ports[1].name: Duplicate value: \"a\"");
}
