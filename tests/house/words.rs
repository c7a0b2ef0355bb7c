//! How comments, messages and documentation are worded, as far as a program can tell.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::root;

/// Fragments that make a reader stop; a line each, with what is written instead.
const FRAGMENTS: &str = include_str!("words.in");

#[test]
fn words_are_plain_technical_english() {
    let root = root::root();
    let mut files = Vec::new();
    for name in ["crates", "tests", "bench", "fuzz", "docs", "samples"] {
        collect(&root.join(name), &mut files);
    }
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        files.push(root.join(name));
    }
    assert!(files.len() > 300, "the walk found only {} files", files.len());
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).expect("it is below the root");
        let text = fs::read_to_string(&path).expect("a text file can be read");
        found.extend(hits(&text).into_iter().map(|hit| format!("{}:{hit}", name.display())));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_fragment_is_found_across_lines_and_as_whole_words_only() {
    let fragments = fragments();
    let (sample, _) = fragments.iter().next().expect("there are fragments");
    let [first, second] = sample.splitn(2, ' ').collect::<Vec<_>>()[..] else {
        panic!("{sample} has two words")
    };
    assert_eq!(hits(&format!("/// Here it {first}\n/// {second}.\n")).len(), 1);
    assert_eq!(hits(&format!("    \"it {first} \\\n     {second}\"\n")).len(), 1);
    assert!(hits(&format!("x{first} {second}, {first} {second}x")).is_empty());
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a folder can be read").path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            files.push(path);
        }
    }
}

/// The fragments, and what is written instead.
fn fragments() -> BTreeMap<&'static str, &'static str> {
    let lines = FRAGMENTS.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(" -> ").expect("FRAGMENT -> BETTER")).collect()
}

/// Line and fragment of everything in `text` that is worded badly.
fn hits(text: &str) -> Vec<String> {
    // A sentence goes on in the next line, behind the comment's mark or a string's backslash.
    let (mut running, mut starts) = (String::new(), Vec::new());
    for line in text.lines() {
        starts.push(running.len());
        let line = line.trim_start().trim_start_matches('/').trim_start_matches('!');
        running.push_str(line.trim().trim_end_matches('\\').trim_end());
        running.push(' ');
    }
    running.make_ascii_lowercase();
    let mut found = Vec::new();
    for (fragment, better) in fragments() {
        for (at, _) in running.match_indices(fragment) {
            let is_word = |letter: Option<char>| {
                letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
            };
            let end = at + fragment.len();
            let alone = !is_word(running[..at].chars().next_back())
                && !is_word(running[end..].chars().next());
            if alone {
                let line = starts.partition_point(|start| *start <= at);
                found.push(format!("{line}: \"{fragment}\"; write {better}"));
            }
        }
    }
    found
}
