//! Explanations as people and programs read them, kept beside the world they are of.
//!
//! `UPDATE=1` accepts what comes out.

use std::{fs, path::Path};

use weft_explain::{
    ExplainError, Protocol, Question, Start, Unlabelled, World, explain, translate_for,
};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases")
}

fn shop() -> World {
    world(&["shop.yaml"])
}

/// The shop with ports on the machine that runs it, as in a running mesh.
fn running_shop() -> World {
    world(&["shop.yaml", "machine.yaml"])
}

fn world(files: &[&str]) -> World {
    let read = |file: &&str| {
        let text = fs::read_to_string(folder().join(file)).unwrap();
        weft_manifest::read(file, &text)
    };
    World::of_files(files.iter().flat_map(read).collect(), Unlabelled::Inject)
}

/// `arguments` are URL, then headers; `start` is `ingress`, POD or `at POD`.
#[track_caller]
fn check(case: &str, start: &str, arguments: &[&str]) {
    check_in(shop(), case, &question(start, arguments));
}

#[track_caller]
fn question(start: &str, arguments: &[&str]) -> Question {
    let start = match start.strip_prefix("at ") {
        Some(pod) => Start::At(pod.parse().unwrap()),
        None => start.parse().unwrap(),
    };
    let mut question = Question::new(None, arguments[0], start).unwrap();
    for header in &arguments[1..] {
        question.add_header(header).unwrap();
    }
    question
}

#[track_caller]
fn check_in(mut world: World, case: &str, question: &Question) {
    let explanation = explain(&mut world, question).unwrap();
    let json = serde_json::to_string_pretty(&explanation).unwrap() + "\n";
    same(&format!("{case}.txt"), &explanation.to_string());
    same(&format!("{case}.json"), &json);
}

#[track_caller]
fn same(file: &str, got: &str) {
    let path = folder().join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, got).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, expected, "{file} is different; UPDATE=1 accepts it");
}

#[test]
fn a_request_from_outside_meets_the_gateway_and_the_servers_sidecar() {
    check("ingress", "ingress", &["http://shop.example/"]);
}

#[test]
fn a_host_that_no_virtual_service_names_is_not_found_at_the_gateway() {
    check("ingress-other-host", "ingress", &["http://other.example/"]);
}

#[test]
fn a_port_without_server_is_closed() {
    check("ingress-no-server", "ingress", &["http://shop.example:81/"]);
}

#[track_caller]
fn check_running(case: &str, start: &str, arguments: &[&str]) {
    check_in(running_shop(), case, &question(start, arguments));
}

#[test]
fn the_url_that_works_on_the_machine_is_understood() {
    for url in ["http://localhost:8081/", "http://127.0.0.1:8081/", "http://shop.example:8081/"] {
        check_running("host-port", "ingress", &[url, "host: shop.example"]);
    }
}

#[test]
fn a_port_of_the_machine_may_lead_to_a_server_without_a_gateway() {
    check_running("host-port-direct", "ingress", &["http://localhost:9002/"]);
}

#[test]
fn a_port_that_only_the_gateway_itself_has_is_told_apart_from_the_machines() {
    check_running("host-port-own", "ingress", &["http://localhost:8080/", "host: shop.example"]);
}

#[test]
fn a_port_that_nobody_has_is_answered_with_those_of_the_machine() {
    check_running("host-port-nobody", "ingress", &["http://localhost:8082/"]);
}

#[test]
fn a_name_that_does_not_resolve_is_told_before_what_a_proxy_would_do() {
    check("no-such-name", "web.shop", &["http://cartt/items"]);
    check("no-such-name-host", "web.shop", &["http://cartt/items", "host: cart"]);
    check("no-such-name-tcp", "web.shop", &["tcp://cartt:3306"]);
    check("no-such-name-no-sidecar", "tool.plain", &["http://cartt.shop/"]);
}

#[test]
fn what_stays_in_the_pod_meets_no_proxy() {
    check("localhost", "web.shop", &["http://localhost:8080/"]);
}

#[test]
fn an_address_that_is_said_needs_no_name() {
    let mut asked = question("web.shop", &["http://cartt/items"]);
    asked.to = Some("198.51.100.7:80".parse().unwrap());
    check_in(shop(), "no-such-name-to", &asked);
}

#[track_caller]
fn check_http2(case: &str, start: &str, arguments: &[&str]) {
    let mut asked = question(start, arguments);
    asked.speak_http2().unwrap();
    check_in(shop(), case, &asked);
}

