//! The files that the user named: what they are, what they say, and when they
//! change.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use weft_manifest::files::Source;

use crate::documents;

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

/// A file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct FileText {
    /// Where it is.
    pub source: Source,
    /// None when it is gone.
    pub text: Option<String>,
}

/// All files at one moment.
#[derive(Debug, Default)]
pub struct Look {
    /// What was read, and what is gone.
    pub seen: Vec<FileText>,
    /// Files that are there and cannot be read: one line each.
    pub unreadable: Vec<String>,
}

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

    /// A line for each folder without manifests.
    pub fn empty_folders(&self) -> impl Iterator<Item = String> {
        let empty = self.paths.iter().filter(|path| path.is_dir() && files(path).is_empty());
        empty.map(|path| {
            format!(
                "warning: there is no manifest in {} yet: its *.yaml, *.yml and *.json are \
                 followed, not those in subfolders",
                path.display()
            )
        })
    }

    /// Every file as it is now, with those of `known` that are gone.
    pub fn read(&self, known: &[Source]) -> Look {
        let mut look = Look::default();
        let mut unreadable = Vec::new();
        for (argument, path) in self.paths.iter().enumerate() {
            if path == Path::new(STDIN) {
                let source = Source { argument, path: STDIN.to_owned() };
                look.seen.push(FileText { source, text: self.stdin.clone() });
                continue;
            }
            for file in files(path) {
                let source = Source { argument, path: file.display().to_string() };
                match fs::read_to_string(&file) {
                    Ok(text) => look.seen.push(FileText { source, text: Some(text) }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        let line = format!("{}: error: cannot be read: {error}", source.path);
                        look.unreadable.push(line);
                        unreadable.push(source);
                    }
                }
            }
        }
        for known in known {
            let seen = look.seen.iter().any(|file| file.source == *known);
            // A file that cannot be read keeps its objects, as a broken one does.
            if !seen && !unreadable.contains(known) {
                look.seen.push(FileText { source: known.clone(), text: None });
            }
        }
        look
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
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .with_context(|| format!("watching {}", folder.display()))?;
        }
        Ok((watcher, receiver))
    }
}

/// The files that a path stands for, without a folder's hidden ones, which are
/// editors' own; none of a folder that cannot be read now.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = documents::files(path).unwrap_or_default();
    let hidden =
        |file: &Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    files.retain(|file| file == path || !hidden(file));
    files
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
        let seen = sources.read(&[]).seen.into_iter();
        let texts: Vec<String> = seen.filter_map(|file| file.text).collect();
        assert_eq!(texts, ["a.yml", "b.yaml"]);
    }

    #[test]
    fn a_folder_without_manifests_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources::new(&[folder.path().to_owned()]).unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/a.yaml"), "a").unwrap();
        let [line] = sources.empty_folders().collect::<Vec<_>>().try_into().unwrap();
        assert!(line.starts_with("warning: there is no manifest in /"), "{line}");
        fs::write(folder.path().join("a.yaml"), "a").unwrap();
        assert_eq!(sources.empty_folders().count(), 0);
    }

    #[test]
    fn a_file_that_is_gone_is_seen_without_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "a").unwrap();
        let sources = Sources::new(&[folder.path().to_owned()]).unwrap();
        let seen = sources.read(&[]).seen.into_iter();
        let known: Vec<Source> = seen.map(|file| file.source).collect();
        fs::remove_file(&path).unwrap();
        let gone = FileText { source: known[0].clone(), text: None };
        assert_eq!(sources.read(&known).seen, [gone]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_keeps_what_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, [0xff, 0xfe]).unwrap();
        let sources = Sources::new(&[folder.path().to_owned()]).unwrap();
        let known = Source { argument: 0, path: path.display().to_string() };
        let look = sources.read(&[known]);
        assert_eq!(look.seen, []);
        assert!(look.unreadable[0].contains("a.yaml: error"), "{:?}", look.unreadable);
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = Sources::new(&["no/such".into()]).unwrap_err().to_string();
        assert_eq!(error, "no/such: no such file or folder");
    }
}
