//! What is said of rules for connections, and of servers that pass TLS on.

use serde_json::{Value, json};

use super::{check_object, mesh};
use crate::{Object, read};

/// A VirtualService of `hosts`, in which `rule` is the only one of `list`.
#[track_caller]
fn check(list: &str, hosts: Value, rule: Value, expected: &str) {
    let spec = json!({"hosts": hosts, "gateways": ["edge"], list: [rule]});
    check_object(&mesh("VirtualService", spec), expected);
}

fn route() -> Value {
    json!([{"destination": {"host": "cart"}}])
}

#[test]
fn server_names_are_among_the_hosts_of_the_object() {
    let names = |hosts: Value, names: Value, expected: &str| {
        check("tls", hosts, json!({"match": [{"sniHosts": names}], "route": route()}), expected);
    };
    for (hosts, known) in [
        (json!(["a.example"]), json!(["a.example", "A.example"])),
        (json!(["*.example"]), json!(["a.example", "*.example", "*.b.example", "*-c.example"])),
        (json!(["*"]), json!(["*", "a.example"])),
    ] {
        names(hosts, known, "");
    }
    let place = "spec.tls[0].match[0].sniHosts[0]";
    for (hosts, name, named) in [
        (json!(["a.example"]), "b.example", "`a.example`"),
        (json!(["a.example"]), "*.example", "`a.example`"),
        (json!(["*.example"]), "example", "`*.example`"),
        (json!(["*.example"]), "*", "`*.example`"),
        (json!(["a", "b", "c", "d", "e"]), "f", "`a`, `b`, `c` and 2 more"),
    ] {
        let expected = format!(
            "error {place}: `{name}` is not among the hosts of the object, {named}; add it there"
        );
        names(hosts, json!([name]), &expected);
    }
    names(
        json!(["a.example"]),
        json!(["10.0.0.1"]),
        "warning spec.tls[0].match[0].sniHosts[0]: clients do not name addresses in TLS (RFC 6066, \
         section 3), so this never matches; name a host",
    );
    names(
        json!(["a.example"]),
        json!([]),
        "error spec.tls[0].match[0].sniHosts: the condition names no host",
    );
    let rule = json!({"route": route()});
    check(
        "tls",
        json!(["a.example"]),
        rule,
        "error spec.tls[0].match: the rule has no condition; name `sniHosts`",
    );
}

#[test]
fn the_spelling_of_istio_1_0_is_read() {
    let rule = json!({
        "match": [{"port": 443, "sni_hosts": ["a.example"], "destination_subnets": ["10.0.0.0/8"]}],
        "route": route(),
    });
    check("tls", json!(["a.example"]), rule.clone(), "");
    let spec = json!({"hosts": ["a.example"], "tls": [rule]});
    let Some(Object::VirtualService(service)) = read(mesh("VirtualService", spec)) else {
        panic!("not typed")
    };
    let one = &service.spec.tls[0].matches[0];
    assert_eq!((&one.sni_hosts[..], one.port), (&["a.example".to_owned()][..], Some(443)));
    assert_eq!(one.destination_subnets, ["10.0.0.0/8"]);
}

#[test]
fn conditions_on_connections_are_checked() {
    for (one, expected) in [
        (json!({"destinationSubnets": ["10.1.0.0/16", "10.1.2.3", "fd00::/8"]}), ""),
        (
            json!({"destinationSubnets": ["10.1.0.0/33"]}),
            "error PLACE.destinationSubnets[0]: `10.1.0.0/33` is not an address or a range such as \
             10.1.0.0/16",
        ),
        (
            json!({"gateways": ["a/b/c"]}),
            "error PLACE.gateways[0]: `a/b/c` is not `NAME`, `NAMESPACE/NAME` or `mesh`",
        ),
        (
            json!({"sourceLabels": {"app": "-"}}),
            "error PLACE.sourceLabels: `-` is not the value of a label",
        ),
    ] {
        let expected = expected.replace("PLACE", "spec.tcp[0].match[0]");
        check("tcp", json!(["a.example"]), json!({"match": [one], "route": route()}), &expected);
    }
}

#[test]
fn servers_that_pass_tls_on_are_served_and_those_that_end_it_are_not() {
    let check = |protocol: &str, tls: Value, expected: &str| {
        let mut server = json!({
            "port": {"number": 443, "name": "tls", "protocol": protocol}, "hosts": ["*"],
        });
        if !tls.is_null() {
            server["tls"] = tls;
        }
        check_object(&mesh("Gateway", json!({"servers": [server]})), expected);
    };
    check("TCP", Value::Null, "");
    check("MONGO", Value::Null, "");
    for protocol in ["TLS", "HTTPS", "tls"] {
        check(protocol, json!({"mode": "PASSTHROUGH"}), "");
        check(protocol, json!({}), "");
    }
    let needs = "error spec.servers[0].tls: protocol TLS needs TLS settings";
    check("TLS", Value::Null, needs);
    let closed = "warning spec.servers[0].tls.mode: not honoured yet: TLS does not end at gateways, \
                  and the server is closed";
    for mode in ["SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL", "AUTO_PASSTHROUGH"] {
        check("HTTPS", json!({"mode": mode}), closed);
    }
    check("TCP", json!({"mode": "SIMPLE"}), closed);
}
