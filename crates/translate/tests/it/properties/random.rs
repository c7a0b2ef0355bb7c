//! Small random worlds whose objects share names, hosts and addresses.

use std::ops::Range;

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    sample::select,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_api::{Key, Object};
use weft_config::{Interest, Workload};
use weft_translate::{Client, Role};

/// One step: objects that come and go at once.
#[derive(Clone, Debug)]
pub struct Change {
    /// The objects; none for those that go.
    pub objects: Vec<(Key, Option<Object>)>,
    /// Whether the first client loses its interest afterwards.
    pub forget: bool,
    /// How many objects are examined then.
    pub examined: usize,
}

const NAMESPACES: &[&str] = &["a", "b"];
const NAMES: &[&str] = &["x", "y"];
const HOSTS: &[&str] = &[
    "x",
    "y",
    "x.a",
    "x.a.svc.cluster.local",
    "y.b.svc.cluster.local",
    "*.b.svc.cluster.local",
    "api.test",
    "*.test",
    "z.api.test",
    "*.api.test",
    "*.d.z.api.test",
];

/// Sidecars of two namespaces, and last a gateway.
pub fn clients() -> Vec<Client> {
    let client = |namespace: &str, pod: &str, app: &str, role| Client {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        account: "default".to_owned(),
        addresses: Vec::new(),
        workload: Workload::default(),
        role,
    };
    vec![
        client("a", "x", "x", Role::Sidecar),
        client("b", "y", "y", Role::Sidecar),
        client("b", "x", "gateway", Role::Gateway),
    ]
}

/// Every interest that could lead somewhere in these worlds.
pub fn interests() -> Vec<Interest> {
    let texts = [
        "self",
        "directory/shared",
        "directory/own",
        "x:80",
        "x.a:80",
        "x.a.svc:81",
        "y.b.svc.cluster.local:80",
        "y.b.svc.cluster.local.:81",
        "api.test:80",
        "z.api.test:80",
        "other.test:80",
        "q.api.test:80",
        "c.d.z.api.test:80",
        "c.e.z.api.test:80",
        "p.y.b:80",
        "host/10.0.0.1:80",
        "10.0.0.1:80",
        "10.0.0.1:81",
        "10.1.0.1:81",
        "10.1.0.2:80",
    ];
    texts.into_iter().map(|text| text.parse().expect("an interest")).collect()
}

/// Any number of steps.
pub fn changes(count: Range<usize>) -> impl Strategy<Value = Vec<Change>> {
    let examined = select(vec![0, 1, 3, usize::MAX]);
    let step = (vec((object(), any::<bool>(), any::<bool>()), 1..4), any::<bool>(), examined);
    let step = step.prop_map(|(objects, forget, examined)| Change {
        objects: objects
            .into_iter()
            // One in four goes.
            .map(|(object, one, other)| (object.key(), (one || other).then_some(object)))
            .collect(),
        forget,
        examined,
    });
    vec(step, count)
}

/// An object of which a piece is broken.
pub fn bad_object() -> impl Strategy<Value = Object> {
    let service = (metadata(), select(HOSTS), bad_rule()).prop_map(|(metadata, host, rule)| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": metadata, "spec": {"hosts": [host], "gateways": ["mesh", "a/x"], "http": [rule]},
        })
    });
    let rule = (metadata(), select(HOSTS)).prop_map(|(metadata, host)| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": metadata,
            "spec": {"host": host, "trafficPolicy": {"loadBalancer": {"simple": "WHIM"}}},
        })
    });
    proptest::prop_oneof![service, rule].prop_map(typed)
}

fn bad_rule() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"match": [{"uri": {"regex": "("}}], "route": [{"destination": {"host": "x"}}]}),
        json!({"route": []}),
        json!({"redirect": {"uri": "/"}}),
        json!({"route": [{"destination": {"host": "gone"}}]}),
        json!({"route": [{"destination": {"host": "x"}, "weight": -1}, {"destination": {"host": "y"}}]}),
        json!({"timeout": "soon", "route": [{"destination": {"host": "x", "subset": "gone"}}]}),
    ])
}

