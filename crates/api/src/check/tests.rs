//! Objects in, findings out.

mod connections;
mod damage;
mod destination_rule;
mod service_entry;
mod sidecar;

use std::fmt::Write;

use serde_json::{Value, json};

use super::*;

/// The one place that calls `check`: the object's findings, one a line.
fn told(object: &Value) -> String {
    let mut text = String::new();
    for diagnostic in check(object).diagnostics {
        let severity = format!("{:?}", diagnostic.severity).to_lowercase();
        writeln!(text, "{severity} {}: {}", diagnostic.field, diagnostic.message).unwrap();
    }
    text
}

#[track_caller]
fn check_object(object: &Value, expected: &str) {
    assert_eq!(told(object).trim_end(), expected, "for {object}");
}

fn mesh(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "x"},
        "spec": spec,
    })
}

/// A VirtualService for `cart` in which `rule` is the only rule.
#[track_caller]
fn check_rule(rule: Value, expected: &str) {
    check_object(&mesh("VirtualService", json!({"hosts": ["cart"], "http": [rule]})), expected);
}

/// A rule to `cart`, with `more` fields.
fn rule(more: Value) -> Value {
    let mut rule = json!({"route": [{"destination": {"host": "cart"}}]});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

#[test]
fn a_good_object_has_no_findings() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let mut object = mesh(
            "VirtualService",
            json!({
                "hosts": ["cart", "*.shop.example"],
                "gateways": ["mesh", "edge/main"],
                "http": [rule(json!({
                    "name": "all",
                    "match": [{
                        "uri": {"prefix": "/"},
                        "headers": {"end-user": {"exact": "ann"}, "x-any": {}},
                        "port": 80,
                    }],
                    "timeout": "10s",
                    "retries": {"attempts": 2, "perTryTimeout": "2s", "retryOn": "5xx,503"},
                }))],
                "exportTo": ["."],
            }),
        );
        object["apiVersion"] = format!("networking.istio.io/{version}").into();
        check_object(&object, "");
    }
}

#[test]
fn unknown_fields_are_told_with_what_was_meant() {
    let object =
        mesh("VirtualService", json!({"hots": ["cart"], "http": [rule(json!({"zzz": 1}))]}));
    check_object(
        &object,
        "warning spec.hosts: no host is named, so the rules are used only where another \
         VirtualService delegates to this object\n\
         warning spec.hots: unknown field `hots`, did you mean `hosts`?\n\
         warning spec.http[0].zzz: unknown field `zzz`; it has no effect",
    );
}

#[test]
fn fields_that_are_not_honoured_yet_say_what_happens_instead() {
    let policy = json!({"loadBalancer": {"simple": "PASSTHROUGH"}, "tls": {"mode": "SIMPLE"}});
    check_object(
        &mesh("DestinationRule", json!({"host": "cart", "trafficPolicy": policy})),
        "warning spec.trafficPolicy.tls: not honoured yet: the service is called in plaintext",
    );
}

#[test]
fn a_mode_that_asks_for_what_happens_anyway_is_no_mistake() {
    let policy = json!({"tls": {"mode": "DISABLE"}});
    check_object(&mesh("DestinationRule", json!({"host": "cart", "trafficPolicy": policy})), "");
}

#[test]
fn snake_case_is_another_spelling_for_the_meshs_kinds() {
    let object = mesh(
        "VirtualService",
        json!({
            "hosts": ["cart"],
            "export_to": ["*"],
            "http": [rule(json!({
                "match": [{"source_labels": {"some_label": "a"}, "ignore_uri_case": true}],
                "retries": {"attempts": 1, "per_try_timeout": "2s"},
            }))],
        }),
    );
    check_object(&object, "");
    let checked = check(&object);
    assert_eq!(normalised(&object).unwrap().pointer("/spec/exportTo"), Some(&json!(["*"])));
    let Some(Object::VirtualService(typed)) = checked.object else { panic!("not typed") };
    assert_eq!(typed.spec.http[0].retries.as_ref().unwrap().per_try_timeout.as_deref(), Some("2s"));
    assert_eq!(typed.spec.http[0].matches[0].source_labels["some_label"], "a");

    let twice =
        mesh("DestinationRule", json!({"host": "a", "exportTo": ["*"], "export_to": ["."]}));
    check_object(&twice, "error spec.export_to: the same field as `exportTo`; keep one of the two");
}

