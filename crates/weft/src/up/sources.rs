//! The files that the user named: what they are, what they say, and when they
//! change.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use weft_manifest::files::Source;

/// Quiet time after an event before a file is read: editors write in several steps.
pub const QUIET: Duration = Duration::from_millis(50);

/// What stands for standard input.
const STDIN: &str = "-";

/// The paths that the user named.
#[derive(Debug)]
pub struct Sources {
    paths: Vec<PathBuf>,
    stdin: Option<String>,
}

/// A file and its text; no text when it is gone.
pub type Seen = (Source, Option<String>);

impl Sources {
    /// Checks that every path is there, and reads standard input to its end.
    pub fn new(paths: &[PathBuf]) -> Result<Self> {
        let mut stdin = None;
        for path in paths {
            if path == Path::new(STDIN) {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
                stdin = Some(text);
            } else if !path.exists() {
                bail!("{}: no such file or folder", path.display());
            }
        }
        Ok(Self { paths: paths.to_vec(), stdin })
    }

    /// Every file as it is now, with those of `known` that are gone.
    pub fn read(&self, known: &[Source]) -> Vec<Seen> {
        let mut seen: Vec<Seen> = Vec::new();
        for (argument, path) in self.paths.iter().enumerate() {
            if path == Path::new(STDIN) {
                let source = Source { argument, path: STDIN.to_owned() };
                seen.push((source, self.stdin.clone()));
                continue;
            }
            for file in files(path) {
                // A file that cannot be read now is as good as gone; it is read again when it changes.
                let text = fs::read_to_string(&file).ok();
                let path = file.display().to_string();
                seen.push((Source { argument, path }, text));
            }
        }
        let gone: Vec<Seen> = known
            .iter()
            .filter(|known| !seen.iter().any(|(source, _)| source == *known))
            .map(|source| (source.clone(), None))
            .collect();
        seen.extend(gone);
        seen
    }

    /// Tells of every change under the paths, until the watcher is dropped.
    pub fn watch(&self) -> Result<(notify::RecommendedWatcher, mpsc::Receiver<()>)> {
        let (sender, receiver) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| !event.kind.is_access()) {
                    // A full queue says the same already.
                    let _ = sender.try_send(());
                }
            })
            .context("watching files")?;
        for path in self.paths.iter().filter(|path| *path != Path::new(STDIN)) {
            // The folder of a file, since editors replace files by renaming.
            let folder = match path.is_dir() {
                true => path.as_path(),
                false => path.parent().filter(|up| *up != Path::new("")).unwrap_or(Path::new(".")),
            };
            let mode = match path.is_dir() {
                true => RecursiveMode::Recursive,
                false => RecursiveMode::NonRecursive,
            };
            watcher
                .watch(folder, mode)
                .with_context(|| format!("watching {}", folder.display()))?;
        }
        Ok((watcher, receiver))
    }
}

/// The manifests under a path, in order.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let is_manifest = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
    };
    paths
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => Vec::from_iter(is_manifest(&path).then_some(path)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_only_manifests() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["b.yaml", "a.yml", "README.md", ".hidden.yaml", "sub/c.json"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let sources = Sources::new(&[folder.path().to_owned()]).unwrap();
        let texts: Vec<String> =
            sources.read(&[]).into_iter().filter_map(|(_, text)| text).collect();
        assert_eq!(texts, ["a.yml", "b.yaml", "sub/c.json"]);
    }

    #[test]
    fn a_file_that_is_gone_is_seen_without_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "a").unwrap();
        let sources = Sources::new(&[folder.path().to_owned()]).unwrap();
        let known: Vec<Source> = sources.read(&[]).into_iter().map(|(source, _)| source).collect();
        fs::remove_file(&path).unwrap();
        assert_eq!(sources.read(&known), [(known[0].clone(), None)]);
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = Sources::new(&["no/such".into()]).unwrap_err().to_string();
        assert_eq!(error, "no/such: no such file or folder");
    }
}
