//! The tests, as the terminal's process: they start a supervisor, hear what its
//! scene came to, and look at what is left.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use weft_pods::host::{Egress, Host, HostEvent, HostOptions, HostPort};

use crate::programs::fetch;

/// A user other than root.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The user who runs the tests.
    Caller,
    /// A plain user.
    User,
}

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("pods_find_each_other_by_name_and_address", || told("network")),
    ("captured_connections_pass_the_ports_of_the_proxy", || told("capture")),
    ("volumes_and_variables_are_as_the_pod_says", || told("files")),
    ("commands_logs_and_connections_reach_a_container", || told("node")),
    ("containers_start_in_order_restart_and_end_in_order", || told("lifecycle")),
    ("pods_that_cannot_be_run_say_so_and_can_be_deleted", || told("refused")),
    ("a_deployment_becomes_pods_behind_a_service", || told("deployment")),
    ("a_pod_can_play_the_outside", || told("outside")),
    ("a_service_is_reached_at_a_port_of_the_host", host_ports),
    ("a_port_that_cannot_be_bound_is_told_once", unbound_port),
    ("a_service_with_many_ports_is_shown_once", || told("many-ports")),
    ("a_large_service_stops_no_other", || told("large-service")),
    ("the_egress_leads_to_the_host_and_no_further_when_closed", egress),
    ("nothing_is_left_after_a_kill", nothing_left),
    ("an_orderly_end_waits_for_the_pods", orderly_end),
];

pub fn main(who: Who) -> ExitCode {
    let filter: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let filter: Vec<String> = filter.into_iter().filter(|word| word != "as-user").collect();
    if !may_enter() {
        // Not skipped: what has not been tested has not passed.
        println!("test namespaces_can_be_made_here ... FAILED (the reason is above)");
        println!("none of the tests that need them was run");
        return ExitCode::FAILURE;
    }
    let mut failed = 0;
    for (name, test) in TESTS {
        if !filter.is_empty() && !filter.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let started = Instant::now();
        let passed = panic::catch_unwind(AssertUnwindSafe(test)).is_ok();
        let word = if passed { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({} ms)", started.elapsed().as_millis());
        failed += i32::from(!passed);
    }
    if who == Who::Caller && is_root() {
        println!("the same as a plain user:");
        failed += i32::from(!as_user());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether this user may make the namespaces that every test needs.
fn may_enter() -> bool {
    let mut trial = Command::new("/proc/self/exe");
    let trial = trial.arg("may-enter").stdin(std::process::Stdio::null()).status();
    trial.is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs all of this as a plain user, from a folder that everybody can read.
fn as_user() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let filters = std::env::args().skip(1);
    let _ = std::io::stdout().flush();
    let status =
        Command::new(copy).arg("as-user").args(filters).uid(NOBODY).gid(NOBODY).status().unwrap();
    status.success()
}

/// A supervisor that plays a scene.
struct Mesh {
    runtime: tokio::runtime::Runtime,
    host: Option<Host>,
    /// What the scene came to, when it was heard while waiting for something else.
    told: Option<Value>,
}

impl Mesh {
    fn start(scene: &str, egress: Egress) -> Self {
        Self::start_as(scene, egress, None)
    }

    /// Every process of the mesh shows `marker` among its arguments.
    fn start_as(scene: &str, egress: Egress, marker: Option<&str>) -> Self {
        Self::start_with(scene, marker, |options| options.egress = egress)
    }

    fn start_with(scene: &str, marker: Option<&str>, set: impl Fn(&mut HostOptions)) -> Self {
        let program = PathBuf::from("/proc/self/exe");
        let arguments = std::iter::once("supervise").chain(marker).map(Into::into);
        let mut options = HostOptions::new(program, arguments.collect());
        set(&mut options);
        options.settings = json!({"scene": scene});
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let host = runtime.block_on(async { Host::start(options).unwrap() });
        Self { runtime, host: Some(host), told: None }
    }

    fn next(&mut self) -> HostEvent {
        let host = self.host.as_mut().expect("the host has not been stopped");
        let next = self
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(90), host.next()).await });
        next.expect("the supervisor says something").expect("the supervisor lives")
    }

    /// What the scene came to.
    fn told(&mut self) -> Value {
        if let Some(told) = self.told.take() {
            return told;
        }
        loop {
            match self.next() {
                HostEvent::Ready(told) => return told,
                HostEvent::Log(line) => eprintln!("{line}"),
                HostEvent::Ended(status) => panic!("the supervisor has ended: {status}"),
                _ => {}
            }
        }
    }

    fn port(&mut self, wanted: u16) -> HostPort {
        loop {
            match self.next() {
                HostEvent::HostPort(port) if port.port == wanted => return port,
                HostEvent::Ready(told) => self.told = Some(told),
                HostEvent::Ended(status) => panic!("the supervisor has ended: {status}"),
                _ => {}
            }
        }
    }

    fn stop(mut self) {
        let host = self.host.take().expect("it is stopped once");
        self.runtime.block_on(host.stop());
    }
}

