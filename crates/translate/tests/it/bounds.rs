//! What objects that name much of two kinds may cost: the sum of both, not the product.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_api::{Key, Object};
use weft_config::{Action, Directory, Entry, Interest, Part, Resource, Rule, directory::Known};
use weft_translate::{Client, Piece, Resolved, Translator};

use crate::worlds::routes;

fn object(value: Value) -> (Key, Option<Object>) {
    let object = weft_api::check(&value).object.expect("an object");
    (object.key(), Some(object))
}

fn pod(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"containers": [{"name": if name == "edge" { "istio-proxy" } else { "app" }}]},
        "status": {"podIP": "10.1.0.1"},
    })
}

fn client(value: Value) -> Client {
    match object(value).1 {
        Some(Object::Pod(pod)) => Client::of_pod(&pod),
        _ => unreachable!("a pod was made"),
    }
}

fn service(ports: usize) -> Value {
    let port = |number| json!({"name": format!("http-{number}"), "port": 1000 + number});
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "many", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": (0..ports).map(port).collect::<Vec<_>>()},
    })
}

fn virtual_service(name: &str, made: usize, hosts: &[String], rules: usize) -> Value {
    virtual_service_of(("shop", name), made, hosts, rules)
}

fn virtual_service_of(
    (namespace, name): (&str, &str),
    made: usize,
    hosts: &[String],
    rules: usize,
) -> Value {
    let rule = |number| {
        json!({
            "match": [{"uri": {"exact": format!("/{name}/{number}")}}],
            "route": [{"destination": {"host": "many.shop.svc.cluster.local", "port": {"number": 1000}}}],
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {
            "name": name, "namespace": namespace,
            "creationTimestamp": format!("2026-01-01T00:{:02}:{:02}Z", made / 60, made % 60),
        },
        "spec": {
            "hosts": hosts, "gateways": ["shop/edge", "mesh"],
            "http": (0..rules).map(rule).collect::<Vec<_>>(),
        },
    })
}

fn gateway(hosts: &[&str]) -> Value {
    gateway_of(&[hosts])
}

/// A Gateway with a server for each list of hosts, all on one port.
fn gateway_of(servers: &[&[&str]]) -> Value {
    let server = |hosts: &&[&str]| json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "shop"},
        "spec": {
            "selector": {"app": "edge"},
            "servers": servers.iter().map(server).collect::<Vec<_>>(),
        },
    })
}

fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("h{number}.example.com")).collect()
}

fn size(resolved: &Resolved) -> usize {
    resolved.resources.iter().map(|piece| piece.json.len()).sum()
}

fn directory(translator: &mut Translator, client: &Client) -> (Directory, usize) {
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    for part in Part::ALL {
        let resolved = translator.resolve(client, &Interest::Directory(part));
        bytes += size(&resolved);
        for piece in &resolved.resources {
            let Resource::Directory(chunk) = &*piece.resource else { panic!("{}", piece.name) };
            chunks.push((chunk.name.clone(), Some(chunk.clone().into())));
        }
    }
    (Directory::default().with(chunks), bytes)
}

#[test]
fn hosts_times_ports_are_not_in_the_directory() {
    let all: Vec<String> = hosts(6_600).into_iter().chain(["many".to_owned()]).collect();
    let mut translator = Translator::new();
    translator.change([object(service(1_000)), object(virtual_service("wide", 0, &all, 1))]);
    let pod = client(pod("web", json!({"app": "web"})));
    let (directory, bytes) = directory(&mut translator, &pod);
    assert!(bytes < 200_000, "{bytes} bytes");
    for port in [1000, 1999] {
        let known = directory.most_specific("h6599.example.com", port);
        assert_eq!(known, Some(Known::Exactly), "{port}");
    }
    // Of the other ports the control plane says that they are outside.
    let mut entry = |port: u16| {
        let interest = format!("h6599.example.com:{port}").parse().expect("an interest");
        translator.resolve(&pod, &interest).answer.entry.clone()
    };
    assert!(matches!(entry(1999), Entry::Route(_)), "{:?}", entry(1999));
    assert_eq!(entry(2000), Entry::Outside);
}