/// Straight into the typed object, past validation, as from an API server that
/// does not validate.
fn typed(value: Value) -> Object {
    match value["kind"].as_str() {
        Some("Pod") => Object::Pod(read(value)),
        Some("Service") => Object::Service(read(value)),
        Some("EndpointSlice") => Object::EndpointSlice(read(value)),
        Some("Gateway") => Object::Gateway(read(value)),
        Some("VirtualService") => Object::VirtualService(read(value)),
        Some("DestinationRule") => Object::DestinationRule(read(value)),
        _ => Object::ConfigMap(read(value)),
    }
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the generators write what the types read")
}

fn object() -> impl Strategy<Value = Object> {
    proptest::prop_oneof![
        2 => service(),
        2 => slice(),
        2 => pod(),
        3 => virtual_service(),
        2 => destination_rule(),
        2 => gateway(),
        1 => settings(),
    ]
    .prop_map(typed)
}

fn metadata() -> impl Strategy<Value = Value> {
    let ages = vec![None, Some("2026-01-01T00:00:00Z"), Some("2026-02-01T00:00:00Z")];
    (select(NAMES), select(NAMESPACES), select(ages)).prop_map(|(name, namespace, age)| match age {
        Some(age) => json!({"name": name, "namespace": namespace, "creationTimestamp": age}),
        None => json!({"name": name, "namespace": namespace}),
    })
}

fn service() -> impl Strategy<Value = Value> {
    let address = select(vec!["10.0.0.1", "10.0.0.2", "None", ""]);
    let port = (select(vec!["http", "tcp", "odd", "http2"]), select(vec![80, 81]));
    let exported = option::weighted(0.2, select(vec![".", "*", "b", "~"]));
    let app = select(vec!["x", "y", "gateway"]);
    (metadata(), address, port, exported, app).prop_map(
        |(mut metadata, address, (protocol, number), exported, app)| {
            if let Some(exported) = exported {
                metadata["annotations"] = json!({"networking.istio.io/exportTo": exported});
            }
            let ports = json!([
                {"name": protocol, "port": number},
                {"name": "http-more", "port": 161 - number, "targetPort": "named"},
            ]);
            json!({
                "kind": "Service", "metadata": metadata,
                "spec": {"clusterIP": address, "ports": ports, "selector": {"app": app}},
            })
        },
    )
}

