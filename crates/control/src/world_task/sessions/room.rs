//! Room for the answers of all sessions together.
//!
//! An answer is kept for as long as a session is interested in it, whether its proxy reads or not.
//! So there is a bound for all of them. While they have more, answers are given up of the
//! namespace whose answers cost most, and no other namespace notices.

use std::collections::BTreeMap;

use weft_config::Interest;
use weft_delta::ResourceSet;

use super::Sessions;
use crate::{
    subscriptions::{Answers, SessionId, is_bounded},
    world_task::{Offer, Revision},
};

/// How much answers may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::world_task) struct Room {
    /// Bytes of those of a session.
    pub(in crate::world_task) of_session: usize,
    /// Bytes of all; what several have counts once.
    pub(in crate::world_task) of_all: usize,
}

impl Sessions {
    /// Whether an answer for the namespace of session `id` was refused because there was no room, and
    /// nothing was freed since. Until then no other is made.
    pub(super) fn is_full(&self, id: SessionId, interest: &Interest, answers: &Answers) -> bool {
        let Some(session) = self.by_id.get(&id).filter(|_| is_bounded(interest)) else {
            return false;
        };
        let namespace = &session.pod.namespace;
        self.full.get(namespace) == Some(&answers.freed())
    }

    /// Makes room for what session `id` has just got as the answer to `interest`: other namespaces
    /// that have more than its own give up some; where none has, the answer is refused.
    pub(super) fn fit(
        &mut self,
        id: SessionId,
        interest: &Interest,
        answer: Option<ResourceSet>,
        answers: &mut Answers,
    ) -> Option<ResourceSet> {
        if answers.bytes() <= self.room.of_all || !is_bounded(interest) {
            return answer;
        }
        let namespace = self.by_id.get(&id)?.pod.namespace.clone();
        self.give_up(Some(&namespace), answers);
        if answers.bytes() <= self.room.of_all {
            return answer;
        }
        self.by_id.get_mut(&id)?.end(interest, answers);
        self.full.insert(namespace, answers.freed());
        None
    }

    /// Gives up answers while all together cost more than they may, those of the namespace `spared`
    /// excepted. Then it makes a little more room, so that this is rare.
    pub(super) fn give_up(&mut self, spared: Option<&str>, answers: &mut Answers) {
        if answers.bytes() <= self.room.of_all {
            return;
        }
        let target = self.room.of_all - self.room.of_all / 16;
        loop {
            // What is left of sessions that are gone frees nothing when it is given up.
            self.reap(answers);
            let before = answers.bytes();
            let Some(excess) = before.checked_sub(target).filter(|excess| *excess > 0) else {
                return;
            };
            let surplus = answers.surplus(excess);
            if surplus.readers.is_empty() || spared == Some(&surplus.namespace) {
                return;
            }
            tracing::warn!(
                namespace = surplus.namespace,
                answers = surplus.count,
                "there is no room for the answers to all that proxies ask for: the largest of the \
                 namespace that has most are given up; requests to these hosts get 503"
            );
            let mut by_session: BTreeMap<SessionId, Vec<_>> = BTreeMap::new();
            for (id, interest) in surplus.readers {
                let Some(session) = self.by_id.get_mut(&id) else { continue };
                session.end(&interest, answers);
                by_session.entry(id).or_default().push((interest.to_string().into(), None));
            }
            for (id, given_up) in by_session {
                if let Some(session) = self.by_id.get_mut(&id) {
                    session.queue.renew(&given_up);
                }
                self.send(id, Offer { revision: Revision::Fresh, answers: given_up });
            }
            self.reap(answers);
            if answers.bytes() >= before {
                return;
            }
        }
    }
}
