//! What happens inside: pods are made, and looked at.
//!
//! A scene gives the checks that did not hold, or what it was asked for.

mod cast;

use std::sync::Arc;

use serde_json::{Value, json};
use weft_apiserver::Store;
use weft_pods::{HostLink, LocalNode};

use cast::Stage;

/// Plays a scene by its name.
pub async fn play(
    scene: String,
    store: Store,
    node: Arc<LocalNode>,
    _link: HostLink,
) -> Vec<String> {
    let mut stage = Stage::new(store, node);
    let (name, rest) = scene.split_once(' ').unwrap_or((&scene, ""));
    match name {
        "network" => network(&mut stage).await,
        "capture" => capture(&mut stage).await,
        "files" => files(&mut stage).await,
        "node" => node_calls(&mut stage).await,
        "lifecycle" => lifecycle(&mut stage).await,
        "refused" => refused(&mut stage).await,
        "deployment" => deployment(&mut stage).await,
        "outside" => outside(&mut stage).await,
        "host-ports" => host_ports(&mut stage).await,
        "many-ports" => many_ports(&mut stage).await,
        "large-service" => large_service(&mut stage).await,
        "unbound-port" => unbound_port(&mut stage).await,
        "lent-port" => lent_port(&mut stage).await,
        "egress" => return egress(&mut stage, rest).await,
        "sleepers" => sleepers(&mut stage, rest).await,
        "graceful" => graceful(&mut stage).await,
        other => stage.check(other, "a known scene"),
    }
    stage.diagnostics
}

fn server(name: &str, port: u16) -> Value {
    json!({"containers": [{
        "name": "app", "image": "test/self", "args": ["serve", port.to_string(), name],
        "ports": [{"containerPort": port}],
    }]})
}

fn shell(script: &str) -> Value {
    json!({
        "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "app", "image": "test/shell", "args": [script]}],
    })
}