#[test]
fn hosts_of_one_virtual_service_share_its_rules() {
    let mut translator = Translator::new();
    let all = hosts(3_000);
    translator.change([
        object(service(1)),
        object(virtual_service("wide", 0, &all, 1_000)),
        object(gateway(&["*.example.com"])),
    ]);
    let edge = client(pod("edge", json!({"app": "edge"})));
    let own = translator.resolve(&edge, &Interest::Own);
    assert!(size(&own) < 1_000_000, "{} bytes", size(&own));
    let sizes: Vec<_> =
        routes(&own).values().map(|one| (one.hosts.len(), one.rules.len())).collect();
    assert_eq!(sizes, [(3_000, 1_000)]);

    let sidecar = client(pod("web", json!({"app": "web"})));
    let mut list = |host: &str| {
        let interest = format!("{host}:80").parse().expect("an interest");
        let resolved = translator.resolve(&sidecar, &interest);
        let is_list = |piece: &&Piece| matches!(&*piece.resource, Resource::RuleList(_));
        let lists: Vec<&Piece> = resolved.resources.iter().filter(is_list).collect();
        let [list] = lists[..] else { panic!("{} lists", lists.len()) };
        (list.clone(), size(&resolved) - list.json.len())
    };
    let (first, besides) = list("h0.example.com");
    let (last, _) = list("h2999.example.com");
    assert!(Arc::ptr_eq(&first.json, &last.json), "one copy in the control plane");
    assert!(besides < 2_000, "{besides} bytes for a host besides");
}

#[test]
fn rules_that_many_hosts_share_stand_once_however_others_split_these() {
    let mut translator = Translator::new();
    let all = hosts(400);
    let wide = virtual_service_of(("other", "wide"), 0, &all, 1_000);
    let own = all.iter().enumerate().map(|(at, host)| {
        virtual_service(&format!("own-{at}"), at + 1, std::slice::from_ref(host), 1)
    });
    let plain = virtual_service("plain", 3_000, &["plain.test".to_owned()], 2);
    let pod_of_edge = pod("edge", json!({"app": "edge"}));
    let objects = own.chain([wide, plain, service(1), gateway(&["*"]), pod_of_edge]);
    translator.change(objects.map(object));
    let edge = client(pod("edge", json!({"app": "edge"})));
    let resolved = translator.resolve(&edge, &Interest::Own);
    assert!(size(&resolved) < 1 << 20, "{} bytes", size(&resolved));
    let routes = routes(&resolved);
    assert_eq!(routes.len(), 401);
    let rules = |host: &str| routes[&format!("http.80/{host}")].rules.len();
    assert!(all.iter().all(|host| rules(host) == 1_001));
    assert_eq!(rules("plain.test"), 2);
}

/// A Gateway of `namespace` that serves `hosts` on each of `ports`.
fn gateway_on(namespace: &str, hosts: &str, ports: impl Iterator<Item = u16>) -> Value {
    let server = |number| json!({"port": {"number": number, "name": format!("http-{number}"), "protocol": "HTTP"}, "hosts": [hosts]});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": namespace},
        "spec": {"selector": {"app": "edge"}, "servers": ports.map(server).collect::<Vec<_>>()},
    })
}

