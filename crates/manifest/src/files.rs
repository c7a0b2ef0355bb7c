//! Which file owns which object.
//!
//! A machine that gets what files say, and what time it is; it says which
//! objects to apply and which to prune. It reads no file, watches none and
//! knows no cluster.
//!
//! What another client does to an object in between stays until the object
//! changes in its file; one that was deleted stays so until its file is saved.

mod name;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{Document, Location, Problem, read};

pub use name::{ObjectName, unnamed};

/// How long a file must be empty or gone before its objects go: editors truncate, then write.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// A file among those that were named on the command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Which argument it comes from.
    pub argument: usize,
    /// Its path, as places shall name it.
    pub path: String,
}

/// What has to be done after a file changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Objects to apply, in the order in which they stand.
    pub apply: Vec<(ObjectName, Arc<Document>)>,
    /// Objects that no file has any more.
    pub prune: Vec<ObjectName>,
    /// Documents that could not be read, unless the file says what it said before;
    /// their file keeps the objects that it had.
    pub problems: Vec<Problem>,
    /// Objects that stand in more than one place.
    pub conflicts: Vec<Conflict>,
}

/// An object that stands in two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The object.
    pub object: ObjectName,
    /// The place that counts.
    pub used: Location,
    /// The place that does not.
    pub ignored: Location,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object, used, ignored } = self;
        write!(f, "{ignored}: warning: {object}: not used, because {used} has it too and is later")
    }
}

/// All files and what they own.
#[derive(Clone, Debug)]
pub struct Files {
    /// The namespace of objects that name none.
    namespace: String,
    /// What each file says, ordered by argument, then path; the last one to have an object wins.
    files: BTreeMap<Source, Vec<(ObjectName, Arc<Document>)>>,
    /// Files that are empty or gone, and since when.
    fading: BTreeMap<Source, Instant>,
    /// What has been said to be applied.
    applied: BTreeMap<ObjectName, Arc<Document>>,
    /// Objects that others have deleted.
    deleted: BTreeSet<ObjectName>,
    /// Conflicts that have been told.
    told: Vec<Conflict>,
    /// Files with problems that have been told, and what they said.
    broken: BTreeMap<Source, String>,
}

impl Files {
    /// No files; objects that name no namespace are those of `namespace`.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            files: BTreeMap::new(),
            fading: BTreeMap::new(),
            applied: BTreeMap::new(),
            deleted: BTreeSet::new(),
            told: Vec::new(),
            broken: BTreeMap::new(),
        }
    }

    /// Says what `source` holds at `now`; `text` is absent when the file is gone.
    pub fn saw(&mut self, source: &Source, text: Option<&str>, now: Instant) -> Changes {
        let text = text.unwrap_or_default();
        let documents = read(&source.path, text);
        if documents.is_empty() {
            if self.files.contains_key(source) {
                self.fading.entry(source.clone()).or_insert(now);
            }
            return Changes::default();
        }
        self.fading.remove(source);
        let (mut named, mut problems) = name::each(documents, &self.namespace);
        for (name, _) in &named {
            if self.deleted.remove(name) {
                self.applied.remove(name);
            }
        }
        if !problems.is_empty() {
            // What is not there any more may be in a document that cannot be read.
            let new = |name| !named.iter().any(|(other, _)| other == name);
            let earlier = self.files.get(source).into_iter().flatten();
            let kept: Vec<_> = earlier.filter(|(name, _)| new(name)).cloned().collect();
            named.extend(kept);
        }
        self.files.insert(source.clone(), named);
        if problems.is_empty() {
            self.broken.remove(source);
        } else if self.broken.insert(source.clone(), text.to_owned()).as_deref() == Some(text) {
            problems.clear();
        }
        Changes { problems, ..self.settle() }
    }

    /// When [`Files::wait`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.fading.values().min().map(|since| *since + PATIENCE)
    }

    /// Lets time pass: files that have been empty or gone for long enough lose their objects.
    pub fn wait(&mut self, now: Instant) -> Changes {
        let over: Vec<_> = self
            .fading
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= PATIENCE)
            .map(|(source, _)| source.clone())
            .collect();
        for source in over {
            self.fading.remove(&source);
            self.files.remove(&source);
            self.broken.remove(&source);
        }
        self.settle()
    }

    /// Says that another client has deleted an object.
    pub fn deleted(&mut self, name: &ObjectName) {
        if self.applied.contains_key(name) {
            self.deleted.insert(name.clone());
        }
    }

    /// The files that have objects now.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.files.keys()
    }

    /// The documents of all objects that files have now.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.applied.values().map(Arc::as_ref)
    }

    /// The place of an object, if a file has it.
    pub fn document(&self, name: &ObjectName) -> Option<&Arc<Document>> {
        self.applied.get(name)
    }

    /// Compares what the files say now with what has been applied.
    fn settle(&mut self) -> Changes {
        let mut wanted: BTreeMap<&ObjectName, &Arc<Document>> = BTreeMap::new();
        let mut order = Vec::new();
        let mut conflicts = Vec::new();
        for (name, document) in self.files.values().flatten() {
            match wanted.insert(name, document) {
                Some(earlier) => conflicts.push(Conflict {
                    object: name.clone(),
                    used: document.place(),
                    ignored: earlier.place(),
                }),
                None => order.push(name),
            }
        }
        let changed = |name: &ObjectName| match (self.applied.get(name), wanted.get(name)) {
            (Some(applied), Some(wanted)) => applied.value != wanted.value,
            (applied, _) => applied.is_none(),
        };
        let apply = order
            .into_iter()
            .filter(|name| changed(name))
            .map(|name| (name.clone(), Arc::clone(wanted[name])))
            .collect();
        let gone = self.applied.keys().filter(|name| !wanted.contains_key(name));
        let prune = gone.filter(|name| !self.deleted.contains(name)).cloned().collect();
        let new = |conflict: &Conflict| !self.told.contains(conflict);
        let news = conflicts.iter().filter(|conflict| new(conflict)).cloned().collect();
        self.applied = wanted
            .into_iter()
            .map(|(name, document)| (name.clone(), Arc::clone(document)))
            .collect();
        self.deleted.retain(|name| self.applied.contains_key(name));
        self.told = conflicts;
        Changes { apply, prune, problems: Vec::new(), conflicts: news }
    }
}

#[cfg(test)]
mod tests;
