//! The architecture as a test: who may use whom, and who must stay free of I/O.
//!
//! A new crate or edge fails here until someone decides where it belongs, and
//! writes the same into ARCHITECTURE.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

use crate::{root, workspace};

/// A crate, then every workspace crate that it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("config", &[]),
    ("translate", &["api", "config"]),
    ("decide", &["config", "balance", "identity"]),
    ("manifest", &["api"]),
    ("inject", &["api", "config", "nft"]),
    ("nft", &[]),
    ("controllers", &["api"]),
    (
        "explain",
        &[
            "api",
            "config",
            "manifest",
            "translate",
            "decide",
            "balance",
            "identity",
            "controllers",
            "inject",
        ],
    ),
    ("delta", &[]),
    ("balance", &["config"]),
    ("identity", &["config"]),
    ("wire", &[]),
    ("process", &[]),
    ("proxy", &["config", "decide", "balance", "delta", "identity", "wire", "process"]),
    ("control", &["api", "config", "translate", "decide", "delta", "identity", "wire", "process"]),
    ("cluster", &["api", "control", "inject", "process"]),
    ("apiserver", &["api", "controllers", "process"]),
    ("pods", &["api", "apiserver", "nft", "process"]),
    ("echo", &["process"]),
    ("testkit", &["api", "manifest"]),
];

/// The program may use everything.
const PROGRAM: &str = "weft";

/// Crates that must stay free of I/O, and what would betray them.
const PURE: &[&str] = &[
    "api",
    "config",
    "manifest",
    "translate",
    "decide",
    "inject",
    "nft",
    "controllers",
    "explain",
    "delta",
    "balance",
    "identity",
];
const IO: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "tonic",
    "kube",
    "k8s-openapi",
    "socket2",
    "notify",
    "nix",
    "rustix",
    "netlink-sys",
    "rtnetlink",
];

/// Crates that may name kube: the Kubernetes API has one door.
const MAY_NAME_KUBE: &[&str] = &["cluster"];

/// One dependency of a workspace crate.
struct Dependency {
    name: String,
    dev: bool,
}

/// Every crate of the workspace, by folder, with its direct dependencies.
fn crates() -> BTreeMap<String, Vec<Dependency>> {
    let metadata = workspace::metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    packages.iter().map(|package| (folder(&package["name"]), dependencies(package))).collect()
}

fn dependencies(package: &Value) -> Vec<Dependency> {
    let listed = package["dependencies"].as_array().expect("a package lists dependencies");
    listed
        .iter()
        .map(|dependency| Dependency {
            name: folder(&dependency["name"]),
            dev: dependency["kind"] == "dev",
        })
        .collect()
}

/// `weft-api` is crate `api`.
fn folder(name: &Value) -> String {
    let name = name.as_str().expect("a package has a name");
    name.strip_prefix("weft-").unwrap_or(name).to_owned()
}

#[test]
fn every_edge_between_crates_is_in_the_table() {
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let crates = crates();
    let ours: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for (name, dependencies) in crates.iter().filter(|(name, _)| *name != PROGRAM) {
        let Some(allowed) = table.get(name.as_str()) else {
            wrong.push(format!("crate {name} has no row in the table"));
            continue;
        };
        for used in dependencies.iter().filter(|used| ours.contains(used.name.as_str())) {
            if !allowed.contains(&used.name.as_str()) && !used.dev {
                wrong.push(format!("{name} may not use {}", used.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_tests_use_the_testkit() {
    let used = crates();
    let linked = used.values().flatten().find(|used| used.name == "testkit" && !used.dev);
    assert!(linked.is_none(), "testkit is for [dev-dependencies]");
}

#[test]
fn the_table_has_no_row_for_a_crate_that_does_not_exist() {
    let crates = crates();
    let gone: Vec<_> = MAY_USE.iter().filter(|(name, _)| !crates.contains_key(*name)).collect();
    assert!(gone.is_empty(), "rows without a crate: {gone:?}");
}

#[test]
fn pure_crates_name_nothing_that_does_io() {
    let crates = crates();
    let mut wrong = Vec::new();
    for name in PURE {
        for used in crates[*name].iter().filter(|used| !used.dev) {
            if IO.contains(&used.name.as_str()) {
                wrong.push(format!("{name} is pure and may not use {}", used.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_crate_names_kube() {
    let naming: Vec<String> = crates()
        .into_iter()
        .filter(|(_, used)| used.iter().any(|used| matches!(&*used.name, "kube" | "k8s-openapi")))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(naming, MAY_NAME_KUBE);
}

/// What would let a pure crate read a clock, a file, an environment or a die.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "fastrand::",
    "getrandom::",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "println!",
];

#[test]
fn pure_crates_read_no_clock_no_file_and_no_die() {
    let mut wrong = Vec::new();
    for (name, text) in PURE.iter().flat_map(|name| code(name)) {
        let found = IMPURE.iter().filter(|word| text.contains(**word));
        wrong.extend(found.map(|word| format!("{name}: {word}")));
    }
    assert!(wrong.is_empty(), "take these as arguments:\n{}", wrong.join("\n"));
}

/// A crate, and the words that it may not know.
const MAY_NOT_KNOW: &[(&str, &[&str])] = &[
    ("balance", &["sidecar", "gateway", "kubernetes", "pod"]),
    ("config", &["kubernetes", "gateway", "pod"]),
    ("decide", &["kubernetes", "sidecar", "gateway", "pod"]),
    ("delta", &["grpc", "route", "listener", "endpoint", "kubernetes", "sidecar", "gateway"]),
    ("nft", &["mesh", "pod", "sidecar", "gateway"]),
    ("proxy", &["kubernetes", "gateway", "deployment", "virtualservice"]),
    ("process", &["mesh", "sidecar", "gateway"]),
];

#[test]
fn crates_do_not_know_what_is_not_theirs() {
    let mut wrong = Vec::new();
    for (name, words) in MAY_NOT_KNOW {
        for (path, text) in code(name) {
            let text = text.to_ascii_lowercase();
            let known: BTreeSet<&str> =
                text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
            let found = words.iter().filter(|word| known.contains(**word));
            wrong.extend(found.map(|word| format!("{path} knows `{word}`")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The code of a crate, file by file: without comments, and without tests.
fn code(name: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root::root().join("crates").join(name).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a crate has sources") {
            let path = entry.expect("a folder can be read").path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
            match path.is_dir() {
                _ if is_test => {}
                true => folders.push(path),
                false => files.push((path.display().to_string(), bare(&path))),
            }
        }
    }
    assert!(!files.is_empty(), "crate {name} has no sources");
    files
}

fn bare(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file can be read");
    let code = text.lines().take_while(|line| !line.starts_with("mod tests {"));
    code.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}
