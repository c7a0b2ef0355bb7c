//! The groups, and how many of their exchanges are replayed.

use std::{collections::BTreeSet, fmt::Write, net::SocketAddr};

use serde_json::Value;
use weft_api::{Kind, kind::Effect};
use weft_explain::{Start, Unlabelled, World, translate_for};
use weft_manifest::Document;
use weft_testkit::recordings::{Recording, exchanges, is_unstable, listed};

use crate::{
    backend::Backends,
    compare,
    engine::{self, Engine},
    exchange, network,
};

/// What is replayed of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Every exchange.
    All,
    /// What explanations cannot see: bytes, backends that do as told, many requests, bodies, HTTP/2.
    Unseen,
}

/// How many exchanges there are, and why some are not replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    replayed: usize,
    /// Two recordings of them differ.
    unstable: usize,
    /// The client speaks TLS to the proxy, or meets it.
    tls: usize,
    /// Their worlds have objects that Weft does not honour yet.
    not_yet: usize,
}

#[test]
fn protocol() {
    network::alone("groups::protocol_alone");
}

#[test]
fn resilience() {
    network::alone("groups::resilience_alone");
}

#[test]
fn mesh_settings() {
    network::alone("groups::mesh_settings_alone");
}

#[test]
fn the_other_groups() {
    network::alone("groups::the_other_groups_alone");
}

#[test]
#[ignore = "it needs a network of its own; `protocol` makes it"]
fn protocol_alone() {
    network::prepare();
    replay("protocol", Which::All, Counts { replayed: 188, ..Counts::default() });
}

#[test]
#[ignore = "it needs a network of its own; `resilience` makes it"]
fn resilience_alone() {
    network::prepare();
    replay("resilience", Which::All, Counts { replayed: 167, ..Counts::default() });
}

#[test]
#[ignore = "it needs a network of its own; `mesh_settings` makes it"]
fn mesh_settings_alone() {
    network::prepare();
    replay("mesh-config", Which::Unseen, Counts { replayed: 95, ..Counts::default() });
}

#[test]
#[ignore = "it needs a network of its own; `the_other_groups` makes it"]
fn the_other_groups_alone() {
    network::prepare();
    replay("routing-actions", Which::Unseen, Counts { replayed: 31, ..Counts::default() });
    replay("gateway", Which::Unseen, Counts { replayed: 2, ..Counts::default() });
    replay("services", Which::Unseen, Counts { replayed: 43, ..Counts::default() });
    replay("destinations", Which::Unseen, Counts { replayed: 6, ..Counts::default() });
    replay("more", Which::Unseen, Counts { replayed: 8, ..Counts::default() });
    replay("egress", Which::Unseen, Counts { replayed: 6, ..Counts::default() });
}

#[test]
fn nearly_all_is_as_recorded() {
    // In `protocol` most is meant to differ, and so is what was decided beforehand (`D-…`).
    let groups = ["resilience", "mesh-config", "routing-actions", "gateway", "services"];
    let reasons = groups.iter().flat_map(|group| listed(group, "proxy").into_values());
    let differing = reasons.filter(|reason| !reason.starts_with("D-")).count();
    let all = 167 + 95 + 31 + 2 + 43;
    assert!(differing * 100 <= all * 2, "{differing} of {all} differ");
}

/// Replays a group.
#[track_caller]
fn replay(group: &str, which: Which, expected: Counts) {
    let recording = Recording::read(group);
    let mut listed = listed(group, "proxy");
    let (mut counts, mut wrong) = (Counts::default(), String::new());
    for world in recording.worlds() {
        let id = world["id"].as_str().expect("a world has an id");
        let chosen: Vec<(usize, &Value)> = exchanges(world)
            .iter()
            .enumerate()
            .filter(|(_, exchange)| which == Which::All || is_unseen(&exchange["request"]))
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let documents = recording.documents(world);
        if documents.iter().any(is_unknown) {
            counts.not_yet += chosen.len();
            continue;
        }
        let mut running = Running::start(documents, world);
        for (number, exchange) in chosen {
            match () {
                () if is_unstable(exchange) => counts.unstable += 1,
                () if exchange["request"]["tls"].is_object() => counts.tls += 1,
                () => {
                    counts.replayed += 1;
                    let differences = running.differences(world, exchange);
                    let reason = listed.remove(&(id.to_owned(), number));
                    let line = match (differences.is_empty(), reason) {
                        (false, None) => differences.join("; "),
                        (true, Some(_)) => "is listed and does not differ".to_owned(),
                        _ => continue,
                    };
                    let _ = writeln!(wrong, "{group} {id} #{number}: {line}");
                }
            }
        }
    }
    for (id, number) in listed.keys() {
        let _ = writeln!(wrong, "{group} {id} #{number} is listed and was not replayed");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(counts, expected, "of {group}");
}

/// Whether a request needs a proxy that runs.
fn is_unseen(request: &Value) -> bool {
    let says = ["raw_text", "backend", "repeat", "parallel", "body_len"];
    request["proto"] == "h2" || says.iter().any(|name| !request[name].is_null())
}

/// Whether an object decides nothing yet.
fn is_unknown(document: &Document) -> bool {
    let Some(value) = &document.value else { return true };
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let kind = Kind::of(text("apiVersion"), text("kind"));
    kind.is_none_or(|kind| kind.effect() == Effect::NotYet)
}

/// A world that runs.
struct Running {
    engine: Engine,
    backends: Backends,
}

impl Running {
    fn start(documents: Vec<Document>, world: &Value) -> Self {
        let mut built = World::of_files(documents, Unlabelled::Inject);
        let workload = &world["enter"]["workload"];
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let name = format!("{}.{}", text(&workload["pod"]), text(&workload["namespace"]));
        let start = Start::At(name.parse().expect("the name of a pod"));
        let file = translate_for(&mut built, &start).expect("a proxy has a configuration");
        let mut addresses = engine::endpoints(&file, &text(&workload["ip"]));
        addresses.extend(chosen(world));
        let refuse = world["refuse"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
        let backends = Backends::at(&addresses, &refuse);
        Self {
            engine: Engine::start(file, world["locality"].as_str().unwrap_or_default()),
            backends,
        }
    }

    fn differences(&mut self, world: &Value, exchange: &Value) -> Vec<String> {
        let done = exchange::again(world, exchange, &mut self.engine, &self.backends);
        compare::differences(world, exchange, &done)
    }
}

/// Addresses that clients choose themselves, as they were recorded to be reached.
fn chosen(world: &Value) -> BTreeSet<SocketAddr> {
    let reached = exchanges(world).iter().map(|exchange| &exchange["result"]["destination"]);
    reached.filter_map(|reached| reached["endpoint"].as_str()?.parse().ok()).collect()
}
