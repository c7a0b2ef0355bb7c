//! The configuration in a file, for a container that restarts.
//!
//! The folder is in memory and belongs to the pod: it goes when the pod goes. The
//! file is a log of changes, which a thread of its own writes, and compacts when
//! half of it is out of date.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use tokio::sync::mpsc;
use weft_config::{Resource, encode};
use weft_delta::Name;

/// What may be out of date in any case before the file is compacted, in bytes.
const SLACK: u64 = 256 * 1024;

/// Changes by name: a version and a body, or that the resource is gone.
pub type Changes = HashMap<Name, Option<(u64, Body)>>;

/// The JSON of a resource.
#[derive(Clone, Debug)]
pub enum Body {
    /// As it came.
    Text(Arc<[u8]>),
    /// As it will be once it is written: most bytes of a large directory need not be in
    /// memory twice.
    Resource(Arc<Resource>),
}

/// The writer of the file, which takes one batch of changes at a time.
#[derive(Debug)]
pub struct SnapshotFile {
    batches: mpsc::Sender<Changes>,
}

/// A resource as it was written.
#[derive(Debug)]
pub struct SavedResource {
    /// The name.
    pub name: Name,
    /// The version.
    pub version: u64,
    /// The JSON.
    pub body: Bytes,
}

impl SnapshotFile {
    /// Reads what was written last into `folder`, and starts to write there.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<SavedResource>)> {
        let (mut log, written) = Log::open(folder.join("known.log"))?;
        let (batches, mut received) = mpsc::channel::<Changes>(1);
        thread::Builder::new().name("state".into()).spawn(move || {
            let mut pending = Changes::new();
            while let Some(batch) = received.blocking_recv() {
                // What could not be written is tried again with the next batch.
                pending.extend(batch);
                match log.append(&pending) {
                    Ok(()) => pending.clear(),
                    Err(error) => tracing::warn!(%error, path = %log.path.display(),
                        "the configuration cannot be kept for a restart"),
                }
            }
        })?;
        Ok((Self { batches }, written))
    }

    /// Hands over `changes` if the last ones are written; else they stay where they are.
    pub fn write(&self, changes: &mut Changes) {
        if let Ok(place) = self.batches.try_reserve() {
            place.send(std::mem::take(changes));
        }
    }
}

/// A file of records, of which the last one of each name counts.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    live: HashMap<Name, Place>,
    /// Bytes of the file, and of the records in it that count.
    all: u64,
    used: u64,
}

/// Where a record is.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    length: u64,
}

impl Log {
    fn open(path: PathBuf) -> io::Result<(Self, Vec<SavedResource>)> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let bytes = Bytes::from(fs::read(&path)?);
        let mut log = Self { path, file, live: HashMap::new(), all: 0, used: 0 };
        let mut written: HashMap<Name, (u64, Bytes)> = HashMap::new();
        while let Some(record) = Record::read(&bytes.slice(log.all as usize..)) {
            log.note(&record.name, record.length, record.body.is_some());
            match record.body {
                Some(body) => drop(written.insert(record.name, body)),
                None => drop(written.remove(&record.name)),
            }
        }
        if log.all < bytes.len() as u64 {
            tracing::warn!(path = %log.path.display(), "the end of the file is not readable");
            log.file.set_len(log.all)?;
        }
        let saved = |(name, (version, body))| SavedResource { name, version, body };
        Ok((log, written.into_iter().map(saved).collect()))
    }

    fn append(&mut self, changes: &Changes) -> io::Result<()> {
        let written = match self.write(changes) {
            Ok(written) => written,
            Err(error) => {
                // Half a record would hide those that follow.
                self.file.set_len(self.all)?;
                return Err(error);
            }
        };
        for (name, length, live) in written {
            self.note(name, length, live);
        }
        match self.all > 2 * self.used + SLACK {
            true => self.compact(),
            false => Ok(()),
        }
    }

    /// Writes records; says how long each is, and whether something counts in it. Not as
    /// one text: its memory would stay with this thread's allocator.
    fn write<'c>(&self, changes: &'c Changes) -> io::Result<Vec<(&'c Name, u64, bool)>> {
        let mut writer = BufWriter::new(&self.file);
        let mut written = Vec::with_capacity(changes.len());
        for (name, change) in changes {
            let length = Record::write(name, change.as_ref(), &mut writer)?;
            written.push((name, length, change.is_some()));
        }
        writer.flush()?;
        Ok(written)
    }

    /// A record of `name` is at the end of the file.
    fn note(&mut self, name: &Name, length: u64, live: bool) {
        let place = Place { at: self.all, length };
        self.all += length;
        let old = match live {
            true => self.live.insert(Arc::clone(name), place),
            false => self.live.remove(name),
        };
        self.used += if live { length } else { 0 };
        self.used -= old.map_or(0, |old| old.length);
    }

    /// Replaces the file by one with only what counts.
    fn compact(&mut self) -> io::Result<()> {
        let path = self.path.with_extension("new");
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let (mut live, mut all) = (HashMap::new(), 0);
        let mut record = Vec::new();
        for (name, place) in &self.live {
            record.resize(place.length as usize, 0);
            self.file.read_exact_at(&mut record, place.at)?;
            file.write_all(&record)?;
            live.insert(Arc::clone(name), Place { at: all, length: place.length });
            all += place.length;
        }
        fs::rename(&path, &self.path)?;
        (self.file, self.live, self.all, self.used) = (file, live, all, all);
        Ok(())
    }
}