#[test]
fn wrong_types_say_what_belongs_there() {
    for (value, expected) in [
        (json!({"timeout": 5}), "timeout: `5` stands where a time span such as `1.5s` belongs"),
        (
            json!({"timeout": "5"}),
            "timeout: `5` is not a time span such as `1.5s`, `250ms` or `1h`",
        ),
        (json!({"timeout": "0s"}), "timeout: `0s` is too short; the least is `1ms`"),
        (
            json!({"match": {}}),
            "match: a map stands where a list (lines that begin with `- `) belongs",
        ),
        (
            json!({"match": [{"port": "80"}]}),
            "match[0].port: the text `80` stands where a number belongs; leave the quotes away: 80",
        ),
        (json!({"match": [{"port": 65536}]}), "match[0].port: 65536 is not between 1 and 65535"),
        (
            json!({"match": [{"uri": {"exact": true}}]}),
            "match[0].uri.exact: `true` stands where a text belongs; put it in quotes: \"true\"",
        ),
    ] {
        check_rule(rule(value), &format!("error spec.http[0].{expected}"));
    }
}

#[test]
fn a_rule_that_lost_a_condition_serves_nothing() {
    let broken = rule(json!({"match": [{"uri": {"prefix": 5}, "port": 80}], "timeout": "1s"}));
    let object =
        mesh("VirtualService", json!({"hosts": ["cart"], "http": [broken, rule(json!({}))]}));
    let Some(Object::VirtualService(typed)) = check(&object).object else { panic!("not typed") };
    assert!(typed.spec.http[0].route.is_empty());
    assert_eq!(typed.spec.http[0].matches[0].port, Some(80));
    assert_eq!(typed.spec.http[1].route.len(), 1);
}

#[test]
fn rules_that_exclude_each_other_or_do_nothing_are_errors() {
    for (more, expected) in [
        (
            json!({"route": []}),
            ": the rule does nothing; give it `route`, `redirect` or `directResponse`",
        ),
        (
            json!({"retries": {"attempts": 0, "perTryTimeout": "1s"}}),
            ".retries: attempts is 0, which turns retries off; remove the other fields",
        ),
        (
            json!({"retries": {"attempts": 1, "retryOn": "5xx,gatway-error"}}),
            ".retries.retryOn: `gatway-error` is not a condition for retries, did you mean \
             `gateway-error`?",
        ),
        (
            json!({"match": [{"uri": {"exact": "/a", "prefix": "/b"}}]}),
            ".match[0].uri: `exact`, `prefix` exclude each other; keep one of them",
        ),
        (
            json!({"match": [{"headers": {"@request.auth.claims.sub": {}}}]}),
            ".match[0].headers[\"@request.auth.claims.sub\"]: say which value the claim must have",
        ),
        (
            json!({"route": [
                {"destination": {"host": "a"}, "weight": 0}, {"destination": {"host": "b"}},
            ]}),
            ".route: all weights are 0; give at least one destination a weight",
        ),
        (
            json!({"route": [{"destination": {"host": "a", "port": {"number": 0}}}]}),
            ".route[0].destination.port.number: 0 is not between 1 and 65535",
        ),
    ] {
        check_rule(rule(more), &format!("error spec.http[0]{expected}"));
    }
}

