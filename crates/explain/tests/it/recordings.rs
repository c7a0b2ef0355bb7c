//! What Istio and Envoy did, compared with what an explanation says.
//!
//! Every exchange of a group is replayed. A difference is listed with its reason
//! in `differences.yaml`, or fails; one that is listed and gone fails too.

use std::fmt::Write;

use serde_json::{Value, json};
use weft_explain::{
    Destination, Explanation, Hop, Outcome, Question, Start, Unlabelled, World, explain,
};
use weft_testkit::recordings::{
    OF_REPLIES, OF_REQUESTS, Recording, exchanges, fields, is_unstable, listed, own_fields,
};

/// Raw bytes that the command line cannot say.
const MOST_SKIPPED: usize = 16;

#[test]
fn routing_matches_as_recorded() {
    replay("routing-match", 219);
}

#[test]
fn actions_are_as_recorded() {
    replay("routing-actions", 231);
}

#[test]
fn destinations_are_as_recorded() {
    replay("destinations", 32);
}

#[test]
fn services_are_reached_as_recorded() {
    replay("services", 92);
}

#[test]
fn hosts_find_their_rules_as_recorded() {
    replay("routing-hosts", 74);
}

#[test]
fn connections_are_passed_on_as_recorded() {
    replay("tcp-tls", 48);
}

#[test]
fn hosts_outside_of_services_are_reached_as_recorded() {
    replay("egress", 99);
}

