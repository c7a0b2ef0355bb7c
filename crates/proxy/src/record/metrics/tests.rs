//! What is counted is what is told.

use super::*;
use weft_decide::Flag;

fn request(peer: PeerId, status: u16) -> Request {
    Request {
        peer,
        reporter: Reporter::Source,
        status,
        flags: Flags::default(),
        grpc: Grpc::Plain,
        duration: Duration::from_millis(7),
        received: 0,
        sent: 100,
        messages: (0, 0),
    }
}

fn peer(name: &str) -> Peer {
    Peer {
        service: format!("{name}.default.svc.cluster.local"),
        service_name: name.to_owned(),
        service_namespace: "default".to_owned(),
        workload: Workload { name: format!("{name}-v1"), ..Workload::default() },
    }
}

fn told(registries: &[Registry]) -> String {
    let own = Workload { name: "shop".to_owned(), ..Workload::default() };
    exposition(registries, &own).finish()
}

#[track_caller]
fn check(text: &str, parts: &[&str]) {
    let found = text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(found, "no line with {parts:?} in\n{text}");
}

#[test]
fn messages_of_grpc_are_told_where_there_are_any() {
    let mut registry = Registry::default();
    let hello = registry.peer(peer("hello"));
    registry.request(&request(hello, 200));
    assert!(!told(&[registry.clone()]).contains("_messages_total"));
    let grpc = Grpc::Status(Some(0));
    registry.request(&Request { grpc, messages: (1, 3), ..request(hello, 200) });
    let text = told(&[registry.clone(), registry]);
    for (name, count) in [("request", 2), ("response", 6)] {
        let name = format!("istio_{name}_messages_total{{");
        check(&text, &[&name, "request_protocol=\"grpc\"", &format!("}} {count}")]);
    }
}

#[test]
fn workers_are_summed_and_words_are_istios() {
    let mut one = Registry::default();
    let hello = one.peer(peer("hello"));
    one.request(&request(hello, 200));
    let mut two = one.clone();
    two.request(&Request { flags: Flags::of(Flag::NoRoute), ..request(PeerId::UNKNOWN, 404) });
    let text = told(&[one, two]);
    check(
        &text,
        &[
            "istio_requests_total{",
            "reporter=\"source\"",
            "source_workload=\"shop\"",
            "destination_workload=\"hello-v1\"",
            "destination_service=\"hello.default.svc.cluster.local\"",
            "response_code=\"200\"",
            "response_flags=\"-\"",
            "connection_security_policy=\"unknown\"",
            "} 2",
        ],
    );
    check(&text, &["destination_service=\"unknown\"", "404", "response_flags=\"NR\"", "} 1"]);
    check(&text, &["duration_milliseconds_bucket", "le=\"5\"} 0"]);
    check(&text, &["duration_milliseconds_bucket", "hello", "le=\"10\"} 2"]);
    check(&text, &["istio_response_bytes_sum", "hello", "} 200"]);
}

#[test]
fn connections_are_counted_when_they_begin_and_end() {
    let mut registry = Registry::default();
    let peer = registry.peer(peer("redis"));
    registry.opened(peer, Reporter::Destination);
    registry.opened(peer, Reporter::Destination);
    registry.closed(peer, Reporter::Destination, (10, 20));
    let text = told(&[registry]);
    check(&text, &["opened_total", "reporter=\"destination\"", "protocol=\"tcp\"", "} 2"]);
    check(&text, &["closed_total", "} 1"]);
    check(&text, &["received_bytes_total", "} 10"]);
    check(&text, &["sent_bytes_total", "destination_workload=\"shop\"", "} 20"]);
}

#[test]
fn the_number_of_series_is_bounded_and_nothing_is_lost() {
    let mut registry = Registry::default();
    for number in 0..MOST_PEERS + 10 {
        let peer = registry.peer(peer(&number.to_string()));
        registry.request(&request(peer, 200));
    }
    for status in 0..u16::MAX {
        registry.request(&request(PeerId::UNKNOWN, status));
    }
    assert!(registry.requests.len() <= MOST_SERIES + 2 * 700);
    let total: u64 = registry.requests.values().map(|numbers| numbers.count).sum();
    assert_eq!(total, MOST_PEERS as u64 + 10 + u64::from(u16::MAX));
    check(&told(&[registry]), &["destination_service=\"overflow\""]);
}
