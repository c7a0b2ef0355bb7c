//! What stock kubectl asks in a session of its verbs, asked again.
//!
//! `kubectl.txt` holds the requests as kubectl made them, command by command:
//! request line, the headers that matter, the body. `{seen}` stands for the
//! resource version that the answer before it carried. Behind each request
//! stands what it must be answered with; `UPDATE=1` writes that anew.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use crate::client::World;

/// One request of the file.
#[derive(Default)]
struct Step {
    lines: Vec<String>,
    expected: String,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = Step::default();
    for line in text.lines() {
        match line.strip_prefix("= ") {
            Some(expected) => step.expected = expected.to_owned(),
            None if line.is_empty() => steps.push(std::mem::take(&mut step)),
            None => step.lines.push(line.to_owned()),
        }
    }
    steps
}

impl Step {
    /// The request, with the version that was last seen in its place.
    fn request(&self, seen: &str) -> Request<Full<Bytes>> {
        let mut builder = Request::builder();
        let mut body = Vec::new();
        for line in self.lines.iter().filter(|line| !line.starts_with('#')) {
            let line = line.replace("{seen}", seen);
            if let Some(encoded) = line.strip_prefix("protobuf ") {
                body = STANDARD.decode(encoded).unwrap();
            } else if line.starts_with(['{', '[']) {
                body = line.into_bytes();
            } else if let Some((name, value)) = line.split_once(": ") {
                builder = builder.header(name, value);
            } else {
                let (method, path) = line.split_once(' ').unwrap();
                builder = builder.method(method).uri(path);
            }
        }
        if self.lines.iter().any(|line| line.starts_with("upgrade: ")) {
            builder = builder
                .header("connection", "Upgrade")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        builder.body(Full::new(body.into())).unwrap()
    }

    fn is_stream(&self) -> bool {
        self.lines.iter().any(|line| line.contains("watch=true") || line.starts_with("upgrade: "))
    }
}

/// Code and kind of an answer, and the version that it carries.
async fn ask(world: &World, step: &Step, seen: &mut String) -> String {
    let response = world.open(step.request(seen)).await;
    let code = response.status().as_u16();
    if step.is_stream() && code < 300 {
        return code.to_string();
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(version) = value["metadata"]["resourceVersion"].as_str() {
        *seen = version.to_owned();
    }
    let kind = value["kind"].as_str().unwrap_or("-");
    match value["reason"].as_str() {
        Some(reason) => format!("{code} {kind} {reason}"),
        None => format!("{code} {kind}"),
    }
}

#[tokio::test]
async fn a_session_of_kubectl_is_answered_as_it_was() {
    let world = World::start().await;
    let mut seen = String::new();
    let (mut written, mut differences) = (String::new(), Vec::new());
    for step in steps(include_str!("kubectl.txt")) {
        let answered = ask(&world, &step, &mut seen).await;
        for line in &step.lines {
            written.push_str(line);
            written.push('\n');
        }
        // What ends in its own time may be there still or be gone already.
        if !step.expected.split(" or ").any(|one| one == answered) {
            let asked = step.lines.iter().find(|line| !line.starts_with('#')).unwrap();
            differences
                .push(format!("{asked}\n  expected {}\n  answered {answered}", step.expected));
            written.push_str(&format!("= {answered}\n\n"));
        } else {
            written.push_str(&format!("= {}\n\n", step.expected));
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/kubectl.txt"), written)
            .unwrap();
    } else {
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}