/// Replays a group of `count` exchanges.
#[track_caller]
fn replay(group: &str, count: usize) {
    let recording = Recording::read(group);
    let (mut seen, mut skipped, mut wrong) = (0, 0, String::new());
    let mut listed = listed(group, "explain");
    for world in recording.worlds() {
        let id = world["id"].as_str().expect("a world has an id");
        // Its pods are labelled as those with a sidecar are.
        let mut built = World::of_files(recording.documents(world), Unlabelled::Inject);
        for (number, exchange) in exchanges(world).iter().enumerate() {
            seen += 1;
            if is_unstable(exchange) {
                skipped += 1;
                continue;
            }
            let Some(question) = question(world, &exchange["request"]) else {
                skipped += 1;
                continue;
            };
            let differences = match explain(&mut built, &question) {
                Ok(explanation) => differences(exchange, &explanation),
                Err(error) => vec![error.to_string()],
            };
            let reason = listed.remove(&(id.to_owned(), number));
            match (differences.is_empty(), reason) {
                (false, None) => {
                    let _ = writeln!(
                        wrong,
                        "{id} #{number} {}: {}",
                        exchange["request"],
                        differences.join("; ")
                    );
                }
                (true, Some(_)) => {
                    let _ = writeln!(wrong, "{id} #{number} is listed and does not differ");
                }
                _ => {}
            }
        }
    }
    for ((id, number), _) in listed {
        let _ = writeln!(wrong, "{id} #{number} is listed and was not recorded");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(seen, count);
    assert!(skipped <= MOST_SKIPPED, "{skipped} exchanges were skipped");
}

/// The request as a question; bytes that are no HTTP are a TCP connection.
fn question(world: &Value, request: &Value) -> Option<Question> {
    let enter = &world["enter"];
    let workload = &enter["workload"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = format!("{}.{}", text(&workload["pod"]), text(&workload["namespace"]));
    let (start, ip) = match enter["at"].as_str()? {
        "sidecar-outbound" => {
            let ip = enter["destination_ip"].as_str().unwrap_or("10.96.1.1");
            (Start::From(name.parse().ok()?), ip.to_owned())
        }
        "sidecar-inbound" => (Start::At(name.parse().ok()?), text(&workload["ip"])),
        _ => (Start::Ingress, text(&workload["ip"])),
    };
    let port = request["port"].as_u64().or(enter["listener_port"].as_u64())?;
    let dialled = match request["to"].as_str() {
        Some(address) => address.to_owned(),
        None => format!("{ip}:{port}"),
    };
    let scheme = match (request["raw_text"].is_string(), request["tls"].is_object()) {
        (true, _) => "tcp",
        (false, true) => "https",
        (false, false) => "http",
    };
    let path = request["path"].as_str().unwrap_or("/");
    let method = request["method"].as_str().unwrap_or("GET");
    let mut question =
        Question::new(Some(method), &format!("{scheme}://{dialled}{path}"), start).ok()?;
    question.to = dialled.parse().ok();
    question.server_name = request["tls"]["sni"].as_str().map(str::to_owned);
    if let Some(authority) = request["authority"].as_str() {
        question.add_header(&format!("host: {authority}")).ok()?;
    }
    for header in request["headers"].as_array().into_iter().flatten() {
        let line = format!("{}: {}", text(&header[0]), text(&header[1]));
        question.add_header(&line).ok()?;
    }
    Some(question)
}

/// In what the first hop differs from what was recorded.
fn differences(exchange: &Value, explanation: &Explanation) -> Vec<String> {
    let recorded = &exchange["result"];
    let hop = &explanation.hops[0];
    let mut found = Vec::new();
    let mut same = |what: &str, recorded: Value, got: Value| {
        if recorded != got {
            found.push(format!("{what}: recorded {recorded}, got {got}"));
        }
    };
    if recorded["statuses"].is_object() {
        // Many requests that all ended in the same way.
        same("outcome", json!("forward"), json!(hop.outcome));
        let shares = recorded["distribution"].as_object().map_or(0, serde_json::Map::len);
        same("destinations", json!(shares), json!(hop.destinations.len()));
        return found;
    }
    let own_reply = recorded["local_reply"] == true;
    let expected = match (own_reply, recorded["destination"]["host"].as_str()) {
        (true, _) => Outcome::Respond,
        (false, Some("passthrough")) => Outcome::Passthrough,
        (false, Some(_)) => Outcome::Forward,
        (false, None) => Outcome::Refuse,
    };
    same("outcome", json!(expected), json!(hop.outcome));
    if own_reply {
        same("status", recorded["status"].clone(), json!(hop.status));
        same("body", recorded["body"].clone(), json!(hop.body.clone().unwrap_or_default()));
        same("flags", recorded["flags"].clone(), json!(hop.flags.as_deref().unwrap_or("-")));
        same("details", recorded["details"].clone(), json!(hop.details));
        let headers = fields(recorded["headers"].as_object(), OF_REPLIES);
        same("headers", json!(headers), json!(own_fields(&hop.headers, OF_REPLIES)));
    }
    if let Some(request) = hop.request.as_ref().filter(|_| recorded["handled_as"] != "tcp") {
        let backend = &recorded["seen_by_backend"];
        same("path", backend["path"].clone(), json!(request.path));
        same("authority", backend["authority"].clone(), json!(request.authority));
        same("method", backend["method"].clone(), json!(request.method));
        let headers = fields(backend["headers"].as_object(), OF_REQUESTS);
        same("headers", json!(headers), json!(own_fields(&request.headers, OF_REQUESTS)));
    }
    // Of a connection that is closed the explanation does not say how it would have been read.
    if (expected, hop.outcome) != (Outcome::Refuse, Outcome::Refuse) {
        same("handled as tcp", json!(recorded["handled_as"] == "tcp"), json!(is_relayed(hop)));
    }
    if recorded["destination"].is_object() && !leads_to(hop, &recorded["destination"]) {
        same("destination", recorded["destination"].clone(), json!(hop.destinations));
    }
    found.extend(mirrored(&recorded["mirrored"], hop));
    found
}

/// In what the copies of a request differ from those that were recorded. They are what is sent
/// on, but for what Envoy adds for its own (`x-envoy-internal` and its own address), which is
/// among the fields that say something of the proxy.
fn mirrored(recorded: &Value, hop: &Hop) -> Vec<String> {
    let recorded = recorded.as_array().map_or(&[][..], Vec::as_slice);
    let all: Vec<_> = hop.mirrors.iter().filter(|mirror| mirror.percent >= 100.0).collect();
    let mut found = Vec::new();
    if recorded.len() != all.len() {
        found.push(format!("copies: recorded {}, got {:?}", recorded.len(), hop.mirrors));
    }
    for copy in recorded {
        let leads = all.iter().any(|mirror| {
            let endpoints = &mirror.destination.endpoints;
            endpoints.iter().any(|own| copy["endpoint"] == own.as_str())
        });
        let is_same = hop.request.as_ref().is_some_and(|sent| {
            let own = ["x-envoy-internal"];
            let left_out: Vec<_> = OF_REQUESTS.iter().chain(&own).copied().collect();
            let headers = fields(copy["headers"].as_object(), &left_out);
            copy["path"] == sent.path.as_str()
                && copy["authority"] == sent.authority.as_str()
                && copy["method"] == sent.method.as_str()
                && headers == own_fields(&sent.headers, &left_out)
        });
        if !(leads && is_same) {
            found.push(format!("copies: recorded {copy}, got {:?} {:?}", hop.mirrors, hop.request));
        }
    }
    found
}

/// Whether the hop passes bytes on without speaking HTTP.
fn is_relayed(hop: &Hop) -> bool {
    matches!(hop.outcome, Outcome::Forward | Outcome::Passthrough) && hop.request.is_none()
}

fn leads_to(hop: &Hop, recorded: &Value) -> bool {
    let text = |name: &str| recorded[name].as_str();
    hop.destinations.iter().any(|destination: &Destination| {
        let endpoint = text("endpoint")
            .is_none_or(|endpoint| destination.endpoints.iter().any(|own| own == endpoint));
        let service = match text("host") {
            Some("application" | "passthrough") => true,
            host => {
                destination.service.as_deref() == host
                    && destination.subset.as_deref() == text("subset")
            }
        };
        endpoint && service && recorded["port"] == destination.port
    })
}
