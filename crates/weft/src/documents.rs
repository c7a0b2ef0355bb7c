//! Reading manifests that were named on the command line.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use weft_manifest::Document;

/// What stands for standard input.
const STDIN: &str = "-";

/// The documents of files, of folders' files, and of standard input.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        if path == Path::new(STDIN) {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
            documents.extend(weft_manifest::read(STDIN, &text));
            continue;
        }
        for file in files(path)? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            documents.extend(weft_manifest::read(&file.display().to_string(), &text));
        }
    }
    Ok(documents)
}

/// A file itself, or the manifests below a folder, in order of their paths.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let reading = || format!("reading folder {}", path.display());
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).with_context(reading)? {
        entries.push(entry.with_context(reading)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let extension = entry.extension().and_then(|extension| extension.to_str());
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if matches!(extension, Some("yaml" | "yml" | "json")) {
            found.push(entry);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_the_manifests_in_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for (name, text) in
            [("b/2.yml", "kind: B\n"), ("a.yaml", "kind: A\n---\nkind: C\n"), ("README.md", "x")]
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let documents = read(&[folder.path().to_owned()]).unwrap();
        let kinds: Vec<_> = documents
            .iter()
            .map(|document| document.value.as_ref().unwrap()["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["A", "C", "B"]);
        assert!(read(&[folder.path().join("none.yaml")]).is_err());
    }
}
