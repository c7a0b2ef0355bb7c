//! In what an exchange differs from what was recorded.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weft_testkit::recordings::{Fields, exchanges, fields, own_fields};

use crate::{backend::Heard, client::Answer, exchange::Done, shares};

/// Fields of requests that are not compared: of the connection, of chance, and what only tracing uses.
/// A listener whose connections are not redirected is not taken to lead to an application, so that
/// it counts proxies on the way.
const REQUESTS: &[&str] = &[
    "connection",
    "content-length",
    "transfer-encoding",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-exchange",
    "x-forwarded-client-cert",
    "x-request-id",
    "x-weft-hops",
];

/// Fields of replies that are not compared. The name of the operation is for the client's proxy,
/// which takes it away.
const REPLIES: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "server",
    "transfer-encoding",
    "x-envoy-decorator-operation",
    "x-envoy-upstream-service-time",
];

/// How much later something may happen than it was recorded, on a busy machine.
const LATE: u128 = 900;

/// So many times in a row are no chance.
const ENOUGH: usize = 4;

/// Where a request went, in the words of the recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    pub host: String,
    pub subset: Option<String>,
    pub port: u16,
    pub endpoint: String,
}

impl Reached {
    /// Host and subset, as shares name them.
    pub fn name(&self) -> String {
        match &self.subset {
            Some(subset) => format!("{}/{subset}", self.host),
            None => self.host.clone(),
        }
    }
}

/// The text of a value; `or` stands for null.
pub fn text(value: &Value, or: &str) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => or.to_owned(),
        other => other.to_string(),
    }
}

/// Where a line of the access log says that a request went.
pub fn destination(line: &Value) -> Option<Reached> {
    let endpoint = line["upstream"].as_str()?.to_owned();
    let at =
        |port: u16| Reached { host: String::new(), subset: None, port, endpoint: endpoint.clone() };
    let own = endpoint.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
    let cluster = line["cluster"].as_str().unwrap_or_default();
    let mut parts = cluster.split('|');
    Some(match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("outbound"), Some(port), Some(subset), Some(host)) => Reached {
            host: host.to_owned(),
            subset: Some(subset.to_owned()).filter(|subset| !subset.is_empty()),
            ..at(port.parse().unwrap_or(0))
        },
        (Some("inbound"), ..) => Reached { host: "application".into(), ..at(own) },
        _ if cluster.starts_with("Passthrough") => {
            Reached { host: "passthrough".into(), ..at(own) }
        }
        _ => Reached { host: cluster.to_owned(), ..at(own) },
    })
}

/// Whether every second attempt that was recorded in a world went to another endpoint, often enough for
/// no chance.
pub fn avoids_tried(world: &Value) -> bool {
    let of = |exchange: &Value| {
        let all = exchange["result"]["attempt_endpoints"].as_array()?;
        Some(all.first()? != all.get(1)?)
    };
    let moved: Vec<bool> = exchanges(world).iter().filter_map(of).collect();
    moved.len() >= ENOUGH && moved.iter().all(|moved| *moved)
}

/// What differs, in words; nothing when all is equal.
pub fn differences(world: &Value, exchange: &Value, done: &Done) -> Vec<String> {
    let recorded = &exchange["result"];
    if recorded["statuses"].is_object() {
        return shares::differences(world, exchange, done);
    }
    let mut found = Differences(Vec::new());
    let answer = &done.answers[0];
    found.answer(recorded, answer);
    found.log(recorded, answer, done);
    let copies = recorded["mirrored"].as_array().map_or(&[][..], Vec::as_slice);
    let copied = |heard: &Heard| copies.iter().any(|copy| copy["endpoint"] == heard.at.as_str());
    let (mirrored, heard): (Vec<&Heard>, Vec<&Heard>) =
        done.heard.iter().partition(|it| copied(it));
    found.same("copies", json!(copies.len()), json!(mirrored.len()));
    found.heard(recorded, &heard);
    if let ([first, second, ..], true) = (&heard[..], avoids_tried(world)) {
        found.same("another endpoint", json!(true), json!(first.at != second.at));
    }
    found.time(recorded, done);
    found.0
}

struct Differences(Vec<String>);

impl Differences {
    fn same(&mut self, what: &str, recorded: Value, got: Value) {
        if recorded != got {
            self.0.push(format!("{what}: recorded {recorded}, got {got}"));
        }
    }

    fn answer(&mut self, recorded: &Value, answer: &Answer) {
        self.same("status", recorded["status"].clone(), json!(answer.status));
        let end = |end: Option<&str>| match end {
            // Which of the two it is depends on what was not read.
            Some("closed" | "reset") => Some("closed".to_owned()),
            end => end.map(str::to_owned),
        };
        let connection = end(recorded["connection"].as_str());
        self.same("connection", json!(connection), json!(end(answer.end)));
        if recorded["status"].is_null() || answer.status.is_none() {
            return;
        }
        let is_local = !answer.is_from_backend();
        self.same("local reply", recorded["local_reply"].clone(), json!(is_local));
        if recorded["local_reply"] == true {
            self.same("body", recorded["body"].clone(), json!(answer.body));
        }
        // Once a backend was asked, the kind of content was not recorded.
        let of_content: &[&str] = match recorded["attempts"].is_null() {
            true => &[],
            false => &["content-type"],
        };
        let left_out = [of_content, REPLIES].concat();
        let own = own_fields(&answer.fields, &left_out);
        self.fields("reply", &fields(recorded["headers"].as_object(), &left_out), &own);
        let interim = recorded["interim"].as_array().cloned().unwrap_or_default();
        self.same("interim", json!(interim), json!(answer.interim));
    }