#[test]
fn http2_goes_on_as_far_as_ports_let_it() {
    check_http2("http2-undeclared", "web.shop", &["http://any:7000/"]);
    check_http2("http2-declared-http", "web.shop", &["http://cart/items"]);
    check_http2("http2-declared-grpc", "web.shop", &["http://rpc:7001/"]);
    check("http1-undeclared", "web.shop", &["http://any:7000/"]);
    check("http1-declared-grpc", "web.shop", &["http://rpc:7001/"]);
    check("tcp-undeclared", "web.shop", &["tcp://any:7000"]);
    check("grpc", "web.shop", &["grpc://any:7000/"]);
}

#[test]
fn what_is_spoken_on_depends_on_an_upgrade_only_if_one_is_asked_for() {
    for (header, expected) in
        [("upgrade: websocket", Protocol::Http1), ("x-other: websocket", Protocol::Http2)]
    {
        let arguments = ["http://rpc:7001/", "connection: upgrade", header];
        let explanation = explain(&mut shop(), &question("web.shop", &arguments)).unwrap();
        let sent = explanation.hops[0].request.as_ref().expect("it is forwarded");
        assert_eq!(sent.protocol, expected, "{header}");
    }
}

#[test]
fn http2_says_nothing_about_bytes_that_no_proxy_reads() {
    for url in ["https://cart/", "tcp://cart:80"] {
        let refused = question("web.shop", &[url]).speak_http2().unwrap_err().to_string();
        assert!(refused.contains("--http2"), "{refused}");
    }
}

#[test]
fn shares_are_told_with_their_endpoints() {
    check("weights", "web.shop", &["http://cart/items?all"]);
}

#[test]
fn a_header_takes_the_rule_with_its_timeout() {
    check("header", "web.shop", &["http://cart.shop:80/", "x-user: beta-7"]);
}

#[test]
fn a_missing_subset_is_named() {
    check("missing-subset", "web.shop", &["http://cart/old/1"]);
}

#[test]
fn a_path_that_no_rule_matches_is_told_rule_by_rule() {
    check("no-rule", "web.shop", &["http://cart/"]);
}

#[test]
fn a_service_without_endpoints_answers_503() {
    check("no-endpoint", "web.shop", &["http://empty/"]);
}

#[test]
fn what_nobody_in_the_mesh_is_called_goes_outside() {
    check("outside", "web.shop", &["http://example.com/"]);
}

#[test]
fn bytes_that_are_no_http_are_relayed() {
    check("tcp", "web.shop", &["tcp://db:3306"]);
}

#[test]
fn which_labels_of_the_client_decided_is_told() {
    for (case, client, url) in [
        ("labels-own", "web.shop", "http://board/own"),
        ("labels-own-no-rule", "web.shop", "http://board/"),
        ("labels-other", "cart-v1.shop", "http://board/own"),
        ("labels-tcp-own", "web.shop", "tcp://store:3307"),
        ("labels-tcp-other", "cart-v1.shop", "tcp://store:3307"),
    ] {
        check_in(world(&["shop.yaml", "labels.yaml"]), case, &question(client, &[url]));
    }
}

#[test]
fn a_servers_sidecar_can_be_asked_alone() {
    check("at-server", "at cart-v1.shop", &["http://cart/"]);
}

#[test]
fn tls_to_a_port_of_http_goes_on_as_it_is() {
    check("tls-to-http", "web.shop", &["https://cart:80/"]);
}

#[test]
fn a_port_that_the_service_does_not_have_is_told() {
    check("no-port", "web.shop", &["http://cart:8080/"]);
}

#[test]
fn a_client_without_sidecar_is_told_so() {
    check("no-sidecar", "tool.plain", &["http://cart.shop/items"]);
}

#[test]
fn a_pod_that_is_not_there_is_answered_with_those_that_are() {
    let question = Question::new(None, "http://cart/", "nobody.shop".parse().unwrap()).unwrap();
    let Err(ExplainError::NoPod { others, .. }) = explain(&mut shop(), &question) else {
        panic!("there is no such pod");
    };
    assert_eq!(
        others,
        "there are: cart-v1.shop, cart-v2.shop, web.shop, istio-ingressgateway.istio-system, tool.plain"
    );
}

#[test]
fn without_a_gateway_the_installed_one_listens_for_nothing() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}";
    let mut world = World::of_files(weft_manifest::read("a.yaml", text), Unlabelled::Inject);
    let question = Question::new(None, "http://a/", Start::Ingress).unwrap();
    let explanation = explain(&mut world, &question).unwrap();
    assert_eq!(explanation.hops[0].details.as_deref(), Some("no_listener"));
}

