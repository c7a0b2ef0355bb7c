//! The worst that 1.4 MB of JSON can do to validation: time and memory stay bounded.
//!
//! Each case runs in a process of its own, which measures its memory at its highest and the
//! time that it was on a processor, so that neither other tests nor a busy machine count.

use std::{
    fmt::Write,
    fs,
    hint::black_box,
    io::{self, Write as _},
    process::{Command, Output, Stdio},
};

use serde_json::json;
use weft_api::json::parse;

/// Bytes of each object: about what etcd takes.
const SIZE: usize = 1_400_000;
/// The most memory that reading and checking one may take, in bytes.
const MEMORY: u64 = 32 << 20;
/// The longest that it may be on a processor, in milliseconds; without optimisation, and on a
/// processor that others use as well, longer.
const TIME: u64 = if cfg!(debug_assertions) { 4_000 } else { 100 };

/// `piece` with growing numbers for `#`, again and again, up to the size.
fn repeated(piece: &str) -> String {
    let mut text = String::with_capacity(SIZE);
    let mut number = 0;
    while text.len() < SIZE {
        let separator = if number == 0 { "" } else { "," };
        write!(text, "{separator}{}", piece.replace('#', &number.to_string())).expect("a text");
        number += 1;
    }
    text
}

/// So many `piece`s.
fn counted(number: usize, piece: &str) -> String {
    let pieces: Vec<String> =
        (0..number).map(|number| piece.replace('#', &number.to_string())).collect();
    pieces.join(",")
}

fn object(kind: &str, spec: &str) -> String {
    let version = match kind {
        "Service" => "v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "Deployment" => "apps/v1",
        _ => "networking.istio.io/v1",
    };
    format!(
        r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"x"}},"spec":{spec}}}"#
    )
}

/// An object in which `list` is a list of `piece`s.
fn listing(kind: &str, list: &str, piece: &str) -> String {
    object(kind, &list.replace('@', &repeated(piece)))
}

/// Objects that are as bad as their size allows, each in a way of its own.
fn cases() -> Vec<(&'static str, String)> {
    [words_and_hosts(), rules(), other_lists()].concat()
}