    fn fields(&mut self, what: &str, recorded: &Fields, own: &Fields) {
        let names: BTreeSet<&String> = recorded.keys().chain(own.keys()).collect();
        for name in names {
            let (recorded, own) = (recorded.get(name), own.get(name));
            if recorded != own && !is_meant(recorded, own) {
                self.0.push(format!("{what} {name}: recorded {recorded:?}, got {own:?}"));
            }
        }
    }

    fn log(&mut self, recorded: &Value, answer: &Answer, done: &Done) {
        let is_tcp = recorded["handled_as"] == "tcp";
        let Some(line) = done.logged.first() else {
            if recorded["not_logged"] != true {
                self.0.push("nothing is logged".to_owned());
            }
            return;
        };
        self.same("lines of log", json!(1), json!(done.logged.len()));
        let got_tcp = !line["protocol"].as_str().is_some_and(|it| it.starts_with("HTTP"));
        if answer.end.is_none() {
            self.same("handled as tcp", json!(is_tcp), json!(got_tcp));
        }
        if !is_tcp {
            self.same("flags", recorded["flags"].clone(), json!(text(&line["flags"], "-")));
            self.same("details", recorded["details"].clone(), json!(text(&line["details"], "")));
        }
        match (&recorded["destination"], destination(line)) {
            (Value::Null, None) => {}
            // It was on its way there.
            (Value::Null, Some(got)) if done.heard.is_empty() && leads_to(recorded, &got) => {}
            (expected, Some(got)) if is_same(expected, &got) => {}
            (expected, got) => {
                self.0.push(format!("destination: recorded {expected}, got {got:?}"))
            }
        }
    }

    fn heard(&mut self, recorded: &Value, heard: &[&Heard]) {
        let attempts = recorded["attempts"].as_u64().unwrap_or(0);
        // A request that met the end of an idle connection is sent again, which is no attempt more.
        let counted = heard.iter().filter_map(|heard| heard.field("x-envoy-attempt-count"));
        let counted = counted.filter_map(|text| text.parse().ok()).max();
        let refused = recorded["flags"].as_str().is_some_and(|flags| flags.contains("UF"));
        if !refused {
            let heard = heard.len() as u64;
            self.same("attempts", json!(attempts), json!(counted.unwrap_or(heard)));
        }
        let backend = &recorded["seen_by_backend"];
        let (Some(heard), true) = (heard.last(), backend.is_object()) else { return };
        self.same("protocol", backend["protocol"].clone(), json!(heard.protocol));
        self.same("method", backend["method"].clone(), json!(heard.method));
        let path = backend["path"].as_str().map(str::to_owned);
        if !is_meant(path.as_ref(), Some(&heard.path)) {
            self.same("path", backend["path"].clone(), json!(heard.path));
        }
        self.same("authority", backend["authority"].clone(), json!(heard.authority));
        let body = backend["body_len"].as_u64().unwrap_or(0);
        self.same("length", json!(body), json!(heard.body));
        let recorded = fields(backend["headers"].as_object(), REQUESTS);
        self.fields("request", &recorded, &own_fields(&heard.fields, REQUESTS));
    }

    /// Timeouts and delays end when they were recorded to, and not long after.
    fn time(&mut self, recorded: &Value, done: &Done) {
        let flags = recorded["flags"].as_str().unwrap_or_default();
        let is_timed = flags.split(',').any(|flag| matches!(flag, "UT" | "DI"));
        let Some(expected) = recorded["elapsed_ms"].as_u64().filter(|_| is_timed) else { return };
        let (expected, got) = (u128::from(expected), done.elapsed.as_millis());
        if got * 10 < expected * 8 || got > expected + LATE {
            self.0.push(format!("time: recorded {expected} ms, got {got} ms"));
        }
    }
}

/// Whether a recorded value stands for the other one: by its length, or with a part that varies.
fn is_meant(recorded: Option<&String>, own: Option<&String>) -> bool {
    let (Some(recorded), Some(own)) = (recorded, own) else { return false };
    if let Some((start, rest)) = recorded.split_once('<')
        && let Some((what, end)) = rest.split_once('>')
    {
        let part = own.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        return match (what, part) {
            ("hash" | "uuid" | "proxy address", Some(part)) => !part.is_empty(),
            (long, Some(part)) => long == format!("{} characters", part.len()),
            (_, None) => false,
        };
    }
    false
}

/// Whether a request was to go there that did not reach anything.
fn leads_to(recorded: &Value, got: &Reached) -> bool {
    let routed = &recorded["routed_to"];
    match routed["cluster"].as_str() {
        Some("PassthroughCluster") => got.host == "passthrough",
        _ => is_same(routed, got),
    }
}

/// Which endpoint of a service or subset it was is chance; an address that the client chose is not.
fn is_same(recorded: &Value, got: &Reached) -> bool {
    let text = |name: &str| recorded[name].as_str();
    let endpoint = match text("host") {
        Some("passthrough" | "application") if text("endpoint").is_some() => {
            text("endpoint") == Some(&got.endpoint)
        }
        _ => true,
    };
    endpoint
        && text("host") == Some(&got.host)
        && text("subset") == got.subset.as_deref()
        && recorded["port"] == got.port
}
