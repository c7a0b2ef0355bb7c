//! Reading manifests that were named on the command line.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
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
        let files = files(path)?;
        if files.is_empty() {
            bail!(
                "there is no manifest in {}: its *.yaml, *.yml and *.json are read, not those of \
                 its folders",
                path.display()
            );
        }
        for file in files {
            let text =
                fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            documents.extend(weft_manifest::read(&file.display().to_string(), &text));
        }
    }
    Ok(documents)
}

/// Puts objects that name no namespace into `namespace`.
pub fn into_namespace(documents: &mut [Document], namespace: &str) {
    for value in documents.iter_mut().filter_map(|document| document.value.as_mut()) {
        let is_namespaced = weft_api::check(value).key.is_some_and(|key| key.kind.namespaced());
        let names_none = value["metadata"]["namespace"].as_str().is_none_or(str::is_empty);
        if let (true, true, Some(metadata)) =
            (is_namespaced, names_none, value["metadata"].as_object_mut())
        {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
    }
}

/// Settings of the mesh, for files that do not have them.
///
/// `weft up` runs with `compatibility: istio-1.0`; what files alone mean is today's
/// Istio, unless their ConfigMap or the command line says otherwise.
pub fn with_compatibility(documents: &mut Vec<Document>, release: &str, namespace: &str) {
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: {namespace}}}\ndata:\n  \
         mesh: 'compatibility: {release}'\n"
    );
    documents.extend(weft_manifest::read("--compatibility", &text));
}

/// A file itself, or the manifests of a folder, in order of their names; not those of
/// its folders, as with kubectl.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let reading = || format!("reading folder {}", path.display());
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).with_context(reading)? {
        entries.push(entry.with_context(reading)?.path());
    }
    entries.sort();
    entries.retain(|entry| {
        let extension = entry.extension().and_then(|extension| extension.to_str());
        entry.is_file() && matches!(extension, Some("yaml" | "yml" | "json"))
    });
    Ok(entries)
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
        assert_eq!(kinds, ["A", "C"]);
        assert!(read(&[folder.path().join("none.yaml")]).is_err());
    }

    #[test]
    fn a_folder_without_manifests_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("README.md"), "x").unwrap();
        let error = read(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("there is no manifest in "), "{error}");
    }
}