#[test]
fn ports_times_hosts_have_a_bound_which_closes_nothing_of_others() {
    let all = hosts(3_000);
    let mut wide = virtual_service_of(("other", "wide"), 0, &all, 200);
    wide["spec"]["gateways"] = json!(["other/edge"]);
    let plain = virtual_service("plain", 1, &["plain.test".to_owned()], 2);
    let mut translator = Translator::new();
    translator.change(
        [
            service(1),
            wide,
            plain,
            gateway_on("shop", "plain.test", [80, 2_999].into_iter()),
            gateway_on("other", "*", 2_000..3_200),
            pod("edge", json!({"app": "edge"})),
        ]
        .map(object),
    );
    let edge = client(pod("edge", json!({"app": "edge"})));
    let before = std::time::Instant::now();
    let resolved = translator.resolve(&edge, &Interest::Own);
    // One port takes a twentieth of a second here; each of them would take most of a minute.
    assert!(before.elapsed().as_secs() < 20, "{:?}", before.elapsed());
    assert!(size(&resolved) < 32 << 20, "{} bytes", size(&resolved));
    let ports = resolved.resources.iter().filter_map(|piece| match &*piece.resource {
        Resource::Listener(listener) => Some(listener.bind.port()),
        _ => None,
    });
    let ports: Vec<u16> = ports.collect();
    assert!(ports.contains(&80) && ports.contains(&2_000) && ports.contains(&2_999), "{ports:?}");
    assert!(ports.len() > 10 && ports.len() < 100, "{} ports", ports.len());
    let routes = routes(&resolved);
    for port in [80, 2_999] {
        assert_eq!(routes[&format!("http.{port}/plain.test")].rules.len(), 2, "{port}");
    }
    let rest = &routes["http.2999/*"].rules;
    let refuses = |rule: &Rule| {
        matches!(&rule.action,
            Action::Respond { status: 500, details, .. } if details == "too_many_ports")
    };
    assert!(rest.len() == 1 && refuses(&rest[0]), "{rest:?}");

    let found = translator.diagnostics();
    let told = |text: &str| {
        let limit: Vec<_> = found.iter().filter(|one| one.message.contains(text)).collect();
        let [limit] = &limit[..] else { panic!("{text}: {limit:?}") };
        limit.to_string()
    };
    let first = 2_000 + ports.len() - 2;
    let service = format!(
        "VirtualService/other/wide spec.gateways[0]: is not served on port {first} and higher ones"
    );
    assert!(told("32 MiB").starts_with(&service), "{} {first}", told("32 MiB"));
    let gateway =
        "Gateway/other/edge spec.servers[1000].port.number: this server and 199 more are not";
    assert!(told("1000 ports").starts_with(gateway), "{}", told("1000 ports"));
    // It goes away with the ports, though the gateway's proxy has left meanwhile.
    let class = translator.class(&edge, &Interest::Own);
    translator.forget(&class, &Interest::Own);
    translator.change([object(gateway_on("other", "*", 2_000..2_004))]);
    let found = translator.diagnostics();
    let is_limit = |text: &str| text.contains("32 MiB") || text.contains("1000 ports");
    assert!(!found.iter().any(|one| is_limit(&one.message)), "{found:?}");
}

#[test]
fn alternatives_times_ports_have_the_same_bound_where_none_holds() {
    let mut wide = virtual_service_of(("other", "wide"), 0, &["*".to_owned()], 0);
    let matches = vec![json!({"gateways": ["x/y"]}); 20_000];
    let route = json!([{"destination": {"host": "many.shop.svc.cluster.local"}}]);
    wide["spec"]["gateways"] = json!(["other/edge"]);
    wide["spec"]["http"] = json!([{"match": matches, "route": route}]);
    let mut translator = Translator::new();
    let gateway = gateway_on("other", "*", 2_000..2_500);
    translator.change([wide, gateway, pod("edge", json!({"app": "edge"}))].map(object));
    let edge = client(pod("edge", json!({"app": "edge"})));
    let before = std::time::Instant::now();
    translator.resolve(&edge, &Interest::Own);
    // Under a second here; all ports took twelve.
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    let found = translator.diagnostics();
    let limit: Vec<_> = found.iter().filter(|one| one.message.contains("32 MiB")).collect();
    let [limit] = &limit[..] else { panic!("{limit:?}") };
    assert_eq!(limit.object.to_string(), "VirtualService/other/wide");
}

