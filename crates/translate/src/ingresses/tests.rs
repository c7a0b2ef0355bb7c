//! What is made of Ingresses.

use serde_json::{Value, json};

use super::*;

fn read(value: Value) -> (Key, Option<Object>) {
    let object = weft_api::read(value).expect("an object");
    (object.key(), Some(object))
}

fn ingress(name: &str, spec: &Value) -> (Key, Option<Object>) {
    read(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    }))
}

fn class(controller: &str) -> (Key, Option<Object>) {
    read(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "istio"}, "spec": {"controller": controller},
    }))
}

fn path(path: &str, path_type: &str, service: &str) -> Value {
    let service = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"path": path, "pathType": path_type, "backend": service})
}

fn spec(host: &str, paths: &[Value]) -> Value {
    json!({
        "ingressClassName": "istio", "rules": [{"host": host, "http": {"paths": paths}}],
    })
}

/// What is made: objects with the conditions and destinations of their rules.
fn told(changes: &Changes) -> Vec<String> {
    let made = changes.iter().filter(|(key, _)| is_made(key));
    let told = made.map(|(key, object)| match object {
        None => format!("{key}: gone"),
        Some(Object::VirtualService(service)) => {
            let rules = service.spec.http.iter().map(|rule| {
                let conditions = rule.matches.iter().filter_map(|one| {
                    let uri = one.uri.as_ref()?;
                    let prefix = uri.prefix.as_ref().map(|text| format!("{text}.."));
                    prefix.or_else(|| uri.exact.clone())
                });
                let conditions: Vec<_> = conditions.collect();
                let hosts = rule.route.iter().map(|one| &one.destination.host);
                let hosts: Vec<_> = hosts.map(|host| host.split('.').next().unwrap()).collect();
                format!("{} {}", conditions.join("|"), hosts.join(","))
            });
            let rules: Vec<_> = rules.collect();
            format!("{key}: {}", rules.join(" / "))
        }
        Some(_) => key.to_string(),
    });
    told.collect()
}

fn change(ingresses: &mut Ingresses, changes: Vec<(Key, Option<Object>)>) -> Vec<String> {
    told(&ingresses.change(changes, &Installation::default()))
}

#[test]
fn longer_paths_come_first_whichever_ingress_they_are_in() {
    let paths = [path("/a", "Prefix", "a"), path("/", "Prefix", "all")];
    let more = [
        path("/a/b/", "Prefix", "b"),
        path("/a", "Exact", "exact"),
        path("/c.*", "ImplementationSpecific", "c"),
        path("/long", "ImplementationSpecific", "long"),
    ];
    let objects = vec![
        class(ingress::CONTROLLER),
        ingress("one", &spec("web.example", &paths)),
        ingress("two", &spec("WEB.example", &more)),
    ];
    let found = change(&mut Ingresses::default(), objects);
    let expected = "VirtualService/shop/web.example~ingress: /long long / /a/b|/a/b/.. b / \
                    /a exact / /a|/a/.. a / /c|/c/.. c / /.. all";
    assert_eq!(found, [expected, "Gateway/istio-system/~ingress"]);
}

#[test]
fn only_the_class_of_the_mesh_is_served_and_a_change_of_it_counts() {
    let mut ingresses = Ingresses::default();
    let web = spec("web.example", &[path("/", "Prefix", "web")]);
    assert_eq!(
        change(&mut ingresses, vec![ingress("one", &web)]),
        ["VirtualService/shop/web.example~ingress: gone"]
    );
    let made = "VirtualService/shop/web.example~ingress: /.. web";
    let gone = "VirtualService/shop/web.example~ingress: gone";
    let (gateway, no_gateway) =
        ("Gateway/istio-system/~ingress", "Gateway/istio-system/~ingress: gone");
    assert_eq!(change(&mut ingresses, vec![class(ingress::CONTROLLER)]), [made, gateway]);
    assert_eq!(change(&mut ingresses, vec![class("nginx")]), [gone, no_gateway]);
    // The annotation counts first.
    let (key, object) = ingress("one", &web);
    let Some(Object::Ingress(mut annotated)) = object else { panic!("an Ingress") };
    let class = (ingress::CLASS_ANNOTATION.to_owned(), ingress::CLASS.to_owned());
    annotated.metadata.annotations.extend([class]);
    let annotated = (key.clone(), Some(Object::Ingress(annotated)));
    assert_eq!(change(&mut ingresses, vec![annotated]), [made, gateway]);
    assert_eq!(change(&mut ingresses, vec![(key, None)]), [gone, no_gateway]);
}

#[test]
fn a_default_backend_takes_what_is_left_of_every_host() {
    let mut spec = spec("web.example", &[path("/a", "Exact", "a")]);
    spec["defaultBackend"] = json!({"service": {"name": "rest", "port": {"name": "http"}}});
    let objects = vec![class(ingress::CONTROLLER), ingress("one", &spec)];
    let found = change(&mut Ingresses::default(), objects);
    assert_eq!(
        found[..2],
        [
            "VirtualService/shop/*~ingress:  rest",
            "VirtualService/shop/web.example~ingress: /a a /  rest",
        ]
    );
}

