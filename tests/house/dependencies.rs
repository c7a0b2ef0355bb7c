//! Licences, banned crates and duplicate versions of everything that is linked,
//! and a reason for every direct dependency.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use crate::{root, workspace};

/// Licences that a program under Apache-2.0 may link.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that must never be linked, and why.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one crypto provider: aws-lc-rs"),
    ("openssl", "one TLS library: rustls"),
    ("openssl-sys", "one TLS library: rustls"),
    ("native-tls", "one TLS library: rustls"),
    ("rsa", "timing side channel, unpatched (RUSTSEC-2023-0071)"),
    ("serde_yml", "unsound (RUSTSEC-2025-0068)"),
    ("serde_yaml", "unmaintained; serde-saphyr reads YAML"),
    ("rustables", "GPL"),
    ("backoff", "unmaintained"),
    ("rustls-pemfile", "unmaintained (RUSTSEC-2025-0134); rustls-pki-types reads PEM"),
];

/// Crates that are linked in several versions, and why that cannot be helped yet.
const DUPLICATES: &[(&str, &str)] = include!("duplicates.in");

/// A crate of others.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// Crates that are linked into the program, or run to build it, on Linux; as
/// `cargo tree` says, since `cargo metadata` names optional ones too.
fn linked() -> BTreeSet<Package> {
    let tree = workspace::cargo(&[
        "tree",
        "--workspace",
        "--edges=normal,build",
        "--target=x86_64-unknown-linux-gnu",
        "--prefix=none",
        "--format={p}|{l}",
    ]);
    let packages = tree.lines().filter_map(|line| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
        let mut words = package.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        let licence = licence.to_owned();
        let ours = words.any(|word| word.starts_with("(/"));
        (!ours).then(|| Package { name: name.to_owned(), version: version.to_owned(), licence })
    });
    let packages: BTreeSet<Package> = packages.collect();
    assert!(packages.len() > 100, "the tree names only {} crates", packages.len());
    packages
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// Whether a licence expression can be met with allowed licences: an alternative
/// of which every part is allowed.
fn allowed(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    flat.split(" OR ").any(|alternative| {
        alternative.split(" AND ").all(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn every_linked_crate_has_a_licence_that_we_may_use() {
    let wrong: Vec<String> = linked()
        .iter()
        .filter(|package| !allowed(&package.licence))
        .map(|package| format!("{} {:?}", package.name, package.licence))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_read_as_written() {
    for (expression, expected) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("ISC AND (Apache-2.0 OR ISC)", true),
        ("MIT AND GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(allowed(expression), expected, "{expression:?}");
    }
}

#[test]
fn no_banned_crate_is_linked() {
    let linked = linked();
    let wrong: Vec<String> = BANNED
        .iter()
        .filter(|(name, _)| linked.iter().any(|package| package.name == *name))
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_linked_twice_are_listed_with_a_reason() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in linked() {
        versions.entry(package.name).or_default().insert(package.version);
    }
    let twice: BTreeSet<&str> =
        versions.iter().filter(|(_, many)| many.len() > 1).map(|(name, _)| &**name).collect();
    let listed: BTreeSet<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();
    let new: Vec<_> = twice.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&twice).collect();
    assert!(new.is_empty(), "linked in several versions, without a reason: {new:?}");
    assert!(gone.is_empty(), "listed but no longer linked twice: {gone:?}");
}

#[test]
fn every_direct_dependency_has_a_line_in_the_docs() {
    let path = root::root().join("docs/dependencies.md");
    let docs = fs::read_to_string(path).expect("docs/dependencies.md is there");
    let metadata = workspace::metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("packages");
    let named: BTreeSet<&str> = packages
        .iter()
        .flat_map(|package| package["dependencies"].as_array().expect("dependencies"))
        .filter(|dependency| !dependency["source"].is_null())
        .map(|dependency| text(dependency, "name"))
        .collect();
    let missing: Vec<_> =
        named.iter().filter(|name| !docs.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "without a line in docs/dependencies.md: {missing:?}");
    let listed = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let unused: Vec<_> = listed.filter(|name| !named.contains(name)).collect();
    assert!(unused.is_empty(), "in docs/dependencies.md but not used: {unused:?}");
}
