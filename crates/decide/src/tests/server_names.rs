//! Where connections go by the server name of TLS and by the address that was dialled.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_config::{Entry, Resource, TcpTarget};

use super::world::{self, outcome};
use crate::{Note, Table};

const BACKENDS: &str = "
    chunks some one
    chunk one 10.1.0.1:443
    backend a some
    backend b some
    backend wild some
    backend any some
";

/// A world of these lines, in which each server has these targets: conditions and a backend, or
/// none for what is outside.
fn relaying(lines: &str, targets: &[(Value, &str)]) -> Table {
    let targets: Vec<TcpTarget> = targets
        .iter()
        .enumerate()
        .map(|(at, (conditions, backend))| {
            let mut target = conditions.clone();
            let backends = if backend.is_empty() { json!([]) } else { json!([[backend, 1]]) };
            target["backends"] = backends;
            target["outside"] = backend.is_empty().into();
            target["origin"] = json!({"object": "Test", "rule": at.to_string()});
            serde_json::from_value(target).unwrap()
        })
        .collect();
    let mut changes = world::changes(&format!("listener out directory\n{BACKENDS}\n{lines}"));
    for (_, resource) in &mut changes {
        if let Some(resource) = resource
            && let Resource::Answer(answer) = Arc::make_mut(resource)
            && let Entry::Server(server) = &mut answer.entry
        {
            server.tcp.clone_from(&targets);
        }
    }
    let (table, rejected) = Table::new().with(changes);
    assert_eq!(rejected, []);
    table
}

fn names(names: &[&str]) -> Value {
    json!({"hello": {"names": names}})
}

const BY_ADDRESS: &str = "directory | http 80 | 10.0.9.9:443\nserver 10.0.9.9:443 tcp a";

#[test]
fn the_most_specific_server_name_decides_whatever_the_order() {
    let targets = [
        (names(&["*"]), "any"),
        (names(&["*.example"]), "wild"),
        (names(&["x.org", "a.example"]), "a"),
        (names(&["a.example"]), "b"),
        (names(&["*.b.example"]), "b"),
    ];
    let table = relaying(BY_ADDRESS, &targets);
    assert_eq!(outcome(&table, "connect 10.0.9.9:443"), "ask the client's TLS hello");
    for (name, expected) in [
        ("a.example", "a"),
        ("c.example", "wild"),
        ("x.b.example", "b"),
        ("b.example", "wild"),
        ("x.org", "a"),
        ("example", "any"),
    ] {
        let told = outcome(&table, &format!("connect 10.0.9.9:443 tls {name}"));
        assert_eq!(told, format!("tcp {expected}"), "{name}");
    }
    // Not even a star is for a client that names nothing, or that does not speak TLS.
    for client in ["tls", "plain"] {
        let told = outcome(&table, &format!("connect 10.0.9.9:443 {client}"));
        assert_eq!(told, "refuse UH no_healthy_upstream", "{client}");
    }
}

#[test]
fn what_no_rule_is_for_goes_where_the_unknown_goes() {
    let targets = [(names(&["a.example"]), "a"), (json!({}), "")];
    for (settings, expected) in
        [("", "tcp PassthroughCluster"), ("settings closed", "refuse UH no_healthy_upstream")]
    {
        let table = relaying(&format!("{BY_ADDRESS}\n{settings}"), &targets);
        assert_eq!(outcome(&table, "connect 10.0.9.9:443 tls a.example"), "tcp a");
        for client in ["tls b.example", "tls", "plain"] {
            let told = outcome(&table, &format!("connect 10.0.9.9:443 {client}"));
            assert_eq!(told, expected, "{client} {settings}");
        }
    }
}

#[test]
fn rules_by_name_for_other_workloads_do_not_make_clients_wait() {
    let of_others =
        json!({"hello": {"names": ["a.example"]}, "source": {"labels": [["app", "x"]]}});
    let table = relaying(BY_ADDRESS, &[(of_others, "a"), (json!({}), "any")]);
    assert_eq!(outcome(&table, "connect 10.0.9.9:443"), "tcp any");
}

