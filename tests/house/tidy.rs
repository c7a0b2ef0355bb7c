//! How the source reads, as far as a program can tell.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::root;

/// Lines in a source file, tests included.
const LONGEST_FILE: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "core", "common", "utils", "util", "types", "helpers", "manager", "handler", "inner", "impl",
    "misc", "mod",
];

/// A source file, relative to the workspace, with its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The part that is compiled for tests only.
    fn tests(&self) -> &str {
        match self.is_test() {
            true => &self.text,
            false => {
                let at = self.text.find("#[cfg(test)]\nmod tests {");
                at.map_or("", |at| &self.text[at..])
            }
        }
    }

    fn has_paused_clock(&self) -> bool {
        self.text.contains("start_paused") || self.text.contains("time::pause()")
    }

    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "tests")
            || self.path.file_stem().is_some_and(|stem| stem == "tests")
    }
}

/// Every Rust file of the workspace.
fn sources() -> Vec<Source> {
    let root = root::root();
    let mut found = Vec::new();
    for folder in ["crates", "tests", "bench", "fuzz"] {
        collect(&root, &root.join(folder), &mut found);
    }
    assert!(found.len() > 50, "the walk found only {} files", found.len());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a folder can be read").path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let path = path.strip_prefix(root).expect("it is below the root").to_owned();
            found.push(Source { path, text });
        }
    }
}

/// Fails with one line per source for which `wrong` says something.
#[track_caller]
fn check(wrong: impl Fn(&Source) -> Option<String>) {
    let found: Vec<String> = sources()
        .iter()
        .filter_map(|source| wrong(source).map(|what| format!("{}: {what}", source.name())))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_open_with_what_they_are() {
    check(|source| (!source.text.starts_with("//!")).then(|| "does not open with //!".to_owned()));
}

#[test]
fn files_are_short_enough_to_be_read() {
    check(|source| {
        let lines = source.text.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{lines} lines"))
    });
}

#[test]
fn files_are_named_by_what_they_hold() {
    check(|source| {
        let stem = source.path.file_stem()?.to_str()?;
        EMPTY_NAMES.contains(&stem).then(|| format!("`{stem}` says nothing"))
    });
}

#[test]
fn globs_are_imported_in_tests_only_and_only_from_the_parent() {
    check(|source| {
        let glob = source.text.lines().map(str::trim).find(|line| {
            line.starts_with("use ") && line.ends_with("::*;") && *line != "use super::*;"
        })?;
        Some(format!("`{glob}`"))
    });
}

#[test]
fn tests_do_not_sleep() {
    check(|source| {
        // The one place where tests wait for time.
        if source.path.ends_with("testkit/src/waiting.rs") || source.path.ends_with("house/tidy.rs")
        {
            return None;
        }
        let line = source.tests().lines().find(|line| sleeps(line, source.has_paused_clock()))?;
        Some(format!("`{}`: use weft_testkit::waiting", line.trim()))
    });
}

/// Whether a line of a test waits; with a paused clock the runtime's sleep costs no time.
fn sleeps(line: &str, has_paused_clock: bool) -> bool {
    if line.contains("thread::sleep") || line.contains("park_timeout") {
        return true;
    }
    // A call, also of a name that was imported, and not of another whose end is the same.
    let is_call = line.match_indices("sleep(").any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_.\"'`".contains(before))
    });
    is_call && !has_paused_clock
}

#[test]
fn a_sleep_is_seen_however_it_is_spelled() {
    for line in ["thread::sleep(LOOK);", "use std::thread::sleep;", "    sleep(LOOK);"] {
        assert!(sleeps(line, false), "{line}");
    }
    for line in ["tokio::time::sleep(LOOK).await;", "thread::park_timeout(LOOK);"] {
        assert!(sleeps(line, false), "{line}");
    }
    for line in ["fn they_sleep() {", "stall.sleep(LOOK)", "they_sleep(1);", "sleep_until(due)"] {
        assert!(!sleeps(line, false), "{line}");
    }
    assert!(!sleeps("sleep(LOOK).await;", true) && sleeps("thread::sleep(LOOK);", true));
}

#[test]
fn commands_write_through_one_module() {
    // What the second prints is the log of a container.
    let free = ["terminal.rs", "http_echo.rs"];
    check(|source| {
        let is_command = source.path.starts_with("crates/weft/src");
        if !is_command || free.iter().any(|name| source.path.ends_with(name)) {
            return None;
        }
        let line = source
            .text
            .lines()
            .find(|line| line.contains("print!(") || line.contains("println!("))?;
        Some(format!("`{}`: use crate::terminal", line.trim()))
    });
}

#[test]
fn work_to_do_is_an_issue_not_a_comment() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    let calls = [["todo", "!("].concat(), ["unimplemented", "!("].concat(), ["dbg", "!("].concat()];
    check(|source| {
        let line = source
            .text
            .lines()
            .find(|line| marks.iter().chain(&calls).any(|mark| line.contains(mark.as_str())))?;
        Some(format!("`{}`", line.trim()))
    });
}

#[test]
fn allowed_lints_carry_a_reason() {
    check(|source| {
        let mut lines = source.text.lines();
        while let Some(line) = lines.next() {
            let opens = line.trim_start();
            if !opens.starts_with("#[allow(") && !opens.starts_with("#![allow(") {
                continue;
            }
            let whole: String = std::iter::once(line)
                .chain(lines.clone().take(4))
                .take_while(|line| !line.trim().is_empty())
                .collect();
            if !whole.split(")]").next()?.contains("reason") {
                return Some(format!("`{}` without a reason", line.trim()));
            }
        }
        None
    });
}

#[test]
fn every_workspace_test_file_is_run() {
    let root = root::root();
    let manifest = fs::read_to_string(root.join("crates/weft/Cargo.toml")).expect("a manifest");
    let missing: Vec<String> = fs::read_dir(root.join("tests"))
        .expect("the tests' folder")
        .map(|entry| entry.expect("a folder can be read").file_name().into_string())
        .filter_map(|name| name.ok().filter(|name| name.ends_with(".rs")))
        .filter(|name| !manifest.contains(&format!("\"../../tests/{name}\"")))
        .collect();
    assert!(missing.is_empty(), "not a [[test]] of crates/weft: {missing:?}");
}

#[test]
fn every_sample_explains_itself() {
    let samples = root::root().join("samples");
    let mut without = Vec::new();
    for entry in fs::read_dir(samples).expect("the samples' folder") {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() && !path.join("README.md").exists() {
            without.push(path.display().to_string());
        }
    }
    assert!(without.is_empty(), "samples without README.md: {without:?}");
}