/// Plays a scene; every line of it is a check that did not hold.
fn told(scene: &str) {
    let mut mesh = Mesh::start(scene, Egress::Closed);
    let told = mesh.told();
    assert_eq!(told, json!([]), "in scene {scene}");
    mesh.stop();
}

fn host_ports() {
    let mut mesh = Mesh::start("host-ports", Egress::Closed);
    let relayed = mesh.port(9080);
    let answer = fetch(&relayed.addresses[0].to_string()).unwrap();
    assert!(answer.starts_with("relayed "), "{answer}");
    assert_eq!(mesh.told(), json!([]));
    mesh.stop();
    let mut mesh = Mesh::start("lent-port", Egress::Closed);
    let lent = mesh.port(80);
    assert!(lent.addresses[0].port() >= 8080);
    assert_eq!(mesh.told(), json!([]));
    let answer = fetch(&lent.addresses[0].to_string()).unwrap();
    assert_eq!(answer, "lent 127.0.0.1\n");
    mesh.stop();
    assert!(fetch(&lent.addresses[0].to_string()).is_err(), "the port is free again");
}

fn unbound_port() {
    let mut mesh = Mesh::start_with("unbound-port", None, |options| {
        options.egress = Egress::Closed;
        // TEST-NET-3 (RFC 5737): nobody's.
        options.addresses = vec!["203.0.113.9".parse().unwrap()];
    });
    let mut lines = 0;
    let told = loop {
        match mesh.next() {
            HostEvent::Log(line) if line.contains("cannot be bound") => lines += 1,
            HostEvent::Ready(told) => break told,
            HostEvent::Ended(status) => panic!("the supervisor has ended: {status}"),
            _ => {}
        }
    };
    assert_eq!((told, lines), (json!([]), 1));
    mesh.stop();
}

fn egress() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"the host\n").unwrap();
    });
    let mut mesh = Mesh::start(&format!("egress {port}"), Egress::Open);
    assert_eq!(mesh.told(), json!(["the host"]));
    accepting.join().unwrap();
    mesh.stop();
    let mut mesh = Mesh::start(&format!("egress {port}"), Egress::Closed);
    let told = mesh.told();
    assert!(["NetworkUnreachable", "ConnectionRefused"].contains(&told[0].as_str().unwrap()));
    mesh.stop();
}

/// The marker of this run's supervisors among all processes.
fn processes(marker: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(marker)
        })
        .collect()
}

/// A terminal's process that waits to be killed.
pub fn hold(marker: &str) -> ExitCode {
    let mut mesh = Mesh::start_as(&format!("sleepers {marker}"), Egress::Open, Some(marker));
    println!("{}", mesh.told());
    let _ = std::io::stdout().flush();
    mesh.next();
    ExitCode::FAILURE
}

fn nothing_left() {
    let marker = format!("left-{}", std::process::id());
    let before = mounts();
    let mut holder = Command::new("/proc/self/exe")
        .args(["hold", &marker])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let output = holder.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut told).unwrap();
    assert_eq!(told.trim(), "[]");
    assert!(processes(&marker).len() > 5, "the mesh and its pods can be seen");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let start = Instant::now();
    while !processes(&marker).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(5), "processes are left: {marker}");
        std::thread::yield_now();
    }
    assert_eq!(mounts(), before, "mounts of the host's namespace");
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn orderly_end() {
    let mut mesh = Mesh::start("graceful", Egress::Closed);
    assert_eq!(mesh.told(), json!([]));
    let host = mesh.host.as_mut().unwrap();
    let ended = mesh.runtime.block_on(async {
        host.ask_to_stop().await;
        while let Some(event) = host.next().await {
            if let HostEvent::Ended(status) = event {
                return status.success();
            }
        }
        false
    });
    assert!(ended, "the supervisor ends well");
}
