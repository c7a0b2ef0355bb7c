//! Questions about who has taken note of a change, until they can be answered.
//!
//! A question is looked at again only when some revision has come into force
//! everywhere, when objects have changed, or at its deadline.

use tokio::time::Instant;

use super::{Question, sessions::Sessions};
use crate::{Acknowledgement, ledger::Ledger};

/// Questions that are open at a time.
const OPEN: usize = 1024;

/// Questions that one caller may have open; for a further one its oldest is
/// answered as it is.
const PER_CALLER: usize = 64;

/// Questions that are not answered yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Question>);

impl Waiting {
    /// Adds a question. Dropping one answers it with "not known".
    pub(super) fn ask(&mut self, question: Question) {
        self.0.retain(|open| !open.reply.is_closed());
        let of = |caller: &str| self.0.iter().filter(|open| open.caller == caller).count();
        if of(&question.caller) >= PER_CALLER || self.0.len() >= OPEN {
            // Its own oldest goes; a caller without any waits until others are done.
            let oldest = self.0.iter().position(|open| open.caller == question.caller);
            match oldest {
                Some(oldest) => drop(self.0.remove(oldest)),
                None => return,
            }
        }
        self.0.push(question);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|question| question.deadline).min()
    }

    /// Answers what is complete, and what has waited long enough.
    pub(super) fn answer(&mut self, now: Instant, ledger: &Ledger, sessions: &Sessions) {
        let due = |question: &mut Question| {
            question.deadline <= now || complete(question, ledger, sessions)
        };
        for question in self.0.extract_if(.., due) {
            let state = state(&question, ledger, sessions);
            // The caller may have gone.
            let _ = question.reply.send(state);
        }
    }
}

/// Whether every proxy concerned has the question's version in force.
fn complete(question: &Question, ledger: &Ledger, sessions: &Sessions) -> bool {
    let generations = ledger.generations(&question.key, &question.version);
    generations.is_some_and(|all| all.is_empty() || sessions.have(&all))
}

fn state(question: &Question, ledger: &Ledger, sessions: &Sessions) -> Acknowledgement {
    let Some(generations) = ledger.generations(&question.key, &question.version) else {
        return Acknowledgement::default();
    };
    let behind = match generations.is_empty() {
        true => Vec::new(),
        false => sessions.behind(&generations),
    };
    let proxies = generations.iter().map(|number| ledger.proxies(*number)).max();
    Acknowledgement {
        complete: behind.is_empty(),
        seen: true,
        proxies: proxies.unwrap_or(0).max(behind.len()),
        behind,
    }
}