async fn network(stage: &mut Stage) {
    stage.pod("one", json!({"app": "web"}), server("one", 8080)).await;
    stage.pod("two", json!({"app": "web"}), server("two", 8080)).await;
    stage.pod("client", json!({}), shell("sleep 1000")).await;
    stage.service(
        "web",
        json!({
            "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        }),
    );
    stage.service("all", json!({
        "clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}],
    }));
    for name in ["one", "two", "client"] {
        stage.ready(name).await;
    }
    stage.endpoints("web", 2).await;
    stage.endpoints("all", 2).await;
    let (one, two) = (stage.address("one"), stage.address("two"));
    let client = stage.address("client");
    let direct = stage.ask("client", &format!("{one}:8080")).await;
    stage.check(&direct, &format!("one {client}\n"));
    let virtual_address = stage.cluster_address("web");
    let looked_up = stage.look_up("client", "web").await;
    stage.check(&looked_up, &format!("{virtual_address}\n"));
    let looked_up = stage.look_up("client", "web.default.svc.cluster.local").await;
    stage.check(&looked_up, &format!("{virtual_address}\n"));
    let headless = stage.look_up("client", "all.default").await;
    let mut both = [one.clone(), two.clone()];
    both.sort();
    stage.check(&headless, &format!("{}\n", both.join(" ")));
    let missing = stage.look_up("client", "nowhere.default").await;
    stage.check(&missing, "none\n");
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(stage.ask_when_routed("client", "web:80").await);
    }
    answers.sort();
    answers.dedup();
    stage.check(&answers.concat(), &format!("one {client}\ntwo {client}\n"));
    // A pod that reaches itself through its Service sees the router as its peer.
    let mut own = Vec::new();
    for _ in 0..2 {
        own.push(stage.ask("one", &format!("{virtual_address}:80")).await);
    }
    own.sort();
    stage.check(&own.concat(), &format!("one 169.254.1.1\ntwo {one}\n"));
    stage.service("empty", json!({"selector": {"app": "none"}, "ports": [{"port": 80}]}));
    let refused = stage.ask("client", "empty:80").await;
    stage.check(&refused, "ConnectionRefused\n");
}

async fn capture(stage: &mut Stage) {
    let serves = |port: &str, name: &str| {
        json!({"name": name, "image": "test/self", "args": ["serve", port, name],
               "ports": [{"containerPort": port.parse::<u16>().unwrap()}]})
    };
    let flags = "capture -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x \"\" -b * -d 15021";
    let flags: Vec<&str> = flags.split(' ').map(|flag| flag.trim_matches('"')).collect();
    stage
        .pod(
            "captured",
            json!({}),
            json!({
                "initContainers": [{"name": "capture", "image": "test/self", "args": flags}],
                "containers": [
                    {"name": "app", "image": "test/shell", "args": ["sleep 1000"]},
                    serves("15001", "out"), serves("15006", "in"), serves("15021", "health"),
                ],
            }),
        )
        .await;
    stage.pod("plain", json!({}), server("plain", 8080)).await;
    stage.ready("captured").await;
    stage.ready("plain").await;
    let (captured, plain) = (stage.address("captured"), stage.address("plain"));
    // A refused rule would have left these as they are dialled.
    let out = stage.ask("captured", &format!("{plain}:8080")).await;
    stage.check(&out, &format!("out {captured}\n"));
    let inward = stage.ask("plain", &format!("{captured}:8080")).await;
    stage.check(&inward, &format!("in {plain}\n"));
    let excluded = stage.ask("plain", &format!("{captured}:15021")).await;
    stage.check(&excluded, &format!("health {plain}\n"));
    let own = stage.ask("captured", "127.0.0.1:15021").await;
    stage.check(&own, "health 127.0.0.1\n");
}

async fn files(stage: &mut Stage) {
    stage.create(
        "configmaps",
        json!({
            "metadata": {"name": "settings", "namespace": "default"}, "data": {"color": "red"},
        }),
    );
    let spec = json!({
        "containers": [{
            "name": "app", "image": "test/shell", "args": ["echo started; sleep 1000"],
            "env": [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
                {"name": "BOTH", "value": "$(COLOR) on $(IP)"},
            ],
            "volumeMounts": [
                {"name": "settings", "mountPath": "/etc/app/settings"},
                {"name": "scratch", "mountPath": "/var/lib/app/scratch"},
                {"name": "late", "mountPath": "/late", "readOnly": true},
            ],
        }],
        "volumes": [
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "late", "configMap": {"name": "late"}},
        ],
    });
    stage.pod("files", json!({}), spec).await;
    stage.state("files", "waiting", "configmap \"late\" not found").await;
    stage.create(
        "configmaps",
        json!({
            "metadata": {"name": "late", "namespace": "default"}, "data": {"key": "value"},
        }),
    );
    stage.ready("files").await;
    let address = stage.address("files");
    for (script, expected) in [
        ("echo $BOTH", format!("red on {address}\n")),
        ("cat /etc/app/settings/color /late/key", "redvalue".to_owned()),
        ("touch /late/x 2>/dev/null || echo read-only", "read-only\n".to_owned()),
        ("echo kept > /var/lib/app/scratch/f; cat /var/lib/app/scratch/f", "kept\n".to_owned()),
        ("hostname; head -c 11 /etc/resolv.conf; ls /.weft", "files\nnameserver weft\n".to_owned()),
        ("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace", "default".to_owned()),
        (
            "echo $KUBERNETES_SERVICE_HOST; echo $$ > /dev/null; cat /proc/1/comm",
            "10.96.0.1\nsh\n".to_owned(),
        ),
    ] {
        let found = stage.shell("files", script).await;
        stage.check(&found.replace("nameserver\n", "nameserver "), &expected);
    }
    let untouched = std::path::Path::new("/.weft/old").exists();
    stage.check(&untouched.to_string(), "false");
}

