//! What is known, written down for a container that restarts.
//!
//! The folder is in memory and belongs to the pod: it goes when the pod goes.
//! A file that cannot be read counts as nothing known.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weft_delta::Name;

/// The file.
#[derive(Debug)]
pub struct Saved {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Line<'l> {
    name: Cow<'l, str>,
    version: u64,
    body: Cow<'l, str>,
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
    pub fn read(&self) -> Vec<(Name, u64, Bytes)> {
        lines(&self.path)
    }

    /// Writes everything, as a whole or not at all.
    pub fn write<'b>(
        &self,
        bodies: impl Iterator<Item = (&'b str, u64, Cow<'b, [u8]>)>,
    ) -> io::Result<()> {
        replace(&self.path, bodies)
    }
}

fn lines(path: &Path) -> Vec<(Name, u64, Bytes)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Result<Vec<Line<'_>>, _> = text.lines().map(serde_json::from_str).collect();
    let read = |line: Line<'_>| {
        let body = line.body.into_owned().into_bytes();
        (line.name.into_owned().into(), line.version, body.into())
    };
    match lines {
        Ok(lines) => lines.into_iter().map(read).collect(),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "unreadable; starting anew");
            Vec::new()
        }
    }
}

/// Writes a file line by line, so that what is known is not in memory twice for
/// it, and puts it in place as a whole.
fn replace<'b>(
    path: &Path,
    bodies: impl Iterator<Item = (&'b str, u64, Cow<'b, [u8]>)>,
) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&new)?);
    for (name, version, body) in bodies {
        let (name, body) = (Cow::Borrowed(name), String::from_utf8_lossy(&body));
        serde_json::to_writer(&mut file, &Line { name, version, body })?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    fs::rename(&new, path)
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
        let bodies = bodies.map(|(name, version, body)| (name, version, Cow::Borrowed(body)));
        saved.write(bodies.into_iter()).unwrap();
        let read = saved.read();
        assert_eq!(read.len(), 2);
        assert_eq!((&*read[0].0, read[0].1, &*read[0].2), ("route/a", 7, &b"{\"a\":1}"[..]));
        fs::write(saved.path(), "{\"name\":\"a\"").unwrap();
        assert!(saved.read().is_empty());
    }
}
