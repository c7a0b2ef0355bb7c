//! Sums what the workers counted, and says it in Prometheus' format.

use std::collections::BTreeMap;

use weft_config::Workload;
use weft_process::metrics::{Exposition, Histogram, Kind, labels};

use super::{BOUNDS, Connections, Grpc, Peer, Registry, Reporter, Requests, Series};

/// The text of all `registries` together, told by `own`.
pub fn exposition(registries: &[Registry], own: &Workload) -> Exposition {
    let mut requests: BTreeMap<String, Requests> = BTreeMap::new();
    let mut connections: BTreeMap<String, Connections> = BTreeMap::new();
    for registry in registries {
        for (series, numbers) in &registry.requests {
            let peer = &registry.peers[series.peer.0 as usize];
            let key = request_labels(series, numbers, peer, own);
            requests.entry(key).or_default().add(numbers);
        }
        for ((peer, reporter), numbers) in &registry.connections {
            let peer = &registry.peers[peer.0 as usize];
            let key = labels(shared(*reporter, peer, own, "tcp").iter().copied());
            connections.entry(key).or_default().add(numbers);
        }
    }
    let mut text = Exposition::default();
    write_requests(&mut text, &requests);
    write_messages(&mut text, &requests);
    write_connections(&mut text, &connections);
    text
}

fn write_requests(text: &mut Exposition, requests: &BTreeMap<String, Requests>) {
    text.family("istio_requests_total", Kind::Counter, "");
    for (labels, numbers) in requests {
        text.sample("istio_requests_total", labels, numbers.count as f64);
    }
    type Choose = fn(&Requests) -> &super::Sizes;
    let histograms: [(&str, Choose); 3] = [
        ("istio_request_duration_milliseconds", |numbers| &numbers.durations),
        ("istio_request_bytes", |numbers| &numbers.received),
        ("istio_response_bytes", |numbers| &numbers.sent),
    ];
    for (name, choose) in histograms {
        text.family(name, Kind::Histogram, "");
        for (labels, numbers) in requests {
            let sizes = choose(numbers);
            let (counts, sum) = (&sizes.counts[..], sizes.sum);
            text.histogram(name, labels, &Histogram { bounds: &BOUNDS, counts, sum });
        }
    }
}

fn write_messages(text: &mut Exposition, requests: &BTreeMap<String, Requests>) {
    type Choose = fn(&Requests) -> u64;
    let counters: [(&str, Choose); 2] = [
        ("istio_request_messages_total", |numbers| numbers.messages.0),
        ("istio_response_messages_total", |numbers| numbers.messages.1),
    ];
    for (name, choose) in counters {
        let spoken = requests.iter().filter(|(_, numbers)| choose(numbers) > 0);
        for (at, (labels, numbers)) in spoken.enumerate() {
            if at == 0 {
                text.family(name, Kind::Counter, "");
            }
            text.sample(name, labels, choose(numbers) as f64);
        }
    }
}

fn write_connections(text: &mut Exposition, connections: &BTreeMap<String, Connections>) {
    type Choose = fn(&Connections) -> u64;
    let counters: [(&str, Choose); 4] = [
        ("istio_tcp_connections_opened_total", |numbers| numbers.opened),
        ("istio_tcp_connections_closed_total", |numbers| numbers.closed),
        ("istio_tcp_received_bytes_total", |numbers| numbers.received),
        ("istio_tcp_sent_bytes_total", |numbers| numbers.sent),
    ];
    for (name, choose) in counters {
        text.family(name, Kind::Counter, "");
        for (labels, numbers) in connections {
            text.sample(name, labels, choose(numbers) as f64);
        }
    }
}

fn request_labels(series: &Series, numbers: &Requests, peer: &Peer, own: &Workload) -> String {
    let (protocol, grpc) = match series.grpc {
        Grpc::Plain => ("http", String::new()),
        Grpc::Status(status) => ("grpc", status.map(|it| it.to_string()).unwrap_or_default()),
    };
    let (code, flags) = (series.status.to_string(), numbers.flags.to_string());
    let own_labels: [(&str, &str); 3] =
        [("response_code", &code), ("response_flags", &flags), ("grpc_response_status", &grpc)];
    labels(shared(series.reporter, peer, own, protocol).iter().copied().chain(own_labels))
}

/// The labels that requests and connections have.
fn shared<'a>(
    reporter: Reporter,
    peer: &'a Peer,
    own: &'a Workload,
    protocol: &'a str,
) -> [(&'a str, &'a str); 22] {
    let unknown = const {
        &Workload {
            name: String::new(),
            namespace: String::new(),
            app: String::new(),
            version: String::new(),
            canonical_name: String::new(),
            canonical_revision: String::new(),
            cluster: String::new(),
            account: String::new(),
        }
    };
    let (told_by, security, source, destination) = match reporter {
        Reporter::Source => ("source", "unknown", own, &peer.workload),
        Reporter::Destination => ("destination", "none", unknown, own),
    };
    [
        ("reporter", told_by),
        ("source_workload", known(&source.name)),
        ("source_workload_namespace", known(&source.namespace)),
        ("source_canonical_service", known(&source.canonical_name)),
        ("source_canonical_revision", known(&source.canonical_revision)),
        ("source_principal", "unknown"),
        ("source_app", known(&source.app)),
        ("source_version", known(&source.version)),
        ("source_cluster", known(&source.cluster)),
        ("destination_workload", known(&destination.name)),
        ("destination_workload_namespace", known(&destination.namespace)),
        ("destination_canonical_service", known(&destination.canonical_name)),
        ("destination_canonical_revision", known(&destination.canonical_revision)),
        ("destination_principal", "unknown"),
        ("destination_app", known(&destination.app)),
        ("destination_version", known(&destination.version)),
        ("destination_cluster", known(&destination.cluster)),
        ("destination_service", known(&peer.service)),
        ("destination_service_name", known(&peer.service_name)),
        ("destination_service_namespace", known(&peer.service_namespace)),
        ("request_protocol", protocol),
        ("connection_security_policy", security),
    ]
}

fn known(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

impl Requests {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.durations.add(&other.durations);
        self.received.add(&other.received);
        self.sent.add(&other.sent);
        self.messages.0 += other.messages.0;
        self.messages.1 += other.messages.1;
    }
}

impl Connections {
    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.received += other.received;
        self.sent += other.sent;
    }
}
