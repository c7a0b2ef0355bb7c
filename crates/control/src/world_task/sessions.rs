//! Who is connected: pods, their interests, and what they have in force.
//!
//! A session exists only for a pod that is in the world with the same
//! identifier as in the caller's token, and ends with it.

mod joining;
mod order;
mod outstanding;
mod room;
mod session;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;
use weft_api::{Key, Object};
use weft_config::Interest;
use weft_translate::{Client, Labelled};

use self::{
    order::Order,
    outstanding::Outstanding,
    session::{Reading, Session},
};
pub(super) use self::{room::Room, session::BYTES_OF_SESSION};
use super::{
    CloseReason, Join, Offer, Revision, SessionFacts,
    disconnected::{self, Absent},
};
use crate::subscriptions::{Answers, Offered, SessionId};

/// Interests that all sessions of one pod may have.
pub(super) const INTERESTS_OF_POD: usize = 4096;

/// Everyone who is connected, or waits to be.
#[derive(Debug)]
pub(super) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    by_pod: BTreeMap<Key, BTreeSet<SessionId>>,
    waiting_for_pod: Vec<(Instant, Join)>,
    /// Sessions that wait for their turn to be answered.
    order: Order,
    /// Ended here, with interests still to be forgotten.
    dead: Vec<Dead>,
    /// Pods whose proxies' streams ended before everything was in force.
    absent: Absent,
    /// Revisions that some session or absent pod does not have in force.
    outstanding: Outstanding,
    patience: Duration,
    /// How much answers may cost.
    room: Room,
    /// Namespaces for which an answer was refused because all together cost too much, and what
    /// [`Answers::freed`] was then.
    full: BTreeMap<String, u64>,
    next: SessionId,
}

/// A session that is closed, and what it was interested in.
#[derive(Debug)]
struct Dead {
    id: SessionId,
    client: Client,
    interests: BTreeMap<Interest, Reading>,
}

impl Sessions {
    /// Nobody. Callers wait for their pods for as long as `patience`.
    pub(super) fn new(patience: Duration, room: Room) -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_pod: BTreeMap::new(),
            waiting_for_pod: Vec::new(),
            order: Order::default(),
            dead: Vec::new(),
            absent: Absent::default(),
            outstanding: Outstanding::default(),
            patience,
            room,
            full: BTreeMap::new(),
            next: 1,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Offers answers; to how many sessions. All offers of one revision to one
    /// session are one, or the first would be acknowledged for all. Answers that have grown
    /// where there is no room for that are refused.
    pub(super) fn offer(
        &mut self,
        revision: Revision,
        offered: Vec<Offered>,
        answers: &mut Answers,
    ) -> usize {
        let mut by_session: BTreeMap<SessionId, Vec<_>> = BTreeMap::new();
        for Offered { session, interest, answer } in offered {
            by_session.entry(session).or_default().push((interest, answer));
        }
        let told = by_session.len();
        for (id, offered) in by_session {
            let Some(session) = self.by_id.get_mut(&id) else { continue };
            let grown: Vec<bool> =
                offered.iter().map(|(interest, answer)| session.weigh(interest, answer)).collect();
            let mut told = Vec::new();
            for ((interest, answer), grows) in offered.into_iter().zip(grown) {
                let is_kept = !grows || session.has_room();
                if !is_kept {
                    session.end(&interest, answers);
                }
                told.push((interest.to_string().into(), is_kept.then_some(answer.set)));
            }
            session.queue.renew(&told);
            self.send(id, Offer { revision, answers: told });
        }
        self.give_up(None, answers);
        told
    }

    /// Takes note of pods that have changed: those that are gone lose their
    /// sessions, those with other facts or another group get other answers.
    pub(super) fn follow(
        &mut self,
        pods: &BTreeSet<Key>,
        regrouped: &BTreeSet<Labelled>,
        answers: &mut Answers,
    ) -> Vec<Offered> {
        for pod in pods {
            let found = match answers.object(pod).map(|object| &**object) {
                Some(Object::Pod(found)) => Some(found),
                _ => None,
            };
            for revision in self.absent.settle_gone(pod, found) {
                self.outstanding.settle(revision);
            }
        }
        let mut offered = Vec::new();
        let ids: BTreeSet<SessionId> = pods
            .iter()
            .filter_map(|pod| self.by_pod.get(pod))
            .flatten()
            .copied()
            .chain(self.labelled(regrouped))
            .collect();
        for id in ids {
            let Some(session) = self.by_id.get_mut(&id) else { continue };
            let client = match answers.object(&session.pod).map(|object| &**object) {
                Some(Object::Pod(pod)) if pod.metadata.uid.as_ref() == Some(&session.uid) => {
                    session.ending = disconnected::is_ending(pod);
                    Client::of_pod(pod)
                }
                _ => {
                    self.close(id, CloseReason::PodGone);
                    continue;
                }
            };
            if client != session.client {
                answers.enter(&client);
                answers.exit(&std::mem::replace(&mut session.client, client));
            }
            session.class = None;
            for (interest, Reading { class, .. }) in &mut session.interests {
                let now = answers.class(&session.client, interest, &mut session.class);
                if now != *class {
                    let answer = answers.subscribe(id, &now, interest);
                    answers.unsubscribe(id, class, interest);
                    *class = now;
                    offered.push(Offered { session: id, interest: interest.clone(), answer });
                }
            }
        }
        offered
    }

