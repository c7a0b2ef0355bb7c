//! Callers that wait for their pods, and the sessions that they get.

use std::collections::{BTreeMap, BTreeSet};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use weft_api::{Key, Kind, Object};
use weft_translate::Client;

use super::{Session, Sessions, turns::Queue};
use crate::{
    subscriptions::{Answers, Held},
    world_task::{CloseReason, Join, Joined, MAILBOX, disconnected},
};

/// Sessions that one pod may have; a further one replaces its oldest. A proxy has one, and
/// for a while another one whose end is not known yet.
const PER_POD: usize = 2;

impl Sessions {
    /// Lets a caller wait for its pod.
    pub(in crate::world_task) fn wait_for_pod(&mut self, join: Join, now: Instant) {
        self.waiting_for_pod.push((now + self.patience, join));
    }

    /// When the next caller has waited long enough.
    pub(in crate::world_task) fn deadline(&self) -> Option<Instant> {
        self.waiting_for_pod.iter().map(|(deadline, _)| *deadline).min()
    }

    /// Sends away the callers who have waited long enough.
    pub(in crate::world_task) fn expire(&mut self, now: Instant) {
        // Dropping the reply is the answer.
        self.waiting_for_pod.retain(|(deadline, _)| *deadline > now);
    }

    /// Makes sessions for the callers whose pods are there.
    pub(in crate::world_task) fn admit(&mut self, answers: &mut Answers) {
        for (deadline, join) in std::mem::take(&mut self.waiting_for_pod) {
            let key = Key::new(Kind::Pod, &join.caller.namespace, &join.caller.pod);
            match answers.object(&key).map(|object| &**object) {
                Some(Object::Pod(pod))
                    if pod.metadata.uid.as_deref() == Some(join.caller.pod_uid.as_str()) =>
                {
                    let facts = (Client::of_pod(pod), disconnected::is_ending(pod));
                    self.open(key, facts, join, answers);
                }
                _ if join.reply.is_closed() => {}
                _ => self.waiting_for_pod.push((deadline, join)),
            }
        }
    }

    fn open(
        &mut self,
        pod: Key,
        (client, ending): (Client, bool),
        join: Join,
        answers: &mut Answers,
    ) {
        let same = self.by_pod.get(&pod).map_or(0, BTreeSet::len);
        let oldest = self.by_pod.get(&pod).and_then(BTreeSet::first).copied();
        if let Some(oldest) = oldest.filter(|_| same >= PER_POD) {
            self.close(oldest, CloseReason::Replaced);
        }
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let (close, closed) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        if join.reply.send(Joined { session: id, mailbox, closed }).is_err() {
            return;
        }
        let session = Session {
            id,
            pod,
            uid: join.caller.pod_uid,
            client,
            class: None,
            mailbox: sender,
            closed: close,
            interests: BTreeMap::new(),
            queue: Queue::default(),
            held: Held::default(),
            room: self.room.of_session,
            is_full: false,
            outstanding: BTreeSet::new(),
            introduced: false,
            ending,
        };
        answers.enter(&session.client);
        self.by_pod.entry(session.pod.clone()).or_default().insert(id);
        self.by_id.insert(id, session);
    }
}