async fn node_calls(stage: &mut Stage) {
    stage.pod("talker", json!({}), shell("echo to stdout; echo to stderr >&2; sleep 1000")).await;
    stage.ready("talker").await;
    stage.logged("talker", "to stdout\nto stderr\n").await;
    let (code, out, error) =
        stage.exec("talker", &["sh", "-c", "cat; echo oops >&2; exit 3"], Some("typed")).await;
    stage.check(&format!("{code} {out} {error}"), "3 typed oops\n");
    let (code, _, _) = stage.exec("talker", &["true"], None).await;
    stage.check(&code.to_string(), "0");
    let typed =
        stage.terminal("talker", &["sh", "-c", "tty >/dev/null && read x && echo got $x"]).await;
    stage.check(&typed, "hello\r\ngot hello\r\n");
    let missing = stage.exec_error("talker", &["no-such-program"]).await;
    stage.check(
        &missing,
        "pod talker: exec: \"no-such-program\": executable file not found in $PATH",
    );
    stage.pod("loopback", json!({}), server("loopback", 7070)).await;
    stage.ready("loopback").await;
    let said = stage.connect("loopback", 7070).await;
    stage.check(&said, "loopback 127.0.0.1\n");
    let address = format!("{}:7070", stage.address("loopback"));
    let (_, out, _) = stage.exec("talker", &["asker", &address], None).await;
    stage.check(&out, &format!("loopback {}\n", stage.address("talker")));
    stage
        .pod("unknown", json!({}), json!({"containers": [{"name": "app", "image": "no/such:1"}]}))
        .await;
    stage.state("unknown", "waiting", "no command is known for image \"no/such:1\"").await;
    stage
        .happened("unknown", "Failed Failed to pull image \"no/such:1\": no command is known")
        .await;
}

/// Pods that cannot be run say so at once, and go when they are deleted.
async fn refused(stage: &mut Stage) {
    let with = |field: &str, value: Value| {
        let mut spec = shell("sleep 1000");
        spec[field] = value;
        spec
    };
    let claim = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let path = json!([{"name": "data", "hostPath": {"path": "/"}}]);
    for (name, spec, why) in [
        (
            "odd",
            with("securityContext", json!({"runAsUser": -5})),
            "cannot be read: invalid value: integer `-5`",
        ),
        ("hostnet", with("hostNetwork", json!(true)), "hostNetwork is not served"),
        ("bomb", doubling(30), "env A11: the value is longer than 131072 bytes"),
        ("keeper", with("volumes", claim), "persistentVolumeClaim is not served"),
        ("looker", with("volumes", path), "hostPath is not served"),
    ] {
        stage.pod(name, json!({}), spec).await;
        stage.happened(name, why).await;
        stage.state(name, "waiting", why).await;
        stage.delete(name);
        stage.gone(name).await;
    }
}

/// A pod whose variables each hold the one before them twice.
fn doubling(count: usize) -> Value {
    let value = |number: usize| match number {
        0 => "x".repeat(100),
        _ => format!("$(A{0})$(A{0})", number - 1),
    };
    let one = |number: usize| json!({"name": format!("A{number}"), "value": value(number)});
    let mut spec = shell("sleep 1000");
    spec["containers"][0]["env"] = (0..count).map(one).collect();
    spec
}