#[test]
fn what_no_proxy_could_load_is_refused() {
    for (rule, expected) in [
        (
            json!({"redirect": {"uri": "/x", "redirectCode": 304}}),
            "redirect.redirectCode: 304 is not one of 301, 302, 303, 307, 308",
        ),
        (
            json!({"directResponse": {"status": 600}}),
            "directResponse.status: 600 is not between 200 and 599",
        ),
        (
            json!({"directResponse": {"status": 200, "body": {"string": "x".repeat((1 << 20) + 1)}}}),
            "directResponse.body: is longer than 1 MiB, which proxies do not keep",
        ),
    ] {
        check_rule(rule, &format!("error spec.http[0].{expected}"));
    }
    for (fault, expected) in [
        (json!({}), ": neither `abort` nor `delay` is given"),
        (json!({"abort": {}}), ".abort: give it `httpStatus` or `grpcStatus`"),
        (
            json!({"abort": {"httpStatus": 500, "grpcStatus": "OK"}}),
            ".abort: `httpStatus`, `grpcStatus` exclude each other; keep one of them",
        ),
        (json!({"abort": {"httpStatus": 0}}), ".abort.httpStatus: 0 is not between 200 and 599"),
        (
            json!({"delay": {"fixedDelay": "1s", "percentage": {"value": 101}}}),
            ".delay.percentage.value: not between 0 and 100",
        ),
    ] {
        check_rule(rule(json!({"fault": fault})), &format!("error spec.http[0].fault{expected}"));
    }
}

#[test]
fn copies_go_to_hosts_and_for_a_share_of_requests() {
    let good =
        json!({"mirror": {"host": "copy", "subset": "v2"}, "mirrorPercentage": {"value": 0.5}});
    check_rule(rule(good), "");
    check_rule(
        rule(json!({"mirrors": [{"destination": {"host": "copy"}}, {
            "destination": {"host": "other", "port": {"number": 81}}, "percentage": {"value": 0},
        }]})),
        "",
    );
    for (given, expected) in [
        (
            json!({"mirror": {"host": "a"}, "mirrorPercentage": {"value": 100.5}}),
            "mirrorPercentage.value: not between 0 and 100",
        ),
        (
            json!({"mirror": {"host": "a"}, "mirrorPercent": 101}),
            "mirrorPercent: not between 0 and 100",
        ),
        (
            json!({"mirrors": [{"destination": {"host": "a"}, "percentage": {"value": -1}}]}),
            "mirrors[0].percentage.value: not between 0 and 100",
        ),
        (
            json!({"mirrors": [{"percentage": {"value": 1}}]}),
            "mirrors[0].destination.host: the destination has no host; name a service",
        ),
        (json!({"mirror": {"host": "*"}}), "mirror.host: `*` is no destination; name a service"),
        (
            json!({"mirror": {"host": "a"}, "mirrors": [{"destination": {"host": "a"}}]}),
            "mirrors: `mirror` and `mirrors` exclude each other; keep one of them",
        ),
    ] {
        check_rule(rule(given), &format!("error spec.http[0].{expected}"));
    }
}

#[test]
fn percent_signs_in_header_values_are_doubled_or_enclose_a_variable() {
    let rule = |value: &str| rule(json!({"headers": {"request": {"set": {"x": value}}}}));
    for good in ["50%%", "%PROTOCOL%", "a%REQ(x-b)%c", "%%%PROTOCOL%%%"] {
        check_rule(rule(good), "");
    }
    for bad in ["50%", "5% or 6%", "%%%"] {
        let error = "a `%` is neither doubled nor part of `%NAME%`";
        check_rule(rule(bad), &format!("error spec.http[0].headers.request.set.x: {error}"));
    }
}

#[test]
fn hosts_are_host_names_that_do_not_overlap() {
    for (hosts, expected) in [
        (
            json!(["a.example", "*.example"]),
            "spec.hosts[1]: `*.example` and `a.example` overlap; keep one of them",
        ),
        (
            json!(["http://cart"]),
            "spec.hosts[0]: `http://cart` is not a host name; leave the scheme away",
        ),
        (
            json!(["*"]),
            "spec.hosts[0]: `*` is allowed only for gateways; name the services, or a gateway",
        ),
    ] {
        let object = mesh("VirtualService", json!({"hosts": hosts, "http": [rule(json!({}))]}));
        check_object(&object, &format!("error {expected}"));
    }
}

