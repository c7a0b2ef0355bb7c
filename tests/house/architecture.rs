//! The architecture as a test: who may use whom, and who must stay free of I/O.
//!
//! A new crate or edge fails here until someone decides where it belongs, and
//! writes the same into ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::workspace;

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
    ("echo", &[]),
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
