//! What is said of ServiceEntries and WorkloadEntries.

use serde_json::{Value, json};

use super::{check_object, mesh};

/// A ServiceEntry for `api.example` with `more` fields.
#[track_caller]
fn check(more: Value, expected: &str) {
    let mut spec = json!({
        "hosts": ["api.example"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    check_object(&mesh("ServiceEntry", spec), expected);
}

#[test]
fn a_good_entry_has_no_findings() {
    check(json!({}), "");
    check(
        json!({
            "hosts": ["*.api.example", "b.example."], "addresses": ["10.0.0.1", "10.1.0.0/16", "::1"],
            "location": "MESH_INTERNAL", "resolution": "STATIC", "exportTo": ["."],
            "ports": [
                {"number": 80, "name": "http", "protocol": "http", "target_port": 8080},
                {"number": 5432, "name": "db", "protocol": "TCP"},
            ],
            "endpoints": [{
                "address": "192.0.2.1", "ports": {"http": 81}, "labels": {"a": "b"}, "weight": 3,
                "locality": "r/z",
            }],
        }),
        "",
    );
    check(json!({"resolution": "DNS", "endpoints": [{"address": "b.example"}]}), "");
    check(json!({"resolution": "STATIC", "workloadSelector": {"labels": {"app": "vm"}}}), "");
    check(json!({"hosts": ["*.a.example"], "resolution": "DYNAMIC_DNS"}), "");
}

#[test]
fn hosts_and_addresses_are_names_and_ranges() {
    check(json!({"hosts": []}), "error spec.hosts: no host is named; name at least one");
    check(
        json!({"hosts": ["*", "a b"]}),
        "error spec.hosts[0]: `*` is every host; name a domain, such as `*.example.com`\n\
         error spec.hosts[1]: `a b` is not a host name",
    );
    check(
        json!({"hosts": vec!["a.example"; 257]}),
        "error spec.hosts: more than 256 hosts; divide them into several objects",
    );
    check(
        json!({"addresses": ["10.0.0.0/33", "a"]}),
        "error spec.addresses[0]: `10.0.0.0/33` is not an address or a range such as `10.1.0.0/16`\n\
         error spec.addresses[1]: `a` is not an address or a range such as `10.1.0.0/16`",
    );
    check(
        json!({"addresses": ["10.0.0.0/8"], "resolution": "DNS"}),
        "error spec.addresses[0]: a range of addresses goes with resolution NONE or STATIC only",
    );
}

#[test]
fn ports_have_numbers_names_and_protocols() {
    check(
        json!({"ports": [
            {"number": 0, "name": "a", "protocol": "HTTP"},
            {"number": 80, "name": "b", "protocol": "FOO"},
            {"number": 80, "name": "b", "protocol": "HTTP", "targetPort": 81},
            {"number": 82},
            {"number": 53, "name": "dns", "protocol": "UDP"},
        ]}),
        "error spec.ports[0].number: 0 is not between 1 and 65535\n\
         error spec.ports[1].protocol: `FOO` is not one of HTTP, HTTP_PROXY, HTTP2, GRPC, GRPC-WEB, \
         HTTPS, TLS, TCP, UDP, MONGO, REDIS, MYSQL\n\
         error spec.ports[2].name: two ports are called `b`\n\
         error spec.ports[2].number: port 80 is there twice; the first one counts\n\
         warning spec.ports[2].targetPort: has no effect with resolution NONE: connections go where \
         clients dialled\n\
         error spec.ports[3].name: the port has no name; give it one\n\
         warning spec.ports[4].protocol: UDP is not looked at: it goes where its client sends it",
    );
    check(
        json!({"ports": [{"number": 80, "name": "t", "protocol": "TCP"}]}),
        "warning spec.ports[0].protocol: connections that are not HTTP or TLS are known by their \
         address, and the ServiceEntry has none, so they are not for it; give it `addresses`",
    );
    check(
        json!({"ports": []}),
        "warning spec.ports: no port is named, so the hosts are not reached; name one",
    );
}

#[test]
fn endpoints_are_what_the_resolution_asks_for() {
    check(
        json!({"endpoints": [{"address": "1.2.3.4"}]}),
        "error spec.endpoints: resolution NONE goes where clients dialled; write resolution STATIC \
         or DNS, or remove the endpoints",
    );
    check(
        json!({"resolution": "STATIC", "endpoints": [{"address": "b.example"}, {}]}),
        "error spec.endpoints[0].address: `b.example` is not an address; write resolution DNS\n\
         error spec.endpoints[1].address: the endpoint has no address",
    );
    check(
        json!({"resolution": "STATIC", "endpoints": [
            {"address": "1.2.3.4", "ports": {"https": 1}, "labels": {"a b": ""}},
        ]}),
        "error spec.endpoints[0].labels: `a b` is not the key of a label\n\
         error spec.endpoints[0].ports.https: no port of the ServiceEntry is called `https`",
    );
    check(
        json!({"hosts": ["*.api.example"], "resolution": "DNS"}),
        "error spec.hosts[0]: `*.api.example` cannot be looked up with resolution DNS; name \
         endpoints, or write resolution NONE or DYNAMIC_DNS",
    );
    check(
        json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": [
            {"address": "a.example"}, {"address": "b example"},
        ]}),
        "error spec.endpoints: resolution DNS_ROUND_ROBIN has at most one endpoint; write resolution \
         DNS\n\
         error spec.endpoints[1].address: `b example` is not an address or a host name",
    );
    check(
        json!({"resolution": "DYNAMIC_DNS", "endpoints": [{"address": "a.example"}]}),
        "error spec.endpoints: resolution DYNAMIC_DNS looks up the host of each request; remove the \
         endpoints, or write resolution DNS\n\
         error spec.hosts[0]: resolution DYNAMIC_DNS is for wildcards; write `*.` and a domain, or \
         resolution DNS",
    );
    check(
        json!({"resolution": "STATIC", "endpoints": [{"address": "1.2.3.4"}],
            "workloadSelector": {"labels": {"app": "vm"}}}),
        "error spec.workloadSelector: endpoints are given, too; keep one of the two",
    );
    check(
        json!({"resolution": "STATIK"}),
        "error spec.resolution: `STATIK` is not one of NONE, STATIC, DNS, DNS_ROUND_ROBIN, \
         DYNAMIC_DNS, did you mean `STATIC`?",
    );
}

#[test]
fn workload_entries_have_an_address() {
    let check = |spec: Value, expected: &str| check_object(&mesh("WorkloadEntry", spec), expected);
    check(json!({"address": "1.2.3.4", "labels": {"app": "vm"}, "serviceAccount": "a"}), "");
    check(json!({"labels": {"a": "b"}}), "error spec.address: the endpoint has no address");
    check(json!({"address": "a b"}), "error spec.address: `a b` is not an address or a host name");
    check(
        json!({"address": "1.2.3.4", "ports": {"http": 0}}),
        "error spec.ports.http: 0 is not between 1 and 65535",
    );
    check(
        json!({"address": "unix:///run/a.sock"}),
        "warning spec.address: not honoured yet: sockets of the file system are not dialled",
    );
}