/// `VERSION LENGTH NAME`, then the body and a line's end; of what is gone, `- 0 NAME`.
struct Record {
    name: Name,
    body: Option<(u64, Bytes)>,
    length: u64,
}

impl Record {
    /// Writes a record; returns its length in bytes.
    fn write(name: &str, change: Option<&(u64, Body)>, to: &mut impl Write) -> io::Result<u64> {
        // A name with a line's end in it could not be read back.
        if name.contains('\n') {
            return Ok(0);
        }
        let encoded;
        let (head, body) = match change {
            Some((version, body)) => {
                let body = match body {
                    Body::Text(text) => &**text,
                    Body::Resource(resource) => {
                        encoded = encode(resource).body;
                        &encoded
                    }
                };
                (format!("{version:x} {} {name}\n", body.len()), body)
            }
            None => (format!("- 0 {name}\n"), &[][..]),
        };
        to.write_all(head.as_bytes())?;
        to.write_all(body)?;
        to.write_all(b"\n")?;
        Ok((head.len() + body.len() + 1) as u64)
    }

    /// The record that `bytes` begin with, if it is complete.
    fn read(bytes: &Bytes) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let (version, rest) = head.split_once(' ')?;
        let (size, name) = rest.split_once(' ')?;
        let size: usize = size.parse().ok()?;
        let length = end.checked_add(size)?.checked_add(2)?;
        if bytes.len() < length || bytes[length - 1] != b'\n' {
            return None;
        }
        let body = match version {
            "-" => None,
            version => {
                let body = bytes.slice(end + 1..end + 1 + size);
                Some((u64::from_str_radix(version, 16).ok()?, body))
            }
        };
        Some(Self { name: name.into(), body, length: length as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(all: &[(&str, Option<(u64, &str)>)]) -> Changes {
        all.iter()
            .map(|(name, change)| {
                let body = |(version, body): (u64, &str)| {
                    (version, Body::Text(Arc::from(body.as_bytes())))
                };
                (Name::from(*name), change.map(body))
            })
            .collect()
    }

    fn read(path: &Path) -> Vec<(String, u64, usize)> {
        let (_, written) = Log::open(path.to_owned()).unwrap();
        let mut written: Vec<_> = written
            .into_iter()
            .map(|saved| (saved.name.to_string(), saved.version, saved.body.len()))
            .collect();
        written.sort();
        written
    }

    #[test]
    fn what_was_written_last_is_read_and_a_torn_end_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known.log");
        let (mut log, written) = Log::open(path.clone()).unwrap();
        assert!(written.is_empty());
        log.append(&changes(&[("route/a", Some((7, "{\"a\":\n1}"))), ("b", Some((u64::MAX, "")))]))
            .unwrap();
        log.append(&changes(&[("b", None), ("c", Some((1, "{}")))])).unwrap();
        let expected = [("c".to_owned(), 1, 2), ("route/a".to_owned(), 7, 8)];
        assert_eq!(read(&path), expected);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"5 100 d\n{\"half"].concat()).unwrap();
        assert_eq!(read(&path), expected);
        assert_eq!(fs::read(&path).unwrap(), whole);
        fs::write(&path, "no such record\n").unwrap();
        assert_eq!(read(&path), []);
    }

    #[test]
    fn changes_cost_what_they_are_and_not_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known.log");
        let (mut log, _) = Log::open(path.clone()).unwrap();
        let large = "x".repeat(4 << 20);
        log.append(&changes(&[("large", Some((1, &large)))])).unwrap();
        let before = log.all;
        log.append(&changes(&[("small", Some((1, "x")))])).unwrap();
        assert!(log.all - before < 100);
        for version in 0..20_000 {
            log.append(&changes(&[("small", Some((version, &large[..1000])))])).unwrap();
            let size = fs::metadata(&path).unwrap().len();
            assert!(size <= 2 * (4 << 20) + 2 * SLACK, "{size}");
        }
        let read = read(&path);
        assert_eq!(read[0], ("large".to_owned(), 1, 4 << 20));
        assert_eq!(read[1], ("small".to_owned(), 19_999, 1000));
    }
}