#[test]
fn the_longest_range_decides_then_the_name() {
    let ranges = |ranges: &[&str]| json!({"destinations": ranges});
    let targets = [
        (json!({}), "any"),
        (ranges(&["0.0.0.0/0"]), "wild"),
        (ranges(&["10.0.0.0/16", "10.9.0.0/16"]), "a"),
        (ranges(&["10.0.9.9/32"]), "b"),
    ];
    for (up_to, expected) in [(1, "any"), (2, "wild"), (3, "a"), (4, "b")] {
        let table = relaying(BY_ADDRESS, &targets[..up_to]);
        assert_eq!(outcome(&table, "connect 10.0.9.9:443"), format!("tcp {expected}"));
    }
    let both = json!({"hello": {"names": ["*.example"]}, "destinations": ["10.0.0.0/16"]});
    let table = relaying(BY_ADDRESS, &[(names(&["a.example"]), "a"), (both, "b")]);
    assert_eq!(outcome(&table, "connect 10.0.9.9:443 tls a.example"), "tcp b");
    assert_eq!(outcome(&table, "connect 10.0.9.9:443 tls x"), "refuse UH no_healthy_upstream");
}

#[test]
fn a_known_server_name_decides_where_the_address_does_not() {
    let known = "directory a.example:443 *.wild.example:443 | http 80 | | 443";
    let table = relaying(known, &[]);
    let ask = |client: &str| outcome(&table, &format!("connect 10.7.7.7:443 {client}"));
    assert_eq!(ask(""), "ask the client's TLS hello");
    assert_eq!(ask("tls a.example"), "ask tls/a.example:443");
    assert_eq!(ask("tls x.wild.example"), "ask tls/x.wild.example:443");
    for client in ["tls b.example", "tls wild.example", "tls", "plain"] {
        assert_eq!(ask(client), "tcp PassthroughCluster", "{client}");
    }
    // Elsewhere nobody waits for a hello.
    assert_eq!(outcome(&table, "connect 10.7.7.7:80"), "http");
    assert_eq!(outcome(&table, "connect 10.7.7.7:444"), "tcp PassthroughCluster");

    let answered = format!("{known}\nsettings closed\nserver tls/a.example:443 tcp a");
    let table = relaying(&answered, &[(json!({}), "a")]);
    assert_eq!(outcome(&table, "connect 10.7.7.7:443 tls a.example"), "tcp a");
    let closed = "refuse UH no_healthy_upstream";
    assert_eq!(outcome(&table, "connect 10.7.7.7:443 tls b.example"), closed);
    assert_eq!(outcome(&table, "connect 10.7.7.7:443 plain"), closed);
}

#[test]
fn plaintext_on_a_port_of_both_is_http() {
    let known = "directory a.example:443 | http 443 | | 443\nserver tls/a.example:443 tcp a";
    let table = relaying(known, &[(json!({}), "a")]);
    assert_eq!(outcome(&table, "connect 10.7.7.7:443 plain"), "http");
    assert_eq!(outcome(&table, "connect 10.7.7.7:443 tls a.example"), "tcp a");
    assert_eq!(outcome(&table, "connect 10.7.7.7:443 tls b.example"), "tcp PassthroughCluster");
}

#[test]
fn an_explanation_says_which_name_matched() {
    let named = [names(&["b.example", "c", "d", "e"]), names(&["*.example"])];
    let [first, second] = named;
    let table = relaying(BY_ADDRESS, &[(first, "b"), (second, "wild")]);
    let mut notes: Vec<Note> = Vec::new();
    world::decide(&table, "connect 10.0.9.9:443 tls a.example", &mut notes);
    let told: Vec<_> =
        notes.iter().skip(1).map(|note| format!("{} {}", note.origin.rule, note.why)).collect();
    assert_eq!(
        told,
        [
            "0 the server name `a.example` is not `b.example`, `c`, `d` and 1 more",
            "1 the server name `a.example` is covered by `*.example`; relayed to port 80 of the application",
        ]
    );
}
