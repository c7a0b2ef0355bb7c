//! A whole mesh for one test: `weft up` as a user starts it, and what a user
//! types in another terminal.
//!
//! A mesh ends with its test, also when the test fails: the process that holds
//! everything is killed when the value is dropped.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{root, waiting};

/// The program under test.
pub const WEFT: &str = env!("CARGO_BIN_EXE_weft");

/// How long anything may take that a user waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The manifest that the acceptance table calls `name`: the course's own file
/// where it lies beside the workspace, else the sample that says the same.
pub fn manifest(name: &str) -> PathBuf {
    let seed = root::root().join("../shared/seeds").join(name);
    if seed.exists() {
        return seed;
    }
    let sample = match name {
        "helloworld.yaml" => "samples/helloworld/helloworld.yaml",
        "helloworld-gw.yaml" => "samples/helloworld/gateway.yaml",
        "helloworld-v2.yaml" => "samples/versions/v2.yaml",
        "helloworld-v2-routing.yaml" => "samples/versions/routing.yaml",
        "helloworld-canary.yaml" => "samples/versions/canary.yaml",
        "helloworld-v3.yaml" => "samples/versions/v3.yaml",
        "ingress.yaml" => "samples/ingress/ingress.yaml",
        "external-service.yaml" => "samples/egress/external.yaml",
        "helloworld-legacy.yaml" => "samples/legacy/legacy.yaml",
        other => panic!("no sample says what {other} says"),
    };
    root::root().join(sample)
}

/// A running mesh.
pub struct Mesh {
    up: Child,
    home: tempfile::TempDir,
    name: String,
    seen: Arc<Seen>,
}

/// What `weft up -o json` has said so far.
#[derive(Default)]
struct Seen {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    ready: bool,
    ended: bool,
    /// Host addresses by `NAMESPACE/SERVICE:PORT`.
    ports: BTreeMap<String, SocketAddr>,
    lines: Vec<String>,
}

impl Mesh {
    /// Starts a mesh called `name` on `paths`, with `arguments` of `weft up`, and
    /// waits until it is ready.
    #[track_caller]
    pub fn start(name: &str, paths: &[PathBuf], arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a folder for the kubeconfig");
        let mut up = Command::new(WEFT)
            .args(["up", "--name", name, "--egress", "none", "-o", "json"])
            .args(arguments)
            .args(paths)
            .env("HOME", home.path())
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let seen = Arc::new(Seen::default());
        read(up.stdout.take().expect("piped"), seen.clone());
        read(up.stderr.take().expect("piped"), seen.clone());
        let mesh = Self { up, home, name: name.to_owned(), seen };
        // With 10,000 objects this takes most of a minute.
        mesh.wait_for(3 * PATIENCE, "the mesh is ready", |said| said.ready);
        mesh
    }

    /// A mesh without pods, whose namespace `default` is not labelled.
    #[track_caller]
    pub fn empty(name: &str) -> Self {
        Self::start(name, &[], &["--no-inject"])
    }

    #[track_caller]
    fn wait_until(&self, what: &str, holds: impl Fn(&Said) -> bool) {
        self.wait_for(PATIENCE, what, holds);
    }

    #[track_caller]
    fn wait_for(&self, patience: Duration, what: &str, holds: impl Fn(&Said) -> bool) {
        let said = self.seen.said.lock().expect("no reader panics");
        let fails = |said: &mut Said| !said.ended && !holds(said);
        let (said, _) =
            self.seen.changed.wait_timeout_while(said, patience, fails).expect("no reader panics");
        assert!(holds(&said), "never: {what}. weft up said:\n{}", said.lines.join("\n"));
    }

    /// The host address of a service's port, once it is bound.
    #[track_caller]
    pub fn host_address(&self, service: &str) -> SocketAddr {
        self.wait_until(&format!("{service} on the host"), |said| said.ports.contains_key(service));
        self.seen.said.lock().expect("no reader panics").ports[service]
    }

    /// What `weft up` has told people so far.
    pub fn said(&self) -> String {
        let said = self.seen.said.lock().expect("no reader panics");
        let text = |line: &String| {
            let event: Value = serde_json::from_str(line).ok()?;
            event["text"].as_str().filter(|_| event["event"] == "log").map(str::to_owned)
        };
        said.lines.iter().filter_map(text).collect::<Vec<_>>().join("\n")
    }

    /// The event that ended the start.
    pub fn ready(&self) -> Value {
        let said = self.seen.said.lock().expect("no reader panics");
        let events = said.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut ready = events.filter(|event| event["event"] == "ready");
        ready.next().expect("the start waits for it")
    }

    /// The gateway's port 80, as clients outside see it.
    #[track_caller]
    pub fn gateway(&self) -> SocketAddr {
        self.host_address("istio-system/istio-ingressgateway:80")
    }

    /// The host ports that are bound now.
    pub fn host_ports(&self) -> Vec<String> {
        self.seen.said.lock().expect("no reader panics").ports.keys().cloned().collect()
    }

