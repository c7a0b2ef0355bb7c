//! The workspace as cargo and the file system see it, for the tests that hold it in order.

use std::process::Command;

use serde_json::Value;

use crate::root;

/// What `cargo metadata` says, with `arguments` added.
pub fn metadata(arguments: &[&str]) -> Value {
    let all: Vec<&str> =
        ["metadata", "--format-version=1"].iter().chain(arguments).copied().collect();
    serde_json::from_str(&cargo(&all)).expect("cargo metadata prints JSON")
}

/// What cargo prints for `arguments`.
pub fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--locked")
        .current_dir(root::root())
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?} failed: {errors}");
    String::from_utf8(output.stdout).expect("cargo prints text")
}