#[test]
fn subsets_have_one_name_each() {
    let subsets = json!([{"name": "v1"}, {"name": "v1"}, {"labels": {"version": 2}}, {}]);
    check_object(
        &mesh("DestinationRule", json!({"host": "cart", "subsets": subsets})),
        "error spec.subsets[1].name: two subsets are called `v1`; the first one counts\n\
         error spec.subsets[2].labels.version: `2` stands where a text belongs; put it in quotes: \
         \"2\"\n\
         error spec.subsets[3].name: the subset has no name; give it one",
    );
}

#[test]
fn gateways_need_ports_with_known_protocols_and_whole_hosts() {
    let servers = json!([
        {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["cart"]},
        {"port": {"number": 81, "name": "http", "protocol": "HTP"}, "hosts": ["*"]},
        {"port": {"number": 82, "name": "tcp", "protocol": "TCP"}, "hosts": ["./*"]},
    ]);
    check_object(
        &mesh("Gateway", json!({"servers": servers})),
        "error spec.servers[0].hosts[0]: `cart` is a short name; write the whole name that clients \
         use\n\
         error spec.servers[1].port.name: two ports are called `http`\n\
         error spec.servers[1].port.protocol: `HTP` is not one of HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, \
         TLS, TCP, MONGO",
    );
}

#[test]
fn kubernetes_objects_are_checked_as_far_as_the_mesh_needs_them() {
    let ports = json!([{"port": 80}, {"port": 80, "name": "a", "targetPort": "http"}]);
    check_object(
        &json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "labels": null},
            "spec": {"ports": ports, "slector": {"app": "cart"}},
        }),
        "error spec.ports[0].name: the port has no name; with several ports each needs one\n\
         error spec.ports[1].port: port 80 is given twice\n\
         warning spec.slector: unknown field `slector`, did you mean `selector`?",
    );
}

#[test]
fn a_kind_that_weft_does_not_read_has_no_key() {
    let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
    assert_eq!(check(&object).key, None);
    assert_eq!(check(&json!("nonsense")).key, None);
}

#[test]
fn objects_without_a_namespace_are_in_default() {
    let checked = check(&mesh("Gateway", json!({})));
    assert_eq!(checked.key.unwrap().to_string(), "Gateway/default/x");
    assert_eq!(checked.object.unwrap().metadata().namespace, "default");
}

#[test]
fn mesh_settings_that_are_wrong_keep_their_default_or_close() {
    let key = Key::new(Kind::ConfigMap, "istio-system", "istio");
    let settings = json!({
        "accessLogFile": "/dev/stdout",
        "connectTimeout": 5,
        "outboundTrafficPolicy": {"mode": "REGISTRY"},
        "enableAutoMtls": true,
    });
    let (config, diagnostics) = mesh_config(&settings, &key);
    assert_eq!(config.access_log_file, "/dev/stdout");
    assert_eq!(config.outbound_traffic_policy.mode, "REGISTRY_ONLY");
    let fields: Vec<_> = diagnostics.iter().map(|diagnostic| diagnostic.field.as_str()).collect();
    assert_eq!(config.connect_timeout, "10s");
    let expected = ["connectTimeout", "enableAutoMtls", "outboundTrafficPolicy.mode"];
    assert_eq!(fields, expected.map(|name| format!("data.mesh.{name}")));
}

#[test]
fn mesh_settings_of_which_nothing_can_be_read_close_and_absent_ones_do_not() {
    let key = Key::new(Kind::ConfigMap, "istio-system", "istio");
    for settings in [json!("text"), json!(7), json!([{"accessLogFile": "/dev/stdout"}])] {
        let (config, diagnostics) = mesh_config(&settings, &key);
        assert_eq!(config, closed_mesh_config(), "{settings}");
        assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    }
    let closed = closed_mesh_config();
    assert_eq!(closed.outbound_traffic_policy.mode, "REGISTRY_ONLY");
    assert_eq!(closed.default_service_export_to, ["."]);
    assert_eq!(closed.default_virtual_service_export_to, ["."]);
    assert_eq!(closed.default_destination_rule_export_to, ["."]);
    assert_eq!(closed.default_http_retry_policy, Some(json!({"attempts": 0})));
    for settings in [json!(null), json!({})] {
        assert_eq!(mesh_config(&settings, &key), (MeshConfig::default(), Vec::new()));
    }
}