    /// A command of the program against this mesh.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(WEFT);
        command
            .args(["--mesh", &self.name])
            .args(arguments)
            .env("HOME", self.home.path())
            .env_remove("KUBECONFIG");
        command
    }

    /// Runs a command of the program; its output, whatever its exit code.
    #[track_caller]
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the program starts")
    }

    /// Runs a command of the program that must succeed; its standard output.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        text(arguments, self.try_run(arguments))
    }

    /// Runs a command that must succeed with `input` on standard input.
    #[track_caller]
    pub fn pipe(&self, arguments: &[&str], input: &str) -> String {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_owned();
        let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("the program ends");
        writer.join().expect("the writer ends").expect("the program reads its input");
        text(arguments, output)
    }

    /// `kubectl apply -f` of a manifest of the table.
    #[track_caller]
    pub fn apply(&self, manifest: &Path) -> String {
        self.run(&["apply", "-f", &manifest.display().to_string()])
    }

    /// `KI(manifest)`: inject, then apply.
    #[track_caller]
    pub fn inject_and_apply(&self, manifest: &Path) -> String {
        let injected = self.run(&["inject", "-f", &manifest.display().to_string()]);
        self.pipe(&["apply", "-f", "-"], &injected)
    }

    /// Labels a namespace for injection.
    #[track_caller]
    pub fn label_for_injection(&self, namespace: &str) {
        self.run(&["label", "namespace", namespace, "istio-injection=enabled", "--overwrite"]);
    }

    /// Objects of a kind in a namespace, as the server has them.
    #[track_caller]
    pub fn list(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let text = self.run(&["get", resource, "-n", namespace, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).expect("-o json prints JSON");
        match list["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![list],
        }
    }

    /// Waits until every Deployment of the namespace has all its pods ready.
    #[track_caller]
    pub fn wait_for_deployments(&self, namespace: &str) {
        let whole = |object: &Value| {
            let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
            object["status"]["availableReplicas"].as_i64().unwrap_or(0) == wanted
                && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        };
        self.eventually("all deployments are available", || {
            let deployments = self.list("deployments", namespace);
            (!deployments.is_empty() && deployments.iter().all(whole)).then_some(())
        });
    }

    /// Asks again until there is an answer; a user pressing the up arrow.
    #[track_caller]
    pub fn eventually<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        if let Some(answer) = waiting::eventually(PATIENCE, ask) {
            return answer;
        }
        let pods = self.try_run(&["get", "pods", "-A"]);
        panic!("never: {what}\n{}", String::from_utf8_lossy(&pods.stdout));
    }

    /// Names of the pods with label `app=APP` in a namespace, in order.
    #[track_caller]
    pub fn pods(&self, app: &str, namespace: &str) -> Vec<String> {
        let text =
            self.run(&["get", "pods", "-n", namespace, "-l", &format!("app={app}"), "-o", "name"]);
        let mut names: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("pod/")).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// A pod of namespace `default`, if it is ready.
    #[track_caller]
    pub fn ready_pod(&self, name: &str) -> Option<Value> {
        let pod = self.list(&format!("pods/{name}"), "default").remove(0);
        let conditions = pod["status"]["conditions"].as_array()?;
        let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
        conditions.iter().any(ready).then_some(pod)
    }

    /// A pod's log of one container.
    #[track_caller]
    pub fn logs(&self, pod: &str, container: &str, namespace: &str) -> String {
        self.run(&["logs", pod, "-c", container, "-n", namespace])
    }

    /// `curl` with `arguments` inside a pod's container: exit code and output.
    #[track_caller]
    pub fn curl_in(&self, pod: &str, container: &str, arguments: &[&str]) -> (i32, String) {
        let mut all = vec!["exec", pod, "-c", container, "--", "curl", "-sS"];
        all.extend(arguments);
        let output = self.try_run(&all);
        let code = output.status.code().unwrap_or(-1);
        (code, String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The number of the process that the user started.
    pub fn process(&self) -> u32 {
        self.up.id()
    }

    /// Ends the mesh as Ctrl-C does, and waits.
    #[track_caller]
    pub fn interrupt(mut self) {
        let pid = rustix_pid(&self.up);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        let status = self.up.wait().expect("it ends");
        assert!(status.success(), "weft up ended with {status}");
    }

    /// The process that the user would kill.
    pub fn kill(&mut self) {
        self.up.kill().expect("it runs");
        self.up.wait().expect("it ends");
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // Gone already after `interrupt` and `kill`; an error here says only that.
        let _ = self.up.kill();
        let _ = self.up.wait();
    }
}

fn rustix_pid(child: &Child) -> rustix::process::Pid {
    let number = i32::try_from(child.id()).expect("process numbers are small");
    rustix::process::Pid::from_raw(number).expect("process numbers are not zero")
}

#[track_caller]
fn text(arguments: &[&str], output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "weft {arguments:?} failed: {errors}");
    String::from_utf8(output.stdout).expect("output is text")
}

/// Takes down what the program says, line by line.
fn read(from: impl std::io::Read + Send + 'static, seen: Arc<Seen>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            let mut said = seen.said.lock().expect("no other reader panics");
            note(&mut said, &line);
            said.lines.push(line);
            seen.changed.notify_all();
        }
        seen.said.lock().expect("no other reader panics").ended = true;
        seen.changed.notify_all();
    });
}

fn note(said: &mut Said, line: &str) {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return };
    let port = || {
        let word = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        format!("{}/{}:{}", word("namespace"), word("service"), event["port"])
    };
    match event["event"].as_str() {
        Some("ready") => said.ready = true,
        Some("port") => {
            let address = event["address"].as_str().and_then(|text| text.parse().ok());
            said.ports.insert(port(), address.expect("a port event has an address"));
        }
        Some("portClosed") => {
            said.ports.remove(&port());
        }
        _ => {}
    }
}
