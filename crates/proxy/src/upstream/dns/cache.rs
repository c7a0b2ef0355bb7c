//! What is known of names, who waits for it, and what is to be looked up.
//!
//! A machine without I/O: it is given questions, answers and the time. Questions for one name
//! share one lookup; an old answer is given out while a new one is looked up; a failure is
//! remembered for a second.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

/// How long an answer is given out without looking again.
const FRESH: Duration = Duration::from_secs(5);
/// How long an answer is given out while it is looked up again, or that fails.
const STALE: Duration = Duration::from_secs(5 * 60);
/// How long a failure is given out.
const FAILED: Duration = Duration::from_secs(1);
/// Names that are remembered or looked up at a time.
const MOST_NAMES: usize = 8192;
/// Questions that may wait for one name.
const MOST_WAITING: usize = 16 * 1024;

/// A host and the port that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The host.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("no address: {0}")]
    None(Arc<str>),
    /// No answer in time.
    #[error("no answer in time")]
    Silent,
    /// Too many names are being looked up.
    #[error("too many names are being looked up")]
    Overload,
}

/// What came of a lookup.
pub type Answer = Result<Arc<[SocketAddr]>, ResolveError>;

/// Everything that is known of names.
#[derive(Debug, Default)]
pub struct Cache {
    names: HashMap<Name, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    addresses: Option<(Arc<[SocketAddr]>, Instant)>,
    failed: Option<(ResolveError, Instant)>,
    is_looked_up: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Cache {
    /// Answers a question, now or when the lookup is over. True when one is to be begun.
    #[must_use]
    pub fn ask(&mut self, name: &Name, answer: oneshot::Sender<Answer>, now: Instant) -> bool {
        if self.names.len() >= MOST_NAMES && !self.names.contains_key(name) {
            self.sweep(now);
        }
        if self.names.len() >= MOST_NAMES && !self.names.contains_key(name) {
            let _ = answer.send(Err(ResolveError::Overload));
            return false;
        }
        let entry = self.names.entry(name.clone()).or_default();
        let failure = entry.failed.as_ref().filter(|(_, when)| now - *when < FAILED);
        match (entry.addresses.as_ref().filter(|(_, when)| now - *when < STALE), failure) {
            (Some((addresses, when)), failure) => {
                let _ = answer.send(Ok(Arc::clone(addresses)));
                let is_fresh = now - *when < FRESH || failure.is_some();
                !is_fresh && !std::mem::replace(&mut entry.is_looked_up, true)
            }
            (None, Some((error, _))) => {
                let _ = answer.send(Err(error.clone()));
                false
            }
            (None, None) => {
                entry.waiting.retain(|one| !one.is_closed());
                match entry.waiting.len() < MOST_WAITING {
                    true => entry.waiting.push(answer),
                    false => drop(answer.send(Err(ResolveError::Overload))),
                }
                !std::mem::replace(&mut entry.is_looked_up, true)
            }
        }
    }

    /// A lookup is over.
    pub fn answered(&mut self, name: &Name, answer: &Answer, now: Instant) {
        let entry = self.names.entry(name.clone()).or_default();
        entry.is_looked_up = false;
        for waiting in entry.waiting.drain(..) {
            let _ = waiting.send(answer.clone());
        }
        match answer {
            Ok(addresses) => {
                entry.addresses = Some((Arc::clone(addresses), now));
                entry.failed = None;
            }
            Err(error) => entry.failed = Some((error.clone(), now)),
        }
    }

    /// Forgets answers that are too old to be given out.
    pub fn sweep(&mut self, now: Instant) {
        self.names.retain(|_, entry| {
            let is_used = |when: Instant, limit| now - when < limit;
            entry.is_looked_up
                || entry.addresses.as_ref().is_some_and(|(_, when)| is_used(*when, STALE))
                || entry.failed.as_ref().is_some_and(|(_, when)| is_used(*when, FAILED))
        });
    }
}