fn words_and_hosts() -> Vec<(&'static str, String)> {
    let long = "a".repeat(SIZE);
    vec![
        ("one unknown field of all", object("VirtualService", &format!(r#"{{"{long}":1}}"#))),
        ("unknown fields", listing("VirtualService", "{@}", r#""hosst#":1"#)),
        ("unknown fields with underscores", listing("VirtualService", "{@}", r#""h_o_s_t#":1"#)),
        (
            "a long wrong word",
            object(
                "DestinationRule",
                &format!(r#"{{"trafficPolicy":{{"loadBalancer":{{"simple":"{long}"}}}}}}"#),
            ),
        ),
        ("hosts", listing("VirtualService", r#"{"hosts":[@]}"#, r#""h#.example""#)),
        ("equal hosts", listing("VirtualService", r#"{"hosts":[@]}"#, r#""a.b""#)),
        ("wildcard hosts", listing("VirtualService", r#"{"hosts":[@]}"#, r#""*.a#.b""#)),
        ("nested wildcards", listing("VirtualService", r#"{"hosts":[@]}"#, r#""*a.a.a.a.a.a.a""#)),
        ("hosts that are numbers", listing("VirtualService", r#"{"hosts":[@]}"#, "1")),
        ("empty hosts", listing("VirtualService", r#"{"hosts":[@]}"#, r#""""#)),
        ("visibility", listing("VirtualService", r#"{"hosts":["a"],"exportTo":[@]}"#, r#""n#""#)),
        ("gateways", listing("VirtualService", r#"{"hosts":["a"],"gateways":[@]}"#, r#""/#""#)),
    ]
}

fn rules() -> Vec<(&'static str, String)> {
    let half = "a".repeat(SIZE / 2);
    let rule = r#"{"route":[{"destination":{"host":"a#"}}],"match":[{"uri":{"prefix":"/#"}}]}"#;
    let mirrored =
        format!(r#"{{"hosts":["a"],"http":[{{"match":[{{"headers":{{"{half}":{{@}}}}}}]}}]}}"#);
    let named = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": half}, "spec": {}});
    let mut named = named;
    named["spec"] = serde_json::from_str(&format!("{{{}}}", repeated_in(SIZE / 2, r#""f#":1"#)))
        .expect("an object");
    vec![
        ("rules", listing("VirtualService", r#"{"hosts":["a"],"http":[@]}"#, rule)),
        (
            "as many rules as are read",
            object(
                "VirtualService",
                &format!(r#"{{"hosts":["a"],"http":[{}]}}"#, counted(5_900, rule)),
            ),
        ),
        (
            "as many bad subsets as are read",
            object(
                "DestinationRule",
                &format!(
                    r#"{{"host":"a","subsets":[{}]}}"#,
                    counted(14_000, r#"{"name":"v","labels":{"a b":""}}"#)
                ),
            ),
        ),
        ("rules that are numbers", listing("VirtualService", r#"{"http":[@]}"#, "1")),
        ("empty rules", listing("VirtualService", r#"{"http":[@]}"#, "{}")),
        (
            "broken rules",
            listing("VirtualService", r#"{"http":[@]}"#, r#"{"match":[{"port":"x"}]}"#),
        ),
        (
            "retry conditions",
            object(
                "VirtualService",
                &format!(
                    r#"{{"hosts":["a"],"http":[{{"retries":{{"attempts":1,"retryOn":"{}"}}}}]}}"#,
                    repeated("resset#")
                ),
            ),
        ),
        (
            "unknown fields below a long key",
            object("VirtualService", &mirrored.replace('@', &repeated_in(SIZE / 2, r#""e#":1"#))),
        ),
        ("a long name with unknown fields", named.to_string()),
        (
            "header variables",
            object(
                "VirtualService",
                &format!(
                    r#"{{"hosts":["a"],"http":[{{"headers":{{"request":{{"set":{{"x":"{}"}}}}}}}}]}}"#,
                    "%A%".repeat(SIZE / 3)
                ),
            ),
        ),
    ]
}

fn other_lists() -> Vec<(&'static str, String)> {
    vec![
        (
            "subsets",
            listing("DestinationRule", r#"{"host":"a","subsets":[@]}"#, r#"{"name":"v#"}"#),
        ),
        (
            "equal subsets",
            listing("DestinationRule", r#"{"host":"a","subsets":[@]}"#, r#"{"name":"v"}"#),
        ),
        (
            "maglev tables",
            listing(
                "DestinationRule",
                r#"{"host":"a","subsets":[@]}"#,
                r#"{"name":"v#","trafficPolicy":{"loadBalancer":{"consistentHash":{"maglev":{"tableSize":5000011}}}}}"#,
            ),
        ),
        (
            "servers",
            listing(
                "Gateway",
                r#"{"servers":[@]}"#,
                r#"{"port":{"number":80,"name":"p#","protocol":"HTTP"},"hosts":["*"]}"#,
            ),
        ),
        ("ports", listing("Service", r#"{"ports":[@]}"#, r#"{"name":"p#","port":#}"#)),
        ("endpoints", listing("EndpointSlice", r#"{"endpoints":[@]}"#, r#"{"addresses":["a"]}"#)),
        ("labels", listing("Deployment", r#"{"selector":{"matchLabels":{@}}}"#, r#""l#":"v""#)),
        (
            "maps in what is not looked at",
            listing("VirtualService", r#"{"hosts":["a"],"x":[@]}"#, r#"{"":0}"#),
        ),
        (
            "lists in lists",
            object("VirtualService", &format!(r#"{{"x":{}{}}}"#, "[".repeat(100), "]".repeat(100))),
        ),
    ]
}

fn repeated_in(size: usize, piece: &str) -> String {
    let whole = repeated(piece);
    let end = whole[..size].rfind(',').expect("several pieces");
    whole[..end].to_owned()
}

/// A number of kilobytes that the system keeps of this process, in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a known line");
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    number.parse::<u64>().expect("a number") << 10
}

/// How long this thread was on a processor, in nanoseconds.
fn time() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("/proc is there");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

/// Reads and checks the object on standard input, and prints what that took: bytes,
/// milliseconds, diagnostics.
fn measure() {
    let text = io::read_to_string(io::stdin()).expect("a text");
    // The highest memory so far was that of taking the case.
    fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own mark");
    let (before, begun) = (memory("VmRSS"), time());
    let diagnostics = match parse(text.as_bytes(), weft_api::MOST) {
        Ok(value) => {
            let checked = black_box(weft_api::check_whole(value));
            let bytes: usize = checked.diagnostics.iter().map(|one| one.to_string().len()).sum();
            assert!(bytes < 4 * SIZE + 100_000, "{bytes} bytes of messages");
            checked.diagnostics.len()
        }
        Err(_) => 1,
    };
    let took = (time() - begun) / 1_000_000;
    println!("{} {took} {diagnostics}", memory("VmHWM").saturating_sub(before));
}

/// What a process says that measures one case.
fn measured(case: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("--measure").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // It reads all before it writes anything; one that ends early says why.
    let _ = child.stdin.take().expect("a pipe").write_all(case.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|flag| flag == "--measure") {
        return measure();
    }
    // Asked for the names of its tests, or for some of another name.
    if arguments.iter().skip(1).any(|one| one == "--list" || !one.starts_with('-')) {
        return;
    }
    let mut failed = false;
    for (name, case) in cases() {
        let output = measured(&case);
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<u64> =
            text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [bytes, milliseconds, diagnostics] = numbers[..] else {
            panic!("{name}: {}", String::from_utf8_lossy(&output.stderr));
        };
        println!("{name}: {} KB, {milliseconds} ms, {diagnostics} diagnostics", bytes >> 10);
        failed |= bytes > MEMORY || milliseconds > TIME || diagnostics > 202;
    }
    assert!(!failed, "some take more than {} MB or {TIME} ms", MEMORY >> 20);
}