#[test]
fn gateways_times_hosts_have_the_same_bound_and_what_is_there_once_has_none() {
    let all = hosts(3_000);
    let mut translator = Translator::new();
    translator.change([object(service(1)), object(pod("edge", json!({"app": "edge"})))]);
    let edge = |at: usize, hosts: &str| {
        let mut one = gateway_on("other", hosts, std::iter::once(2_000 + at as u16));
        one["metadata"]["name"] = json!(format!("edge-{at}"));
        one
    };
    // One virtual service at 300 Gateways, each with a port of its own.
    let mut wide = virtual_service_of(("other", "wide"), 0, &all, 200);
    let names: Vec<String> = (0..300).map(|at| format!("other/edge-{at}")).collect();
    wide["spec"]["gateways"] = json!(names);
    translator.change((0..300).map(|at| object(edge(at, "*"))).chain([object(wide)]));
    let client = client(pod("edge", json!({"app": "edge"})));
    let ports = |translator: &mut Translator| {
        let resolved = translator.resolve(&client, &Interest::Own);
        let all = resolved.resources.iter();
        (all.filter(|piece| piece.name.starts_with("listener/")).count(), size(&resolved))
    };
    let (count, bytes) = ports(&mut translator);
    assert!(count > 10 && count < 100 && bytes < 32 << 20, "{count} ports, {bytes} bytes");
    // As many virtual services, each at a Gateway of its own.
    let gone = object(virtual_service_of(("other", "wide"), 0, &all, 1)).0;
    let own = (0..300).map(|at| {
        let mut one = virtual_service_of(("other", &format!("v{at}")), 0, &all[..1_000], 5);
        one["spec"]["gateways"] = json!([format!("other/edge-{at}")]);
        object(one)
    });
    translator.change(own.chain([(gone, None)]));
    assert_eq!(ports(&mut translator).0, 300);
    assert!(!translator.diagnostics().iter().any(|one| one.message.contains("MiB")));
}

#[test]
fn a_gateways_answer_is_kept_up_to_date_when_diagnostics_read_it_too() {
    let objects = || [service(1), virtual_service("v", 0, &hosts(1), 1), gateway(&["*"])];
    let mut translator = Translator::new();
    translator.change([object(pod("edge", json!({"app": "edge"})))]);
    translator.change(objects().map(object));
    let edge = client(pod("edge", json!({"app": "edge"})));
    translator.resolve(&edge, &Interest::Own);
    assert!(translator.diagnostics().iter().all(|one| !one.message.contains("MiB")));
    for _ in 0..2 {
        // Without Gateways their findings are forgotten, and what these have read.
        let gone = objects().map(|one| (object(one).0, None));
        assert_eq!(translator.change(gone).len(), 1);
        translator.diagnostics();
        assert_eq!(translator.change(objects().map(object)).len(), 1);
        translator.diagnostics();
    }
    let class = translator.class(&edge, &Interest::Own);
    translator.forget(&class, &Interest::Own);
    assert!(translator.check(1_000).is_empty());
}

#[test]
fn servers_of_a_gateway_are_matched_together() {
    let mut translator = Translator::new();
    let all = hosts(4_000);
    let lists: Vec<[&str; 1]> = all.iter().map(|host| [host.as_str()]).collect();
    let servers: Vec<&[&str]> = lists.iter().map(|list| &list[..]).collect();
    translator.change([
        object(service(1)),
        object(virtual_service("wide", 0, &all, 1)),
        object(gateway_of(&servers)),
    ]);
    let edge = client(pod("edge", json!({"app": "edge"})));
    let before = std::time::Instant::now();
    let resolved = translator.resolve(&edge, &Interest::Own);
    assert!(translator.diagnostics().len() < 10);
    let hosts: usize = routes(&resolved).values().map(|route| route.hosts.len()).sum();
    assert_eq!(hosts, 4_000);
    // Each server with each host takes minutes.
    assert!(before.elapsed().as_secs() < 10, "{:?}", before.elapsed());
}

#[test]
fn many_hosts_of_a_gateway_and_of_a_virtual_service_are_matched_in_one_pass() {
    let mut translator = Translator::new();
    let all = hosts(20_000);
    let wild: Vec<String> = (0..20_000).map(|number| format!("*.w{number}.example.com")).collect();
    let served: Vec<&str> = all.iter().chain(&wild).map(String::as_str).collect();
    let named: Vec<String> = (0..20_000).map(|number| format!("a.w{number}.example.com")).collect();
    translator.change([
        object(service(1)),
        object(virtual_service("wide", 0, &named, 1)),
        object(gateway(&served)),
    ]);
    let edge = client(pod("edge", json!({"app": "edge"})));
    let before = std::time::Instant::now();
    let resolved = translator.resolve(&edge, &Interest::Own);
    let hosts: usize = routes(&resolved).values().map(|route| route.hosts.len()).sum();
    assert_eq!(hosts, 20_000);
    // Comparing each with each takes minutes.
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
}

