//! What is known, written down for a container that restarts.
//!
//! The folder is in memory and belongs to the pod: it goes when the pod goes.
//! A file that cannot be read counts as nothing known.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use weft_delta::Name;

/// The file.
#[derive(Debug)]
pub struct Saved {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    version: u64,
    body: String,
}

impl Saved {
    /// The file in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { path: folder.join("known.jsonl") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that was written last.
    pub fn read(&self) -> Vec<(Name, u64, Arc<[u8]>)> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let lines: Result<Vec<Line>, _> = text.lines().map(serde_json::from_str).collect();
        match lines {
            Ok(lines) => lines
                .into_iter()
                .map(|line| (line.name.into(), line.version, line.body.into_bytes().into()))
                .collect(),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "unreadable; starting anew");
                Vec::new()
            }
        }
    }

    /// Writes everything, as a whole or not at all.
    pub fn write<'b>(
        &self,
        bodies: impl Iterator<Item = (&'b str, u64, &'b [u8])>,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        for (name, version, body) in bodies {
            let body = String::from_utf8_lossy(body).into_owned();
            serde_json::to_writer(&mut text, &Line { name: name.to_owned(), version, body })?;
            text.push(b'\n');
        }
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_broken_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved::new(folder.path().to_owned());
        assert!(saved.read().is_empty());
        let bodies = [("route/a", 7, &b"{\"a\":1}"[..]), ("b", u64::MAX, b"{}")];
        saved.write(bodies.into_iter()).unwrap();
        let read = saved.read();
        assert_eq!(read.len(), 2);
        assert_eq!((&*read[0].0, read[0].1, &*read[0].2), ("route/a", 7, &b"{\"a\":1}"[..]));
        fs::write(saved.path(), "{\"name\":\"a\"").unwrap();
        assert!(saved.read().is_empty());
    }
}
