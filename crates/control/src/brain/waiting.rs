//! Questions about who has taken note of a change, until they can be answered.

use tokio::time::Instant;

use super::{Question, sessions::Sessions};
use crate::{Acknowledgement, ledger::Ledger};

/// Questions that are open at a time; beyond, the oldest are answered as they are.
const OPEN: usize = 1024;

/// Questions that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<Question>);

impl Waiting {
    pub(super) fn ask(&mut self, question: Question) {
        if self.0.len() >= OPEN {
            // Dropping it answers "not known".
            self.0.remove(0);
        }
        self.0.push(question);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|question| question.deadline).min()
    }

    /// Answers what is complete, and what has waited long enough.
    pub(super) fn answer(&mut self, now: Instant, ledger: &Ledger, sessions: &Sessions) {
        let open = std::mem::take(&mut self.0);
        for question in open {
            let state = state(&question, ledger, sessions);
            if state.complete || question.deadline <= now {
                // The one who asked may have gone.
                let _ = question.reply.send(state);
            } else if !question.reply.is_closed() {
                self.0.push(question);
            }
        }
    }
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
