//! Making pods and looking at them, from inside.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, sync::mpsc, time::timeout};
use weft_apiserver::{Deletion, ExecIo, LogOptions, Node, PodRef, Resource, Store};
use weft_pods::{LocalNode, PROGRAM};

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The store, the node, and what did not hold.
pub struct Stage {
    store: Store,
    node: Arc<LocalNode>,
    /// Checks that did not hold.
    pub diagnostics: Vec<String>,
}

impl Stage {
    pub fn new(store: Store, node: Arc<LocalNode>) -> Self {
        Self { store, node, diagnostics: Vec::new() }
    }

    #[track_caller]
    pub fn check(&mut self, found: &str, expected: &str) {
        if found != expected {
            let line = std::panic::Location::caller().line();
            self.diagnostics.push(format!("line {line}: {found:?} instead of {expected:?}"));
        }
    }

    pub fn create(&self, plural: &str, object: Value) {
        self.create_in("", plural, object);
    }

    pub fn create_in(&self, group: &str, plural: &str, object: Value) {
        let resource = self.store.resource(group, plural).unwrap();
        self.store.create(&resource, object).unwrap();
    }

    pub fn service(&self, name: &str, spec: Value) {
        self.create(
            "services",
            json!({
                "metadata": {"name": name, "namespace": "default"}, "spec": spec,
            }),
        );
    }

    pub async fn pod(&self, name: &str, labels: Value, spec: Value) {
        self.make(json!({"name": name, "namespace": "default", "labels": labels}), spec).await;
    }

    pub async fn annotated(&self, name: &str, annotations: Value, spec: Value) {
        let metadata = json!({
            "name": name, "namespace": "default", "annotations": annotations,
            "labels": {"app": name},
        });
        self.make(metadata, spec).await;
    }

    async fn make(&self, metadata: Value, spec: Value) {
        // The controllers make the service account of a new namespace.
        self.until("serviceaccounts", "default", |_| true).await;
        self.create("pods", json!({"metadata": metadata, "spec": spec}));
    }

    pub fn delete(&self, name: &str) {
        self.store.delete(&self.pods(), "default", name, &Deletion::default()).unwrap();
    }

    pub async fn ready(&mut self, name: &str) {
        self.eventually(name, |pod| condition_of(pod, "Ready") == "True").await;
    }

    pub async fn state(&mut self, name: &str, state: &str, message: &str) {
        let found = |pod: &Value| {
            let text = pod["status"]["containerStatuses"][0]["state"][state]["message"].as_str();
            text.is_some_and(|text| text.contains(message))
        };
        self.eventually(name, found).await;
    }

    pub async fn restarts(&mut self, name: &str, count: u64) {
        let found = |pod: &Value| {
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(count)
        };
        self.eventually(name, found).await;
    }

    pub async fn phase(&mut self, name: &str, phase: &str) {
        self.eventually(name, |pod| pod["status"]["phase"] == phase).await;
    }