#[test]
fn a_path_without_a_usable_backend_takes_its_requests_and_leads_nowhere() {
    let mut broken = path("/a/b", "Prefix", "b");
    broken["backend"]["service"]["port"]["number"] = json!("eighty");
    let resource = json!({"resource": {"kind": "Bucket", "name": "b"}});
    let resource = json!({"path": "/r", "pathType": "Exact", "backend": resource});
    let mut lost = spec("x.example", &[path("/", "Prefix", "x")]);
    lost["rules"][0]["host"] = json!(7);
    let objects = vec![
        class(ingress::CONTROLLER),
        ingress("one", &spec("web.example", &[path("/a", "Prefix", "a"), broken, resource])),
        ingress("lost", &lost),
    ];
    let found = change(&mut Ingresses::default(), objects);
    let expected = "VirtualService/shop/web.example~ingress: /a/b|/a/b/..  / /r  / /a|/a/.. a";
    assert_eq!(found, [expected, "Gateway/istio-system/~ingress"]);
}

#[test]
fn too_many_paths_of_a_host_close_it() {
    let paths: Vec<Value> =
        (0..PATHS / 2 + 1).map(|at| path(&format!("/{at}"), "Exact", "a")).collect();
    let mut ingresses = Ingresses::default();
    let first = vec![class(ingress::CONTROLLER), ingress("one", &spec("web.example", &paths))];
    assert!(change(&mut ingresses, first)[0].contains("/17 a"));
    let more = change(&mut ingresses, vec![ingress("two", &spec("web.example", &paths))]);
    assert_eq!(more, ["VirtualService/shop/web.example~ingress:  "]);
}

#[test]
fn what_is_made_step_by_step_is_what_is_made_at_once() {
    let path_of = |name: &str, service: &str| spec("web.example", &[path(name, "Prefix", service)]);
    let steps = vec![
        vec![ingress("one", &path_of("/a", "one"))],
        vec![class(ingress::CONTROLLER)],
        vec![ingress("two", &path_of("/a/b", "two")), ingress("three", &spec("x.example", &[]))],
        vec![ingress("one", &path_of("/", "one"))],
        vec![class("nginx")],
        vec![ingress("three", &spec("web.example", &[path("/c", "Exact", "three")]))],
        vec![class(ingress::CONTROLLER)],
    ];
    let mut ingresses = Ingresses::default();
    let mut objects = BTreeMap::new();
    let mut made: BTreeMap<Key, Option<Object>> = BTreeMap::new();
    for step in steps {
        objects.extend(step.clone());
        made.extend(ingresses.change(step, &Installation::default()));
        let at_once = Ingresses::default().change(objects.clone(), &Installation::default());
        let at_once: BTreeMap<Key, Option<Object>> = at_once.into_iter().collect();
        let there = |all: &BTreeMap<Key, Option<Object>>| -> Vec<(Key, Object)> {
            let all = all.iter().filter(|(key, _)| is_made(key));
            all.filter_map(|(key, object)| Some((key.clone(), object.clone()?))).collect()
        };
        assert_eq!(there(&made), there(&at_once));
    }
    assert!(
        ingresses
            .change([ingress("two", &path_of("/a/b", "two"))], &Installation::default())
            .iter()
            .all(|(key, _)| !is_made(key)),
        "an equal object changes nothing"
    );
}

#[test]
fn many_hosts_are_read_once_each_and_too_many_are_not_served() {
    let rules = |count: usize| -> Vec<Value> {
        let path = path("/", "Prefix", "web");
        (0..count)
            .map(|at| json!({"host": format!("h{at}.example"), "http": {"paths": [path]}}))
            .collect()
    };
    let many = |count| json!({"ingressClassName": "istio", "rules": rules(count)});
    let most = vec![class(ingress::CONTROLLER), ingress("one", &many(HOSTS))];
    assert_eq!(change(&mut Ingresses::default(), most).len(), HOSTS + 1);
    let before = std::time::Instant::now();
    let more = vec![class(ingress::CONTROLLER), ingress("one", &many(30_000))];
    assert_eq!(change(&mut Ingresses::default(), more), Vec::<String>::new());
    // Each host looked at all rules: hundreds of millions of texts.
    assert!(before.elapsed().as_secs() < 10, "{:?}", before.elapsed());
}

#[test]
fn a_path_whose_type_cannot_be_read_closes_what_is_below_it() {
    let mut odd = path("/admin", "Prefix", "a");
    odd["pathType"] = json!("prefix");
    let objects = vec![
        class(ingress::CONTROLLER),
        ingress("one", &spec("web.example", &[odd, path("/", "Prefix", "all")])),
    ];
    let found = change(&mut Ingresses::default(), objects);
    assert_eq!(found[0], "VirtualService/shop/web.example~ingress: /admin|/admin/..  / /.. all");
}
