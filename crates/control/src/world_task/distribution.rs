//! Questions about who has taken note of a change, until they can be answered.
//!
//! A question is looked at again only when some revision has come into force
//! everywhere, when objects have changed, or at its deadline.

use tokio::time::Instant;

use super::{AcknowledgementQuery, ObjectVersion, sessions::Sessions};
use crate::{Acknowledgement, revisions::Revisions};

/// Questions that are open at a time.
const OPEN: usize = 1024;

/// How many of these are kept for callers who may ask about everything.
const RESERVED: usize = 256;

/// Questions that one caller may have open; for a further one its oldest is
/// answered as it is.
const PER_CALLER: usize = 64;

/// Questions that are not answered yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct PendingAcks(Vec<AcknowledgementQuery>);

impl PendingAcks {
    /// Adds a question. Dropping one answers it with "not known".
    pub(super) fn ask(&mut self, question: AcknowledgementQuery) {
        self.0.retain(|open| !open.reply.is_closed());
        let of = |caller: &str| self.0.iter().filter(|open| open.caller.name == caller).count();
        let is_full = match question.caller.runs_mesh {
            true => self.0.len() >= OPEN,
            false => self.0.iter().filter(|open| !open.caller.runs_mesh).count() >= OPEN - RESERVED,
        };
        if of(&question.caller.name) >= PER_CALLER || is_full {
            // Its own oldest goes; a caller without any waits until others are done.
            let oldest = self.0.iter().position(|open| open.caller.name == question.caller.name);
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
    pub(super) fn answer(&mut self, now: Instant, revisions: &Revisions, sessions: &Sessions) {
        let due = |question: &mut AcknowledgementQuery| {
            question.deadline <= now || complete(question, revisions, sessions)
        };
        for question in self.0.extract_if(.., due) {
            let state = state(&question, revisions, sessions);
            // The caller may have gone.
            let _ = question.reply.send(state);
        }
    }
}

/// Whether every proxy concerned has the question's version in force.
fn complete(question: &AcknowledgementQuery, revisions: &Revisions, sessions: &Sessions) -> bool {
    let ObjectVersion { key, version } = &question.object;
    let generations = revisions.generations(key, version);
    generations.is_some_and(|all| all.is_empty() || sessions.have(&all))
}

fn state(
    question: &AcknowledgementQuery,
    revisions: &Revisions,
    sessions: &Sessions,
) -> Acknowledgement {
    let ObjectVersion { key, version } = &question.object;
    let Some(generations) = revisions.generations(key, version) else {
        return Acknowledgement::default();
    };
    let behind = match generations.is_empty() {
        true => Vec::new(),
        false => sessions.behind(&generations),
    };
    let proxies = generations.iter().map(|number| revisions.proxies(*number)).max();
    Acknowledgement {
        complete: behind.is_empty(),
        seen: true,
        proxies: proxies.unwrap_or(0).max(behind.len()),
        behind,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::world_task::QueryCaller;

    fn ask(waiting: &mut PendingAcks, caller: &str) -> oneshot::Receiver<Acknowledgement> {
        ask_as(waiting, QueryCaller { name: caller.to_owned(), runs_mesh: false })
    }

    fn ask_as(
        waiting: &mut PendingAcks,
        caller: QueryCaller,
    ) -> oneshot::Receiver<Acknowledgement> {
        let (reply, answer) = oneshot::channel();
        waiting.ask(AcknowledgementQuery {
            object: ObjectVersion { key: "Pod/a/client".parse().unwrap(), version: "1".to_owned() },
            caller,
            deadline: Instant::now() + Duration::from_secs(60),
            reply,
        });
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_asks_too_much_loses_its_own_oldest_questions_only() {
        let mut waiting = PendingAcks::default();
        let mut other = ask(&mut waiting, "other");
        let mut own: Vec<_> = (0..OPEN * 2).map(|_| ask(&mut waiting, "greedy")).collect();
        assert!(other.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let empty = Err(oneshot::error::TryRecvError::Empty);
        let open: Vec<bool> = own.iter_mut().map(|answer| answer.try_recv() == empty).collect();
        assert_eq!(open.iter().filter(|open| **open).count(), PER_CALLER);
        assert!(open.iter().rev().take(PER_CALLER).all(|open| *open), "the oldest go");
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_leave_room_for_those_who_run_the_mesh() {
        let mut waiting = PendingAcks::default();
        let ask_all = |waiting: &mut PendingAcks| -> Vec<_> {
            let all = (0..2 * OPEN).map(|one| format!("caller {}", one % (OPEN / 16)));
            all.map(|caller| ask(waiting, &caller)).collect()
        };
        let _others = ask_all(&mut waiting);
        assert_eq!(waiting.0.len(), OPEN - RESERVED);
        let root = QueryCaller { name: "root".to_owned(), runs_mesh: true };
        let mut root: Vec<_> =
            (0..PER_CALLER).map(|_| ask_as(&mut waiting, root.clone())).collect();
        let _others = ask_all(&mut waiting);
        let empty = Err(oneshot::error::TryRecvError::Empty);
        assert!(root.iter_mut().all(|answer| answer.try_recv() == empty));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_has_gone_leaves_room() {
        let mut waiting = PendingAcks::default();
        drop(ask(&mut waiting, "gone"));
        let _kept = ask(&mut waiting, "other");
        assert_eq!(waiting.0.len(), 1);
    }
}