async fn lifecycle(stage: &mut Stage) {
    let spec = json!({
        "terminationGracePeriodSeconds": 5,
        "initContainers": [
            {"name": "first", "image": "test/shell", "args": ["echo 1 > /shared/order"],
             "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
            {"name": "side", "image": "test/self", "args": ["serve", "7000", "side"],
             "restartPolicy": "Always",
             "startupProbe": {"tcpSocket": {"port": 7000}, "periodSeconds": 1, "failureThreshold": 60}},
            {"name": "third", "image": "test/shell",
             "args": ["grep -q ':1B58 .* 0A ' /proc/net/tcp && echo 3 >> /shared/order"],
             "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
        ],
        "containers": [
            {"name": "app", "image": "test/shell", "args": ["cat /shared/order; sleep 1000"],
             "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
             "readinessProbe": {"exec": {"command": ["test", "-f", "/shared/ready"]}, "periodSeconds": 1}},
        ],
        "volumes": [{"name": "shared", "emptyDir": {"medium": "Memory"}}],
    });
    stage.pod("ordered", json!({}), spec).await;
    stage.logged("ordered", "1\n3\n").await;
    stage.check(&stage.condition("ordered", "Ready"), "False");
    stage.shell("ordered", "touch /shared/ready").await;
    stage.ready("ordered").await;
    // A container that dies comes back, and its log before is kept.
    stage.pod("crasher", json!({}), shell("echo run; sleep 0.05; exit 4")).await;
    stage.restarts("crasher", 1).await;
    stage.previously("crasher", "run\n").await;
    let told = stage.events("crasher");
    for reason in ["Scheduled", "Pulled", "Created", "Started", "BackOff"] {
        stage.check(&told.contains(&format!("{reason} ")).to_string(), "true");
    }
    stage
        .pod(
            "unwell",
            json!({}),
            json!({"containers": [{
                "name": "app", "image": "test/shell", "args": ["sleep 1000"],
                "readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1},
            }]}),
        )
        .await;
    stage.happened("unwell", "Unhealthy Readiness probe failed: command exited with 1").await;
    stage.delete("unwell");
    stage.happened("unwell", "Killing Stopping container app").await;
    stage
        .pod(
            "job",
            json!({}),
            json!({
                "restartPolicy": "Never",
                "containers": [{"name": "app", "image": "test/shell", "args": ["exit 0"]}],
            }),
        )
        .await;
    stage.phase("job", "Succeeded").await;
    stage.delete("ordered");
    stage.gone("ordered").await;
}

async fn deployment(stage: &mut Stage) {
    stage.create_in(
        "apps",
        "deployments",
        json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": server("web", 8080)},
            },
        }),
    );
    stage.service(
        "web",
        json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}),
    );
    stage.pod("client", json!({}), shell("sleep 1000")).await;
    stage.ready("client").await;
    stage.endpoints("web", 3).await;
    let answer = stage.ask_when_routed("client", "web:80").await;
    stage.check(&answer, &format!("web {}\n", stage.address("client")));
}

async fn outside(stage: &mut Stage) {
    stage
        .annotated(
            "beyond",
            json!({
                "weft.internal/outside-addresses": "203.0.113.0/24",
                "weft.internal/outside-names": "api.example.com,*.example.org=203.0.113.9",
            }),
            server("beyond", 8080),
        )
        .await;
    stage.pod("client", json!({}), shell("sleep 1000")).await;
    stage.ready("beyond").await;
    stage.ready("client").await;
    let named = stage.look_up("client", "api.example.com").await;
    stage.check(&named, "203.0.113.1\n");
    let wild = stage.look_up("client", "any.example.org").await;
    stage.check(&wild, "203.0.113.9\n");
    let answer = stage.ask("client", "any.example.org:8080").await;
    stage.check(&answer, &format!("beyond {}\n", stage.address("client")));
    let unknown = stage.look_up("client", "www.example.net").await;
    stage.check(&unknown, "none\n");
}

async fn host_ports(stage: &mut Stage) {
    stage.pod("app", json!({"app": "app"}), server("relayed", 8080)).await;
    stage.service(
        "app",
        json!({
            "type": "LoadBalancer", "selector": {"app": "app"},
            "ports": [{"port": 9080, "targetPort": 8080}],
        }),
    );
    stage.ready("app").await;
}