#[test]
fn objects_that_differ_in_their_version_only_are_equal() {
    let service = |version: &str| {
        let metadata = json!({"name": "cart", "resourceVersion": version, "managedFields": [{}]});
        read(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata}))
    };
    assert_eq!(service("7"), service("8"));
}

#[test]
fn a_kind_without_an_effect_yet_is_told_so() {
    for (version, kind) in [
        ("security.istio.io/v1", "AuthorizationPolicy"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
        check_object(
            &object,
            "warning : not honoured yet: objects of this kind are stored, and change nothing about \
             traffic",
        );
    }
}

#[test]
fn what_would_be_wider_without_a_broken_piece_is_closed() {
    let subsets = json!([{"name": "v1", "labels": {"version": 1}}, {"name": "v2"}]);
    let rule = mesh("DestinationRule", json!({"host": "cart", "subsets": subsets}));
    let Some(Object::DestinationRule(rule)) = read(rule) else { panic!("not typed") };
    let names: Vec<_> = rule.spec.subsets.iter().map(|subset| subset.name.as_str()).collect();
    assert_eq!(names, ["", "v2"]);

    let servers = json!([{
        "port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"],
        "tls": {"httpsRedirect": "yes"},
    }]);
    let gateway = mesh("Gateway", json!({"servers": servers}));
    let Some(Object::Gateway(gateway)) = read(gateway) else { panic!("not typed") };
    assert_eq!(gateway.spec.servers[0].port.number, 80);
    assert!(gateway.spec.servers[0].hosts.is_empty());

    let tls = json!([{"match": [{"sniHosts": [5]}], "route": [{"destination": {"host": "a"}}]}]);
    let Some(Object::VirtualService(service)) = read(mesh("VirtualService", json!({"tls": tls})))
    else {
        panic!("not typed")
    };
    assert_eq!(service.spec.tls[0].route, []);
}

#[test]
fn what_says_for_whom_an_object_is_is_for_nobody_when_it_cannot_be_read() {
    let rule = |spec: Value| match read(mesh("DestinationRule", spec)) {
        Some(Object::DestinationRule(rule)) => rule.spec,
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(json!({"exportTo": "."})).export_to, ["~"]);
    assert_eq!(rule(json!({"exportTo": [".", 5]})).export_to, ["~"]);
    assert!(rule(json!({"exportTo": null})).export_to.is_empty());
    for selector in [json!("app"), json!({"matchLabels": {"app": 5}})] {
        let selector = rule(json!({"workloadSelector": selector})).workload_selector.unwrap();
        assert_eq!(selector.match_labels["~"], "~");
    }

    let service = |spec: Value| match read(mesh("VirtualService", spec)) {
        Some(Object::VirtualService(service)) => service.spec,
        other => panic!("{other:?}"),
    };
    assert_eq!(service(json!({"gateways": "mesh"})).closed, ["gateways"]);
    let mut both = service(json!({"gateways": [5], "export_to": 5, "closed": ["http"]}));
    both.closed.sort();
    assert_eq!(both.closed, ["exportTo", "gateways"]);
    assert_eq!(both.export_to, ["*"]);
    assert!(service(json!({"closed": ["http"]})).closed.is_empty(), "users cannot write it");
    let rules = service(json!({"http": {"route": []}, "tcp": "x"}));
    assert_eq!((rules.http.len(), rules.tcp.len(), rules.tls.len()), (1, 1, 0));

    let Some(Object::Gateway(gateway)) = read(mesh("Gateway", json!({"selector": "app"}))) else {
        panic!("not typed")
    };
    assert_eq!(gateway.spec.selector["~"], "~");

    for annotations in [json!("x"), json!({"networking.istio.io/exportTo": true})] {
        let metadata = json!({"name": "a", "annotations": annotations});
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata});
        let annotations = read(object).unwrap().metadata().annotations.clone();
        assert_eq!(annotations[crate::metadata::EXPORT_TO], "~");
    }
}
