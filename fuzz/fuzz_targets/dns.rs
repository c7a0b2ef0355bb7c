//! Questions for the name server of a laptop's pods.

#![no_main]

// Private to their crate, which has no other reason to show them.
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/pods/src/services.rs"]
mod services;

/// The module above the one that is tried out, as far as that one knows it.
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/pods/src/dns"]
mod dns {
    use std::net::Ipv4Addr;

    use hickory_proto::op::Message;
    use serde_json::json;

    use crate::services::{self, Endpoint, Service};

    pub(crate) const DOMAIN: &str = "cluster.local";

    mod names;

    use names::{Directory, LookupResult, QueryKind, Zone};

    /// A cluster in which every Service exists; the name's first letter says which kind.
    struct Cluster;

    impl Directory for Cluster {
        fn service(&self, namespace: &str, name: &str) -> Option<Service> {
            let spec = match name.as_bytes().first()? {
                b'a'..=b'i' => {
                    json!({"clusterIP": "10.96.0.7", "ports": [{"name": "a", "port": 1}]})
                }
                b'j'..=b'r' => json!({"clusterIP": "None", "ports": [{"name": "a", "port": 1}]}),
                b's' => json!({"type": "ExternalName", "externalName": name}),
                _ => return None,
            };
            let metadata = json!({"name": name, "namespace": namespace});
            Some(services::service(&json!({"metadata": metadata, "spec": spec})))
        }

        fn endpoints(&self, _: &str, name: &str) -> Vec<Endpoint> {
            let endpoint = json!({"addresses": ["10.244.0.9"], "hostname": name});
            let ports = json!([{"name": "a", "port": 2}]);
            services::endpoints(&json!({"endpoints": [endpoint], "ports": ports}))
        }

        fn has_namespace(&self, name: &str) -> bool {
            name.len() < 9
        }

        fn outside(&self, name: &str) -> Option<Ipv4Addr> {
            name.ends_with(".example.com").then_some(Ipv4Addr::new(203, 0, 113, 1))
        }
    }

    pub(crate) fn try_out(bytes: &[u8]) {
        let asked = Message::from_vec(bytes);
        let asked = asked.iter().flat_map(|question| {
            let _ = question.to_vec();
            question.queries.iter().map(|query| query.name().to_lowercase().to_ascii())
        });
        let written = std::str::from_utf8(bytes).map(str::to_ascii_lowercase);
        for name in asked.chain(written) {
            for kind in [QueryKind::Address, QueryKind::Service, QueryKind::Other] {
                let zone = Zone { domain: "cluster.local", directory: &Cluster };
                let answer = zone.look_up(name.trim_end_matches('.'), kind);
                if name.trim_end_matches('.').ends_with(".cluster.local") {
                    assert_ne!(answer, LookupResult::Elsewhere, "{name} is the cluster's");
                }
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dns::try_out(bytes));
