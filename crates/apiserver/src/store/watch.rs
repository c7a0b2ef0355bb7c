//! Reading the history as it grows.
//!
//! A watch holds nothing but its place: it reads from the store's bounded
//! history, one change at a time, and finds out by version whether it has fallen
//! out of it. So a watch that is not read keeps no object in memory.

use std::sync::Arc;

use serde_json::Value;

use super::{Key, Store, key, present};
use crate::{resource::Resource, status::Status};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It came into being.
    Added,
    /// It is another.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// The object after it, or its last state.
    pub object: Arc<Value>,
    /// The object before it; absent for a new one.
    pub previous: Option<Arc<Value>>,
    /// The store's version with this change.
    pub version: u64,
}

pub(super) struct Record {
    pub key: Key,
    pub change: Change,
    pub object: Arc<Value>,
    pub previous: Option<Arc<Value>>,
    pub version: u64,
    /// What it keeps alive.
    pub size: usize,
}

/// A place in the history, and what is wanted from there on.
pub struct Watch {
    store: Store,
    resource: Option<Resource>,
    position: u64,
    changed: tokio::sync::watch::Receiver<u64>,
}

impl Watch {
    pub(super) fn new(store: Store, resource: Option<Resource>, since: u64) -> Self {
        let changed = store.shared.changed.subscribe();
        Self { store, resource, position: since, changed }
    }

    /// The next change; an error (410) when it has left the history.
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event, Status> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.changed.changed().await.is_err() {
                // The store outlives its watches, since each holds a clone.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Result<Option<Event>, Status> {
        self.changed.mark_unchanged();
        let state = self.store.state();
        let oldest = state.history.front().map_or(state.version + 1, |record| record.version);
        // Version 1 is that of the empty store: nothing can have been lost before it.
        if self.position + 1 < oldest && self.position < state.version && oldest > 2 {
            return Err(Status::expired(self.position, oldest));
        }
        let wanted = self.resource.as_ref().map(key);
        let start = state.history.partition_point(|record| record.version <= self.position);
        for record in state.history.range(start..) {
            self.position = record.version;
            if wanted.as_ref().is_some_and(|wanted| *wanted != record.key) {
                continue;
            }
            let show = |object: &Arc<Value>| match &self.resource {
                Some(resource) => present(resource, Arc::clone(object)),
                None => Arc::clone(object),
            };
            return Ok(Some(Event {
                change: record.change,
                object: show(&record.object),
                previous: record.previous.as_ref().map(show),
                version: record.version,
            }));
        }
        Ok(None)
    }

    /// The version up to which everything has been read.
    pub fn position(&self) -> u64 {
        self.position
    }
}
