//! What is said of Sidecars.

use serde_json::{Value, json};

use super::{check_object, mesh};

#[track_caller]
fn check(spec: Value, expected: &str) {
    check_object(&mesh("Sidecar", spec), expected);
}

#[test]
fn a_good_scope_has_no_findings() {
    check(
        json!({
            "workload_selector": {"labels": {"app": "web"}},
            "ingress": [
                {"port": {"number": 9080, "name": "in", "protocol": "HTTP"},
                    "defaultEndpoint": "127.0.0.1:8080"},
                {"port": {"number": 9081, "name": "b", "protocol": "TCP"}},
            ],
            "egress": [
                {"port": {"number": 80, "name": "e", "protocol": "HTTP"},
                    "hosts": ["./*", "*/a.example", "bank/*.example", "~bank/b.example"]},
                {"hosts": ["~/*"]},
            ],
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        }),
        "",
    );
}

#[test]
fn egress_names_hosts_of_namespaces() {
    check(
        json!({"egress": [{"port": {"number": 80, "protocol": "HTTP", "name": "a"}}]}),
        "error spec.egress[0].hosts: the entry names no host; write NAMESPACE/HOST, such as `./*`",
    );
    check(
        json!({"egress": [{"hosts": ["dock", "a_b/*", "./a b", "./*", "./*"]}]}),
        "error spec.egress[0].hosts[0]: `dock` is not NAMESPACE/HOST; for every namespace write \
         `*/dock`\n\
         error spec.egress[0].hosts[1]: `a_b` is not `.`, `*`, `~` or the name of a namespace\n\
         error spec.egress[0].hosts[2]: `a b` is not a host name\n\
         warning spec.egress[0].hosts[4]: `./*` is given twice",
    );
    check(
        json!({"egress": [{"hosts": ["./*"]}, {"hosts": ["*/*"]}]}),
        "error spec.egress[0].port: the entry without a port is for all ports that no other has; \
         let it be the last one",
    );
    let port = json!({"number": 80, "protocol": "HTTP", "name": "a"});
    check(
        json!({"egress": [{"port": port, "hosts": ["./*"]}, {"port": port, "hosts": ["*/*"]}]}),
        "error spec.egress[1].port.number: port 80 has an entry above; join the two",
    );
}

#[test]
fn ingress_leads_to_the_application() {
    let ingress = |endpoint: &str| {
        let port = json!({"number": 80, "protocol": "HTTP", "name": "a"});
        json!({"ingress": [{"port": port, "defaultEndpoint": endpoint}]})
    };
    for good in ["", "127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "[::]:80"] {
        check(ingress(good), "");
    }
    for bad in ["10.0.0.1:80", "127.0.0.1", "localhost:80", "127.0.0.1:0"] {
        let message = format!(
            "error spec.ingress[0].defaultEndpoint: `{bad}` is not 127.0.0.1:PORT, 0.0.0.0:PORT, \
             [::1]:PORT or [::]:PORT; connections to the port are closed"
        );
        check(ingress(bad), &message);
    }
    check(
        ingress("unix:///a"),
        "warning spec.ingress[0].defaultEndpoint: not honoured yet: connections to the port are \
         closed",
    );
}