/// A Service with more ports than are bound, all of which become reachable at once.
async fn many_ports(stage: &mut Stage) {
    stage.pod("app", json!({"app": "app"}), server("relayed", 8080)).await;
    stage.ready("app").await;
    let port = |number: u16| json!({"name": format!("p{number}"), "port": 20_000 + number, "targetPort": 8080});
    let ports: Vec<Value> = (0..120).map(port).collect();
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "app"}, "ports": ports});
    let all_shown = |service: &Value| {
        let shown = service["metadata"]["annotations"]["weft.internal/host-ports"].as_str();
        shown.is_some_and(|shown| shown.matches("=127.0.0.1:").count() == 100)
    };
    let writes = stage.writes(("services", "app"), || stage.service("app", spec), all_shown).await;
    let is_few = writes.is_some_and(|writes| writes <= 4);
    stage.check(if is_few { "few" } else { "many" }, "few");
}

/// A Service whose rules the kernel does not take at once, and one that comes after it.
async fn large_service(stage: &mut Stage) {
    stage.pod("one", json!({"app": "web"}), server("one", 8080)).await;
    stage.pod("client", json!({}), shell("sleep 1000")).await;
    stage.ready("one").await;
    stage.ready("client").await;
    let (one, client) = (stage.address("one"), stage.address("client"));
    let ports = |number: fn(u16) -> u16| -> Vec<Value> {
        let port = |index: u16| json!({"name": format!("p{index}"), "port": number(index)});
        (1..=40).map(port).collect()
    };
    stage.service("large", json!({"ports": ports(|index| index)}));
    let endpoints: Vec<Value> = (0..100).map(|_| json!({"addresses": [one]})).collect();
    let slice = json!({
        "metadata": {"name": "large", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "large"}},
        "addressType": "IPv4", "ports": ports(|_| 8080), "endpoints": endpoints,
    });
    stage.create_in("discovery.k8s.io", "endpointslices", slice);
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    stage.service("web", json!({"selector": {"app": "web"}, "ports": ports}));
    for address in ["web:80", "large:1", "large:40"] {
        let answer = stage.ask_when_routed("client", address).await;
        stage.check(&answer, &format!("one {client}\n"));
    }
}

/// A Service whose endpoints change after its port could not be bound.
async fn unbound_port(stage: &mut Stage) {
    host_ports(stage).await;
    for name in ["second", "third"] {
        stage.pod(name, json!({"app": "app"}), server(name, 8080)).await;
        stage.ready(name).await;
    }
}

async fn lent_port(stage: &mut Stage) {
    stage.service(
        "gate",
        json!({
            "type": "LoadBalancer", "selector": {"app": "gate"},
            "ports": [{"port": 80, "targetPort": 8080}],
        }),
    );
    stage
        .annotated(
            "gate",
            json!({"weft.internal/host-sockets": "true"}),
            json!({"containers": [{
                "name": "app", "image": "test/self", "args": ["serve-lent", "8080", "lent"],
            }]}),
        )
        .await;
    stage.ready("gate").await;
}

async fn egress(stage: &mut Stage, port: &str) -> Vec<String> {
    stage.pod("client", json!({}), shell("sleep 1000")).await;
    stage.ready("client").await;
    let answer = stage.ask("client", &format!("host.weft.internal:{port}")).await;
    vec![answer.trim_end().to_owned()]
}

async fn sleepers(stage: &mut Stage, marker: &str) {
    for name in ["a", "b", "c"] {
        stage
            .pod(name, json!({}), shell(&format!(": {marker}; trap '' TERM; sleep 1000; true")))
            .await;
    }
    for name in ["a", "b", "c"] {
        stage.ready(name).await;
    }
}

async fn graceful(stage: &mut Stage) {
    stage
        .pod(
            "patient",
            json!({}),
            json!({
                "terminationGracePeriodSeconds": 20,
                "containers": [{"name": "app", "image": "test/self", "args": ["graceful", "60"]}],
            }),
        )
        .await;
    stage.logged("patient", "waiting\n").await;
}
