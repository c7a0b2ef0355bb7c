//! One recorded exchange, done again.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use weft_testkit::waiting::until;

use crate::{
    backend::{Backends, Heard},
    client::{self, Answer, Path},
    client_h2,
    engine::{Engine, HANGS},
};

/// After so long a silence nothing is expected any more.
const SILENCE: Duration = Duration::from_secs(1);

/// So long a line of the access log may take after its answer.
const LATE_LINE: Duration = Duration::from_secs(3);

/// What happened.
pub struct Done {
    pub answers: Vec<Answer>,
    pub heard: Vec<Heard>,
    pub logged: Vec<Value>,
    pub elapsed: Duration,
}

/// Does an exchange of a world.
pub fn again(world: &Value, exchange: &Value, engine: &mut Engine, backends: &Backends) -> Done {
    let request = &exchange["request"];
    if let Some(seconds) = request["wait"].as_f64() {
        until(Instant::now() + Duration::from_secs_f64(seconds));
    }
    let mut path = path(world, request, engine);
    if exchange["result"]["connection"] == "timeout" {
        path.patience = SILENCE;
    }
    let count = |name: &str| request[name].as_u64().unwrap_or(1);
    let begun = Instant::now();
    let mut answers = Vec::new();
    for _ in 0..count("repeat") {
        let together: Vec<_> = (0..count("parallel"))
            .map(|_| {
                let request = request.clone();
                thread::spawn(move || send(&path, &request))
            })
            .collect();
        answers.extend(together.into_iter().map(|one| one.join().expect("a client answers")));
    }
    let elapsed = begun.elapsed();
    let expected = match exchange["result"]["not_logged"] == true {
        true => 0,
        false => answers.len(),
    };
    let patience = match answers.iter().all(|answer| answer.status.is_some()) {
        true => LATE_LINE,
        false => SILENCE,
    };
    let logged = engine.logged(expected, patience);
    Done { answers, heard: backends.heard(), logged, elapsed }
}

/// The way that the connections of a request take.
fn path(world: &Value, request: &Value, engine: &Engine) -> Path {
    let enter = &world["enter"];
    let port = request["port"].as_u64().or(enter["listener_port"].as_u64()).expect("a port");
    let (name, ip) = match enter["at"].as_str() {
        Some("sidecar-outbound") => ("outbound".to_owned(), enter["destination_ip"].as_str()),
        Some("sidecar-inbound") => ("inbound".to_owned(), enter["workload"]["ip"].as_str()),
        _ => (port.to_string(), enter["workload"]["ip"].as_str()),
    };
    let dialled = match request["to"].as_str() {
        Some(address) => address.to_owned(),
        None => format!("{}:{port}", ip.unwrap_or("10.96.1.1")),
    };
    Path {
        // Nobody is at port 1.
        listener: engine.listener(&name).unwrap_or(([127, 0, 0, 1], 1).into()),
        source: request["src_ip"].as_str().unwrap_or("127.66.0.1").parse().expect("an address"),
        dialled: dialled.parse().expect("an address"),
        patience: HANGS,
    }
}

/// Sends a request in the way that it was recorded.
fn send(path: &Path, request: &Value) -> Answer {
    if let Some(raw) = request["raw_text"].as_str() {
        let bytes: Vec<u8> =
            raw.chars().map(|letter| u8::try_from(letter).expect("Latin-1")).collect();
        return client::send(path, &bytes);
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let body = request["body_len"].as_u64().and_then(|length| usize::try_from(length).ok());
    let recorded = request["headers"].as_array().into_iter().flatten();
    let pair = |field: &Value| Some((text(&field[0])?, text(&field[1])?));
    let mut fields: Vec<(String, String)> = recorded.filter_map(pair).collect();
    fields.push(("x-exchange".to_owned(), next().to_string()));
    let (method, target) = (text(&request["method"]), text(&request["path"]));
    let (method, target) = (method.expect("a method"), target.expect("a path"));
    let authority = text(&request["authority"]);
    if request["proto"] == "h2" {
        let scheme = text(&request["scheme"]).expect("a scheme");
        let mut head = vec![
            (":method".to_owned(), method),
            (":scheme".to_owned(), scheme),
            (":path".to_owned(), target),
        ];
        head.extend(authority.map(|authority| (":authority".to_owned(), authority)));
        return client_h2::send(path, &[head, fields].concat(), body.unwrap_or(0));
    }
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    let host = authority.map(|authority| ("host".to_owned(), authority));
    let has_length = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = body.filter(|_| !has_length);
    let length = length.map(|length| ("content-length".to_owned(), length.to_string()));
    for (name, value) in host.into_iter().chain(fields).chain(length) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let bytes = [format!("{head}\r\n").into_bytes(), vec![b'b'; body.unwrap_or(0)]].concat();
    client::send(path, &bytes)
}

/// The number of the next request, by which backends count its attempts.
fn next() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