fn slice() -> impl Strategy<Value = Value> {
    let endpoint = (select(vec!["10.1.0.1", "10.1.0.2"]), any::<bool>(), select(NAMES)).prop_map(
        |(address, ready, pod)| {
            json!({
                "addresses": [address], "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "name": pod},
            })
        },
    );
    let name = select(vec!["http", "tcp", "odd", "http-more"]);
    (metadata(), select(NAMES), vec(endpoint, 0..3), name, select(vec![80, 81])).prop_map(
        |(mut metadata, service, endpoints, name, port)| {
            metadata["labels"] = json!({"kubernetes.io/service-name": service});
            json!({
                "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
                "ports": [{"name": name, "port": port}], "endpoints": endpoints,
            })
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let statuses = select(vec![
        json!({"podIP": "10.1.0.1"}),
        json!({"podIP": "10.2.0.1", "phase": "Running"}),
        json!({"podIP": "10.2.0.1", "phase": "Failed"}),
        json!({}),
    ]);
    let app = select(vec!["x", "y", "gateway"]);
    (metadata(), app, select(vec![8080, 9090]), statuses).prop_map(
        |(mut metadata, app, port, status)| {
            metadata["labels"] = json!({"app": app, "version": app});
            let name = if app == "gateway" { "istio-proxy" } else { "c" };
            let container =
                json!({"name": name, "ports": [{"name": "named", "containerPort": port}]});
            json!({
                "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]},
                "status": status,
            })
        },
    )
}

fn virtual_service() -> impl Strategy<Value = Value> {
    let gateways = select(vec![json!([]), json!(["mesh"]), json!(["a/x"]), json!(["x", "mesh"])]);
    let exported = select(vec![json!([]), json!(["."]), json!(["b"])]);
    let rules = vec(proptest::prop_oneof![4 => rule(), 1 => bad_rule(), 2 => delegating()], 0..3);
    // One without hosts is a delegate.
    let hosts = proptest::prop_oneof![3 => vec(select(HOSTS), 1..3), 1 => Just(Vec::new())];
    let tcp = select(vec![
        json!([]),
        json!([{"match": [{"port": 81}], "route": [{"destination": {"host": "y"}}]}]),
    ]);
    (metadata(), hosts, gateways, exported, (rules, tcp)).prop_map(
        |(metadata, hosts, gateways, exported, (rules, tcp))| {
            json!({
                "kind": "VirtualService", "metadata": metadata,
                "spec": {
                    "hosts": hosts, "gateways": gateways, "exportTo": exported,
                    "http": rules, "tcp": tcp,
                },
            })
        },
    )
}

fn rule() -> impl Strategy<Value = Value> {
    let matches = select(vec![
        json!([]),
        json!([{"uri": {"prefix": "/"}}]),
        json!([{"uri": {"regex": "/a+"}}, {"port": 81}]),
        json!([{"sourceLabels": {"app": "x"}}]),
        json!([{"sourceNamespace": "b", "headers": {"h": {}}}]),
        json!([{"gateways": ["mesh"]}]),
    ]);
    let subset = select(vec![Value::Null, json!("v1"), json!("v2")]);
    let port = select(vec![Value::Null, json!({"number": 81})]);
    let host = select(HOSTS);
    (matches, host, subset, port, Just(())).prop_map(|(matches, host, subset, port, ())| {
        json!({
            "match": matches,
            "route": [
                {"destination": {"host": host, "subset": subset, "port": port}, "weight": 3},
                {"destination": {"host": "y"}, "weight": 1},
            ],
        })
    })
}

fn delegating() -> impl Strategy<Value = Value> {
    let matches = select(vec![json!([]), json!([{"uri": {"prefix": "/"}}, {"port": 80}])]);
    (matches, select(NAMES), select(NAMESPACES)).prop_map(|(matches, name, namespace)| {
        json!({"match": matches, "delegate": {"name": name, "namespace": namespace}})
    })
}

fn destination_rule() -> impl Strategy<Value = Value> {
    let exported = select(vec![json!([]), json!(["."]), json!(["a"])]);
    let balancer = select(vec!["RANDOM", "ROUND_ROBIN", "PASSTHROUGH"]);
    let subsets = vec(select(vec!["v1", "v2"]), 0..2);
    let workloads = select(vec![
        Value::Null,
        json!({"matchLabels": {"app": "x"}}),
        json!({"matchLabels": {"app": "y", "version": "x"}}),
        json!({"matchLabels": {}}),
    ]);
    (metadata(), (select(HOSTS), exported), balancer, subsets, workloads).prop_map(
        |(metadata, (host, exported), balancer, subsets, workloads)| {
            let subsets: Vec<Value> = subsets
                .into_iter()
                .map(|name| json!({"name": name, "labels": {"version": "x"}}))
                .collect();
            json!({
                "kind": "DestinationRule", "metadata": metadata,
                "spec": {
                    "host": host, "exportTo": exported, "subsets": subsets,
                    "workloadSelector": workloads,
                    "trafficPolicy": {"loadBalancer": {"simple": balancer}},
                },
            })
        },
    )
}

fn gateway() -> impl Strategy<Value = Value> {
    let hosts = vec(select(vec!["*", "*.test", "b/api.test", "./x.a.svc.cluster.local"]), 1..3);
    let protocol = select(vec!["HTTP", "HTTPS", "GRPC"]);
    let redirects = option::weighted(0.3, Just(json!({"httpsRedirect": true})));
    let selector = select(vec![
        json!({"app": "gateway"}),
        json!({"version": "gateway"}),
        json!({"app": "x"}),
        json!({}),
    ]);
    (metadata(), hosts, (protocol, select(vec![80, 81])), redirects, selector).prop_map(
        |(metadata, hosts, (protocol, number), tls, selector)| {
            let port = json!({"number": number, "name": "p", "protocol": protocol});
            json!({
                "kind": "Gateway", "metadata": metadata,
                "spec": {"selector": selector, "servers": [{"port": port, "hosts": hosts, "tls": tls}]},
            })
        },
    )
}

fn settings() -> impl Strategy<Value = Value> {
    let mesh = select(vec![
        "",
        "compatibility: istio-1.0",
        "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
        "defaultVirtualServiceExportTo: ['.']",
        "defaultServiceExportTo: ['.']",
        "accessLogFile: /dev/stdout",
    ]);
    mesh.prop_map(|mesh| {
        json!({
            "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": mesh},
        })
    })
}