#[test]
fn diagnostics_name_file_line_and_column() {
    let lines = shop().diagnostics();
    let about =
        |text: &str| lines.iter().any(|line| line.starts_with("shop.yaml:") && line.contains(text));
    assert!(about("v9"), "{lines:#?}");
    assert!(about("VirtualService/shop/cart-again"), "{lines:#?}");
}

#[test]
fn a_gateways_configuration_is_what_it_runs_itself() {
    let file = translate_for(&mut shop(), &Start::Ingress).unwrap();
    let names: Vec<String> = file.resources.iter().map(|resource| resource.name()).collect();
    assert!(names.iter().any(|name| name.starts_with("listener/")), "{names:?}");
    assert!(
        names.contains(&"backend/outbound|80||web.shop.svc.cluster.local".to_owned()),
        "{names:?}"
    );
}

/// What the mesh's ConfigMaps say of sidecars holds here as it does for the injector.
#[test]
fn what_the_meshs_settings_keep_from_sidecars_meets_none() {
    let settings = "apiVersion: v1\nkind: ConfigMap\n\
                    metadata: {name: istio-sidecar-injector, namespace: istio-system}\n\
                    data: {values: '{\"global\": {\"proxy\": {\"excludeOutboundPorts\": \"80\"}}}'}\n";
    let explained = |settings: &str| {
        let shop = fs::read_to_string(folder().join("shop.yaml")).unwrap();
        let documents = [("shop.yaml", shop.as_str()), ("settings.yaml", settings)];
        let documents = documents.iter().flat_map(|(file, text)| weft_manifest::read(file, text));
        let mut world = World::of_files(documents.collect(), Unlabelled::Inject);
        explain(&mut world, &question("web.shop", &["http://cart/"])).unwrap().to_string()
    };
    let kept = "the mesh's settings, where the pod has no annotation \
                traffic.sidecar.istio.io/excludeOutboundPorts, keep what it sends";
    let text = explained(settings);
    assert!(text.contains(kept), "{text}");
    assert!(!explained("").contains("keep what it sends"));
}

#[test]
fn virtual_services_that_say_too_much_of_anothers_host_are_left_out_and_named() {
    let rule = |at: usize| {
        let uri = format!("/{at}/{}", "x".repeat(2_000));
        format!(
            "{{\"match\":[{{\"uri\":{{\"prefix\":\"{uri}\"}},\"sourceLabels\":{{\"a\":\"b\"}}}}],\"route\":[{{\"destination\":{{\"host\":\"empty.shop.svc.cluster.local\"}}}}]}}"
        )
    };
    let rules = (0..150).map(rule).collect::<Vec<_>>().join(",");
    let evil = (0..9).map(|at| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
             metadata: {{name: v{at}, namespace: evil}}\n\
             spec: {{\"hosts\":[\"empty.shop.svc.cluster.local\"],\"http\":[{rules}]}}\n"
        )
    });
    let evil: String = evil.collect();
    let shop = fs::read_to_string(folder().join("shop.yaml")).unwrap();
    let documents = [("shop.yaml", shop.as_str()), ("evil.yaml", evil.as_str())];
    let documents = documents.iter().flat_map(|(file, text)| weft_manifest::read(file, text));
    let mut world = World::of_files(documents.collect(), Unlabelled::Inject);
    let asked = question("web.shop", &["http://empty/"]);
    let text = explain(&mut world, &asked).unwrap().to_string();
    let left_out: Vec<&str> =
        text.lines().filter(|line| line.trim_start().starts_with("left out")).collect();
    assert_eq!(left_out.len(), 3, "{text}");
    assert!(left_out[0].contains("VirtualService/evil/v"), "{text}");
    assert!(left_out[2].contains("others"), "{text}");
}

#[test]
fn which_server_name_led_where_is_told() {
    let tls = || world(&["tls.yaml"]);
    let vault = question("ingress", &["https://vault.example"]);
    check_in(tls(), "tls-ingress", &vault);
    check_in(tls(), "tls-ingress-unknown", &question("ingress", &["https://other.example"]));
    check_in(tls(), "tls-ingress-elsewhere", &question("ingress", &["https://other.org"]));
    check_in(tls(), "tls-ingress-plain", &question("ingress", &["http://vault.example:443"]));
    let mut named = question("web.shop", &["https://vault"]);
    named.server_name = Some("vault.example".to_owned());
    check_in(tls(), "tls-sidecar", &named);
    named.server_name = Some("other.example".to_owned());
    check_in(tls(), "tls-sidecar-unknown", &named);
}