    pub async fn gone(&mut self, name: &str) {
        let pods = self.pods();
        let mut watch = self.store.watch(&pods, self.store.version());
        let waiting = async {
            while self.store.get(&pods, "default", name).is_some() {
                watch.next().await.unwrap();
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            self.diagnostics.push(format!("{name} is still there"));
        }
    }

    /// Reasons and messages of the Events of a pod, a line each.
    pub fn events(&self, name: &str) -> String {
        let events = self.store.resource("", "events").unwrap();
        let all = self.store.list(&events, Some("default")).items;
        let own = all.iter().filter(|event| event["involvedObject"]["name"] == name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        own.map(|event| format!("{} {}\n", text(&event["reason"]), text(&event["message"])))
            .collect()
    }

    /// Waits for an Event of a pod.
    pub async fn happened(&mut self, name: &str, part: &str) {
        let events = self.store.resource("", "events").unwrap();
        let mut watch = self.store.watch(&events, self.store.version());
        let waiting = async {
            while !self.events(name).contains(part) {
                watch.next().await.unwrap();
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            let told = self.events(name);
            self.diagnostics.push(format!("{part:?} is not among:\n{told}"));
        }
    }

    pub fn condition(&self, name: &str, kind: &str) -> String {
        let pod = self.store.get(&self.pods(), "default", name).unwrap();
        condition_of(&pod, kind).to_owned()
    }

    pub fn address(&self, name: &str) -> String {
        let pod = self.store.get(&self.pods(), "default", name).unwrap();
        pod["status"]["podIP"].as_str().unwrap_or("no address").to_owned()
    }

    pub fn cluster_address(&self, name: &str) -> String {
        let services = self.store.resource("", "services").unwrap();
        let service = self.store.get(&services, "default", name).unwrap();
        service["spec"]["clusterIP"].as_str().unwrap().to_owned()
    }

    /// Waits until a Service has so many ready endpoints.
    pub async fn endpoints(&mut self, service: &str, count: usize) {
        let slices = self.store.resource("discovery.k8s.io", "endpointslices").unwrap();
        let ready = |store: &Store| {
            let all = store.list(&slices, Some("default")).items;
            let own = all.iter().filter(|slice| {
                slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
            });
            let endpoints = own.flat_map(|slice| slice["endpoints"].as_array().cloned());
            endpoints.flatten().filter(|one| one["conditions"]["ready"] == true).count()
        };
        let mut watch = self.store.watch(&slices, self.store.version());
        let waiting = async {
            while ready(&self.store) != count {
                watch.next().await.unwrap();
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            self.diagnostics.push(format!("{service} has {} endpoints", ready(&self.store)));
        }
    }

    pub async fn ask(&self, pod: &str, address: &str) -> String {
        self.exec(pod, &[PROGRAM, "ask", address], None).await.1
    }

    /// The router follows a Service's endpoints a moment after the store has
    /// them; until then they refuse.
    pub async fn ask_when_routed(&self, pod: &str, address: &str) -> String {
        let asking = async {
            loop {
                let answer = self.ask(pod, address).await;
                if answer != "ConnectionRefused\n" {
                    return answer;
                }
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| "never routed".into())
    }

    pub async fn look_up(&self, pod: &str, name: &str) -> String {
        self.exec(pod, &[PROGRAM, "look-up", name], None).await.1
    }

    pub async fn shell(&self, pod: &str, script: &str) -> String {
        let (_, out, error) = self.exec(pod, &["sh", "-c", script], None).await;
        out + &error
    }

    pub async fn exec(
        &self,
        pod: &str,
        command: &[&str],
        typed: Option<&str>,
    ) -> (i32, String, String) {
        let (io, out, error) = streams(typed);
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let running = self.node.exec(self.reference(pod), "app".into(), command, io);
        let (code, out, error) = tokio::join!(running, collect(out), collect(error));
        match code {
            Ok(code) => (code, out, error),
            Err(refused) => (-1, told(&refused), String::new()),
        }
    }

    /// What a command shows at a terminal at which `hello` is typed.
    pub async fn terminal(&self, pod: &str, command: &[&str]) -> String {
        let (stdout, out) = mpsc::channel(16);
        let (_, resize) = mpsc::channel(1);
        let (keys, stdin) = mpsc::channel(1);
        keys.try_send(Bytes::from_static(b"hello\n")).unwrap();
        let io = ExecIo { stdin: Some(stdin), stdout, stderr: None, tty: true, resize };
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let running = self.node.exec(self.reference(pod), "app".into(), command, io);
        let (code, text) = tokio::join!(running, collect(out));
        match code {
            Ok(0) => text,
            other => format!("{other:?} {text}"),
        }
    }

    pub async fn exec_error(&self, pod: &str, command: &[&str]) -> String {
        self.exec(pod, command, None).await.1
    }

    pub async fn connect(&self, pod: &str, port: u16) -> String {
        let mut text = String::new();
        match self.node.connect(self.reference(pod), port).await {
            Ok(mut stream) => {
                let _ = stream.read_to_string(&mut text).await;
                text
            }
            Err(error) => told(&error),
        }
    }

    /// Waits until the container has written exactly this.
    pub async fn logged(&mut self, pod: &str, expected: &str) {
        self.eventually(pod, |pod| {
            let running = &pod["status"]["containerStatuses"][0]["state"];
            !running["running"].is_null() || !running["terminated"].is_null()
        })
        .await;
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let log = self.node.logs(self.reference(pod), "app".into(), options).await;
        let Ok(mut log) = log else {
            return self.diagnostics.push(format!("{pod} has no log"));
        };
        let mut text = String::new();
        let reading = async {
            while text.len() < expected.len() {
                let Some(chunk) = log.next().await else { return };
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        let _ = timeout(PATIENCE, reading).await;
        self.check(&text, expected);
    }

    pub async fn previously(&mut self, pod: &str, expected: &str) {
        let options = LogOptions { previous: true, ..LogOptions::default() };
        // The second run begins a second after the restart was counted.
        self.eventually(pod, |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"].as_u64() >= Some(2)
        })
        .await;
        match self.node.logs(self.reference(pod), "app".into(), options).await {
            Ok(log) => {
                let chunks: Vec<Bytes> = log.collect().await;
                let text = String::from_utf8_lossy(&chunks.concat()).into_owned();
                self.check(&text, expected);
            }
            Err(error) => self.diagnostics.push(told(&error)),
        }
    }

    async fn eventually(&mut self, name: &str, holds: impl Fn(&Value) -> bool) {
        if !self.until("pods", name, holds).await {
            let pod = self.store.get(&self.pods(), "default", name);
            self.diagnostics
                .push(format!("{name}: {}", pod.map_or(Value::Null, |p| p["status"].clone())));
        }
    }

    async fn until(&self, plural: &str, name: &str, holds: impl Fn(&Value) -> bool) -> bool {
        let resource = self.store.resource("", plural).unwrap();
        let mut watch = self.store.watch(&resource, self.store.version());
        let waiting = async {
            while !self.store.get(&resource, "default", name).is_some_and(|object| holds(&object)) {
                watch.next().await.unwrap();
            }
        };
        timeout(PATIENCE, waiting).await.is_ok()
    }

    /// Does something, and counts the writes of an object until it is as wanted; none when
    /// it does not become so.
    pub async fn writes(
        &self,
        (plural, name): (&str, &str),
        does: impl FnOnce(),
        is_done: impl Fn(&Value) -> bool,
    ) -> Option<usize> {
        let resource = self.store.resource("", plural).unwrap();
        let mut watch = self.store.watch(&resource, self.store.version());
        does();
        let mut count = 0;
        let counting = async {
            loop {
                let event = watch.next().await.unwrap();
                count += usize::from(event.object["metadata"]["name"] == name);
                if is_done(&event.object) {
                    return;
                }
            }
        };
        timeout(PATIENCE, counting).await.ok()?;
        Some(count)
    }

    fn reference(&self, name: &str) -> PodRef {
        let pod = self.store.get(&self.pods(), "default", name).unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        PodRef { namespace: "default".into(), name: name.to_owned(), uid }
    }

    fn pods(&self) -> Arc<Resource> {
        self.store.resource("", "pods").unwrap()
    }
}

fn streams(typed: Option<&str>) -> (ExecIo, mpsc::Receiver<Bytes>, mpsc::Receiver<Bytes>) {
    let (stdout, out) = mpsc::channel(16);
    let (stderr, error) = mpsc::channel(16);
    let (_, resize) = mpsc::channel(1);
    let stdin = typed.map(|text| {
        let (sender, stdin) = mpsc::channel(1);
        sender.try_send(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        stdin
    });
    (ExecIo { stdin, stdout, stderr: Some(stderr), tty: false, resize }, out, error)
}

async fn collect(mut source: mpsc::Receiver<Bytes>) -> String {
    let mut text = String::new();
    while let Some(chunk) = source.recv().await {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

fn condition_of<'p>(pod: &'p Value, kind: &str) -> &'p str {
    let conditions = pod["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("")
}

/// An error with its cause, as the API server tells it.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
