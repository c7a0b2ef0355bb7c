//! Sessions take turns to be answered.
//!
//! How long an answer takes depends on objects that anyone may write. So what a session asks for
//! waits in a queue of its own, and each turn takes about as long for every session, whatever is
//! asked for in it. Namespaces take turns first, then the sessions of each.
//!
//! Invariant: what is collected for a message is what its session gets as of now. A change that
//! comes between two turns is offered as of its generation at once, and replaces what is
//! collected. The offer that ends the message then says the same, so that its revision is in force
//! only when all that the message asks for is. From the arrival of a message that resumes until
//! its stream reports that all such messages are in force, the session has [`Revision::Resumed`]
//! outstanding, so it counts as behind every change.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
    vec,
};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use weft_config::Interest;
use weft_delta::{Name, ResourceSet};

use super::{INTERESTS_OF_POD, Sessions};
use crate::{
    subscriptions::{Answers, SessionId},
    world_task::{Interests, Offer, Revision},
};

/// What one session asks for and is not offered yet, oldest first. It goes with the session.
#[derive(Debug, Default)]
pub(super) struct Queue {
    begun: Option<Begun>,
    waiting: VecDeque<Interests>,
}

/// A message of which some interests are answered.
#[derive(Debug)]
struct Begun {
    wanted: vec::IntoIter<Interest>,
    collected: Vec<(Name, Option<ResourceSet>)>,
    resumed: bool,
    /// Held until the message is answered.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.begun.is_none() && self.waiting.is_empty()
    }

    /// These answers are offered now: what is collected says the same. One that is refused is not
    /// refused again, which could be after it has been asked for once more.
    pub(super) fn renew(&mut self, offered: &[(Name, Option<ResourceSet>)]) {
        let Some(begun) = &mut self.begun else { return };
        let offered: BTreeMap<&Name, &Option<ResourceSet>> =
            offered.iter().map(|(name, answer)| (name, answer)).collect();
        begun.collected.retain_mut(|(name, answer)| match offered.get(name) {
            Some(Some(renewed)) => {
                *answer = Some(renewed.clone());
                true
            }
            Some(None) => false,
            None => true,
        });
    }
}

impl Sessions {
    /// Takes note of what a session asks for; it is answered in the session's turns.
    pub(in crate::world_task) fn queue(&mut self, interests: Interests) {
        let Some(session) = self.by_id.get_mut(&interests.session) else { return };
        if session.queue.is_empty() {
            self.order.add(&session.pod.namespace, session.id);
        }
        if interests.resumed && session.outstanding.insert(Revision::Resumed) {
            self.outstanding.add(Revision::Resumed);
        }
        session.queue.waiting.push_back(interests);
    }

    /// Whether a session waits for its turn.
    pub(in crate::world_task) fn has_turns(&self) -> bool {
        !self.order.is_empty()
    }

    /// Answers interests of the session whose turn it is, at least one, until `length` is over;
    /// whether a revision is now in force everywhere because a proxy is back.
    pub(in crate::world_task) fn answer_turn(
        &mut self,
        length: Duration,
        answers: &mut Answers,
    ) -> bool {
        let end = Instant::now() + length;
        let mut everywhere = false;
        // Sessions that are closed still have their place.
        let Some(id) = self.order.next(|id| self.by_id.contains_key(&id)) else { return false };
        while self.by_id.get(&id).is_some_and(|session| !session.queue.is_empty()) {
            everywhere |= self.begin(id, answers);
            self.answer_next(id, answers);
            if Instant::now() >= end {
                break;
            }
        }
        if let Some(session) = self.by_id.get(&id).filter(|session| !session.queue.is_empty()) {
            self.order.add(&session.pod.namespace, id);
        }
        everywhere
    }

    /// Begins a session's next message unless one is begun, and makes room for the rest of it;
    /// whether a revision is now in force everywhere.
    fn begin(&mut self, id: SessionId, answers: &mut Answers) -> bool {
        let Some(session) = self.by_id.get_mut(&id) else { return false };
        let mut everywhere = false;
        if session.queue.begun.is_none()
            && let Some(next) = session.queue.waiting.pop_front()
        {
            let Interests { wanted, dropped, resumed, place, .. } = next;
            // From here on the session says what its proxy lacks: everything, when it has
            // something old, and otherwise nothing.
            if !std::mem::replace(&mut session.introduced, true) {
                for revision in self.absent.settle(&session.pod) {
                    everywhere |= self.outstanding.settle(revision);
                }
            }
            dropped.iter().for_each(|interest| session.end(interest, answers));
            let wanted = wanted.into_iter();
            let collected = Vec::with_capacity(wanted.len());
            session.queue.begun = Some(Begun { wanted, collected, resumed, _place: place });
        }
        let more = session.queue.begun.as_ref().map_or(0, |begun| begun.wanted.len());
        everywhere | self.make_room(id, more, answers)
    }

    /// Answers the next interest of the message begun, and offers the answers after the last.
    fn answer_next(&mut self, id: SessionId, answers: &mut Answers) {
        let begun = self.by_id.get_mut(&id).and_then(|session| session.queue.begun.as_mut());
        if let Some(interest) = begun.and_then(|begun| begun.wanted.next()) {
            let name = interest.to_string().into();
            let answer = self.read(id, &interest, answers);
            let session = self.by_id.get_mut(&id);
            if let Some(begun) = session.and_then(|session| session.queue.begun.as_mut()) {
                begun.collected.push((name, answer));
            }
        }
        let Some(session) = self.by_id.get_mut(&id) else { return };
        let Some(Begun { collected, resumed, .. }) =
            session.queue.begun.take_if(|begun| begun.wanted.as_slice().is_empty())
        else {
            return;
        };
        if !collected.is_empty() || resumed {
            let revision = if resumed { Revision::Resumed } else { Revision::Fresh };
            self.send(id, Offer { revision, answers: collected });
        }
    }
    /// The answer to an interest of session `id` from now on, if there is room for it.
    fn read(
        &mut self,
        id: SessionId,
        interest: &Interest,
        answers: &mut Answers,
    ) -> Option<ResourceSet> {
        let has_more = self.interests_of_pod(id) < INTERESTS_OF_POD;
        let session = self.by_id.get_mut(&id)?;
        if !has_more && !session.interests.contains_key(interest) {
            return None;
        }
        // It may have dropped it and want it again, which the stream has told as one.
        session.end(interest, answers);
        if self.is_full(id, interest, answers) {
            return None;
        }
        let session = self.by_id.get_mut(&id)?;
        let answer = session.read(interest, answers);
        self.fit(id, interest, answer, answers)
    }
}