/// A virtual service of `host` with a match for each of `count` labels, in the list `kind`.
fn by_labels(name: &str, host: &str, kind: &str, count: usize) -> Value {
    let one = |number| json!({"sourceLabels": {"app": format!("{name}-{number}")}});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "hosts": [host],
            kind: [{
                "match": (0..count).map(one).collect::<Vec<_>>(),
                "route": [{"destination": {"host": host}}],
            }],
        },
    })
}

#[test]
fn connections_by_labels_are_one_list_however_long() {
    let mut translator = Translator::new();
    let database = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "tcp-db", "port": 5432}]},
    });
    translator.change([object(database), object(by_labels("many", "db", "tcp", 14_000))]);
    let pod = client(pod("web", json!({"app": "web"})));
    let interest = "10.96.0.7:5432".parse().expect("an interest");
    let resolved = translator.resolve(&pod, &interest);
    let answer = Resource::Answer(resolved.answer.clone());
    let json = serde_json::to_vec(&answer).expect("an answer is JSON");
    let read = weft_config::decode(&json).expect("proxies can read it");
    assert_eq!(read, answer);
    let Entry::Server(server) = &resolved.answer.entry else { panic!("{:?}", resolved.answer) };
    assert_eq!(server.tcp.len(), 14_001, "each alternative, and the host itself");
}

#[test]
fn rules_by_labels_of_several_virtual_services_grow_by_their_sum() {
    let rules = |services: usize| {
        let mut translator = Translator::new();
        let all = (0..services).map(|at| by_labels(&format!("v{at}"), "many", "http", 1_000));
        translator.change(all.chain([service(1)]).map(object));
        let pod = client(pod("web", json!({"app": "web"})));
        let interest = "many:1000".parse().expect("an interest");
        let resolved = translator.resolve(&pod, &interest);
        let [route] = &routes(&resolved).into_values().collect::<Vec<_>>()[..] else {
            panic!("one route")
        };
        (route.rules.len(), size(&resolved))
    };
    let few = rules(2);
    let before = std::time::Instant::now();
    let many = rules(8);
    // Comparing each with each takes half a minute.
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    assert_eq!((few.0, many.0), (2_001, 8_001));
    assert!(many.1 < 5 * few.1, "{} bytes, and {} bytes of a quarter", many.1, few.1);
}

#[test]
fn many_destinations_find_their_subsets_by_name() {
    const MANY: usize = 8_000;
    let destination =
        |at| json!({"destination": {"host": "many", "subset": format!("s{at}")}, "weight": 1});
    let routes = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "split", "namespace": "shop"},
        "spec": {
            "hosts": ["many"],
            "http": [{"route": (0..MANY).map(destination).collect::<Vec<_>>()}],
        },
    });
    let subset = |at, of: &str| json!({"name": format!("s{at}"), "labels": {"of": of}});
    let subsets = (0..MANY).map(|at| subset(at, "first")).chain([subset(7, "second")]);
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "parts", "namespace": "shop"},
        "spec": {"host": "many", "subsets": subsets.collect::<Vec<_>>()},
    });
    let mut translator = Translator::new();
    translator.change([service(1), routes, rule].map(object));
    let pod = client(pod("web", json!({"app": "web"})));
    let interest = "many:1000".parse().expect("an interest");
    let resolved = translator.resolve(&pod, &interest);
    let parts = resolved.resources.iter().filter_map(|piece| match &*piece.resource {
        Resource::Backend(backend) => backend.subset.as_ref(),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    assert_eq!(parts.len(), MANY);
    let first = ("of".to_owned(), "first".to_owned());
    assert!(parts.iter().all(|part| part.labels == [first.clone()]), "the first of a name wins");
}