    /// The sessions of clients with these labels.
    fn labelled<'s>(
        &'s self,
        labelled: &'s BTreeSet<Labelled>,
    ) -> impl Iterator<Item = SessionId> + 's {
        let all = self.by_id.values().filter(|_| !labelled.is_empty());
        let same = all.filter(|session| labelled.contains(&session.client.labelled()));
        same.map(|session| session.id)
    }

    /// Closes earlier sessions of the same pod when a session with `more` interests has no
    /// room beside them; whether there was one. A proxy that is back needs none of them.
    fn make_room(&mut self, id: SessionId, more: usize, answers: &mut Answers) -> bool {
        let mut closed = false;
        while self.interests_of_pod(id) + more > INTERESTS_OF_POD {
            let pod = self.by_id.get(&id).and_then(|session| self.by_pod.get(&session.pod));
            let earlier = pod.and_then(BTreeSet::first).copied().filter(|first| *first < id);
            let Some(earlier) = earlier else { break };
            self.close(earlier, CloseReason::Replaced);
            closed = true;
        }
        self.reap(answers);
        closed
    }

    /// How many interests all sessions of the pod of session `id` have.
    fn interests_of_pod(&self, id: SessionId) -> usize {
        let pod = self.by_id.get(&id).and_then(|session| self.by_pod.get(&session.pod));
        let all = pod.into_iter().flatten().filter_map(|same| self.by_id.get(same));
        all.map(|session| session.interests.len()).sum()
    }

    /// A session's proxy has these revisions in force; whether one of them is now in
    /// force everywhere.
    pub(super) fn in_force(&mut self, id: SessionId, revisions: &[Revision]) -> bool {
        let Some(session) = self.by_id.get_mut(&id) else { return false };
        let mut everywhere = false;
        for revision in revisions {
            if session.outstanding.remove(revision) {
                everywhere |= self.outstanding.settle(*revision);
            }
        }
        everywhere
    }

    /// Whether all sessions have all of `generations` in force.
    pub(super) fn have(&self, generations: &[u64]) -> bool {
        !lack(generations, |revision| self.outstanding.contains(revision))
    }

    /// A session has ended.
    pub(super) fn leave(&mut self, id: SessionId, answers: &mut Answers) {
        self.close(id, CloseReason::Left);
        self.reap(answers);
    }

    /// Forgets what only closed sessions were interested in.
    pub(super) fn reap(&mut self, answers: &mut Answers) {
        for session in self.dead.drain(..) {
            for (interest, Reading { class, .. }) in &session.interests {
                answers.unsubscribe(session.id, class, interest);
            }
            answers.exit(&session.client);
        }
    }

    /// The pods that do not have all of `generations` in force; sorted.
    pub(super) fn behind(&self, generations: &[u64]) -> Vec<String> {
        let lacks = |outstanding: &BTreeSet<Revision>| {
            lack(generations, |revision| outstanding.contains(&revision))
        };
        let behind = self.by_id.values().filter(|session| lacks(&session.outstanding));
        let mut pods: Vec<String> = behind.map(|session| text(&session.pod)).collect();
        pods.extend(self.absent.lacking(lacks).into_iter().map(text));
        pods.sort();
        pods.dedup();
        pods
    }

    /// Everyone who is connected.
    pub(super) fn facts(&self) -> Vec<SessionFacts> {
        let facts = |session: &Session| SessionFacts {
            pod: text(&session.pod),
            interests: session.interests.len(),
            behind: session.outstanding.len(),
        };
        self.by_id.values().map(facts).collect()
    }

    fn send(&mut self, id: SessionId, offer: Offer) {
        let Some(session) = self.by_id.get_mut(&id) else { return };
        if offer.revision != Revision::Fresh && session.outstanding.insert(offer.revision) {
            self.outstanding.add(offer.revision);
        }
        if session.mailbox.try_send(offer).is_err() {
            tracing::warn!(pod = text(&session.pod), "a stream takes no more changes: closing it");
            self.close(id, CloseReason::TooSlow);
        }
    }

    fn close(&mut self, id: SessionId, why: CloseReason) {
        let Some(session) = self.by_id.remove(&id) else { return };
        let Session { id, pod, uid, client, interests, closed, outstanding, ending, .. } = session;
        let mut succeeded = false;
        if let Some(same) = self.by_pod.get_mut(&pod) {
            same.remove(&id);
            let later = same.range(id..).filter_map(|later| self.by_id.get(later));
            succeeded = later.into_iter().any(|later| later.introduced);
            if same.is_empty() {
                self.by_pod.remove(&pod);
            }
        }
        let settled = match ending || succeeded || why == CloseReason::PodGone {
            true => outstanding.into_iter().collect(),
            false => self.absent.left(pod, uid, outstanding),
        };
        for revision in settled {
            self.outstanding.settle(revision);
        }
        // A session that has ended does not listen.
        let _ = closed.send(why);
        self.dead.push(Dead { id, client, interests });
    }
}

/// Whether one of `generations` is not in force where these revisions are outstanding.
fn lack(generations: &[u64], is_outstanding: impl Fn(Revision) -> bool) -> bool {
    is_outstanding(Revision::Resumed)
        || generations.iter().any(|number| is_outstanding(Revision::Generation(*number)))
}

fn text(pod: &Key) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
