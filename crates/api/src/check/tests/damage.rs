//! Objects in which every place in turn holds something that it should not.

use weft_testkit::objects::damaged;

use super::*;

/// An object with `rest` beside its metadata.
fn object(version: &str, kind: &str, rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": "x", "labels": {"a": "b"}, "annotations": {"a": "b"},
            "ownerReferences": [{"kind": "A", "name": "b", "controller": true}],
        },
    });
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    object
}

/// Objects of the cluster, with fields of every type.
fn of_the_cluster() -> Vec<Value> {
    let pod = json!({
        "containers": [{
            "name": "a", "image": "b", "ports": [{"name": "http", "containerPort": 80}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        }],
        "initContainers": [{"name": "c", "restartPolicy": "Always"}],
        "hostNetwork": false,
    });
    vec![
        object("v1", "Namespace", json!({"spec": {"finalizers": ["a"]}})),
        object("v1", "ConfigMap", json!({"data": {"a": "b"}})),
        object("v1", "Pod", json!({"spec": pod, "status": {"podIP": "10.0.0.1"}})),
        object(
            "v1",
            "Service",
            json!({"spec": {
                "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "targetPort": "http"}],
            }}),
        ),
        object(
            "apps/v1",
            "Deployment",
            json!({"spec": {
                "replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": pod},
            }}),
        ),
        object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({
                "endpoints": [{"addresses": ["a"], "conditions": {"ready": true}, "targetRef": {}}],
                "ports": [{"name": "a", "port": 80}],
            }),
        ),
    ]
}

/// Objects of the mesh, with fields of every type.
fn of_the_mesh() -> Vec<Value> {
    let mut rule = rule(json!({
        "match": [{
            "uri": {"prefix": "/"}, "headers": {"x": {}}, "sourceLabels": {"a": "b"}, "port": 80,
        }],
        "timeout": "1s",
        "retries": {"attempts": 1, "perTryTimeout": "1s", "retryOn": "5xx"},
        "redirect": {"redirectCode": 301}, "directResponse": {"status": 200},
        "rewrite": {"uri": "/"}, "fault": {"abort": {}}, "mirrorPercentage": {"value": 1.5},
        "corsPolicy": {"maxAge": "1s"}, "headers": {"request": {"remove": ["a"]}},
    }));
    rule["route"][0]["weight"] = 1.into();
    let policy = json!({
        "loadBalancer": {
            "simple": "RANDOM",
            "consistentHash": {
                "httpHeaderName": "a", "useSourceIp": true, "httpQueryParameterName": "a",
                "httpCookie": {
                    "name": "a", "path": "/", "ttl": "1s", "attributes": [{"name": "a", "value": "b"}],
                },
                "maglev": {"tableSize": 7}, "ringHash": {"minimumRingSize": 7},
            },
            "localityLbSetting": {"failover": [{"from": "a", "to": "b"}]},
        },
        "connectionPool": {"tcp": {"maxConnections": 1}},
        "outlierDetection": {"maxEjectionPercent": 10}, "tls": {"mode": "MUTUAL"},
        "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}],
    });
    let server = json!({
        "port": {"number": 80, "name": "a", "protocol": "HTTP"}, "hosts": ["*"],
        "tls": {"httpsRedirect": true},
    });
    vec![
        object("networking.istio.io/v1", "Gateway", json!({"spec": {"servers": [server]}})),
        object(
            "networking.istio.io/v1",
            "VirtualService",
            json!({"spec": {
                "hosts": ["a"], "gateways": ["mesh"], "exportTo": ["."], "http": [rule],
                "tcp": [{"match": [{"port": 80}], "route": [{"destination": {"host": "a"}}]}],
                "tls": [{"match": [{"sniHosts": ["a"]}], "route": [{"destination": {"host": "a"}}]}],
            }}),
        ),
        object(
            "networking.istio.io/v1",
            "DestinationRule",
            json!({"spec": {
                "host": "a", "trafficPolicy": policy,
                "subsets": [{"name": "a", "labels": {"a": "b"}, "trafficPolicy": policy}],
            }}),
        ),
        object(
            "networking.istio.io/v1",
            "ServiceEntry",
            json!({"spec": {
                "hosts": ["a.b"], "addresses": ["10.0.0.0/8"], "exportTo": ["."],
                "location": "MESH_INTERNAL", "resolution": "STATIC", "subjectAltNames": ["a"],
                "ports": [{"number": 80, "name": "a", "protocol": "HTTP", "targetPort": 81}],
                "endpoints": [{
                    "address": "10.0.0.1", "ports": {"a": 80}, "labels": {"a": "b"}, "network": "n",
                    "locality": "a/b", "weight": 2, "serviceAccount": "s",
                }],
                "workloadSelector": {"labels": {"a": "b"}},
            }}),
        ),
        object(
            "networking.istio.io/v1",
            "Sidecar",
            json!({"spec": {
                "workloadSelector": {"labels": {"a": "b"}},
                "ingress": [{
                    "port": {"number": 80, "name": "a", "protocol": "HTTP"}, "bind": "a",
                    "captureMode": "NONE", "defaultEndpoint": "127.0.0.1:80",
                }],
                "egress": [{
                    "port": {"number": 80, "name": "a", "protocol": "HTTP"}, "bind": "a",
                    "captureMode": "NONE", "hosts": ["./*"],
                }],
                "outboundTrafficPolicy": {"mode": "ALLOW_ANY"}, "inboundConnectionPool": {},
            }}),
        ),
        object(
            "networking.istio.io/v1",
            "WorkloadEntry",
            json!({"spec": {
                "address": "10.0.0.1", "ports": {"a": 80}, "labels": {"a": "b"}, "network": "n",
                "locality": "a/b", "weight": 2, "serviceAccount": "s",
            }}),
        ),
    ]
}

#[test]
fn objects_can_be_read_whatever_stands_anywhere_in_them() {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("ü b"),
        json!([]),
        json!([null, 5]),
        json!({}),
        json!({"": 5, "host": []}),
    ];
    for sample in of_the_cluster().into_iter().chain(of_the_mesh()) {
        for (place, damaged) in damaged(&sample, &odd) {
            let checked = check(&damaged);
            let Some(key) = checked.key else { continue };
            let decides = key.kind != Kind::Deployment;
            assert_eq!(checked.object.is_some(), decides, "{place} of {damaged}");
            assert_eq!(read(damaged.clone()), checked.object, "{place} of {damaged}");
        }
    }
}
