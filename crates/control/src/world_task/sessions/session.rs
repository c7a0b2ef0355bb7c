//! One proxy that is connected, and what it reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};
use weft_api::Key;
use weft_config::Interest;
use weft_delta::ResourceSet;
use weft_translate::{Class, Client};

use super::turns::Queue;
use crate::{
    subscriptions::{Answers, Held, SessionId, Subscribed, Weight, is_bounded},
    world_task::{CloseReason, Offer, Revision},
};

/// Bytes of the answers about hosts and addresses that a session may have.
pub(in crate::world_task) const BYTES_OF_SESSION: usize = 128 << 20;

/// A proxy that is connected.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) pod: Key,
    pub(super) uid: String,
    pub(super) client: Client,
    /// The client's class for hosts and addresses, when it is known.
    pub(super) class: Option<Class>,
    pub(super) mailbox: mpsc::Sender<Offer>,
    pub(super) closed: oneshot::Sender<CloseReason>,
    pub(super) interests: BTreeMap<Interest, Reading>,
    /// Interests that wait to be answered.
    pub(super) queue: Queue,
    /// The answers about hosts and addresses.
    pub(super) held: Held,
    /// How many bytes these may have.
    pub(super) room: usize,
    /// Whether an answer was refused because there was no room for it. Until there is some, no
    /// other is made.
    pub(super) is_full: bool,
    /// Revisions that were offered and are not in force.
    pub(super) outstanding: BTreeSet<Revision>,
    /// Whether the proxy has said what it is interested in and what it holds.
    pub(super) introduced: bool,
    /// Whether the pod will have no other session after this one.
    pub(super) ending: bool,
}

/// What a proxy is interested in.
#[derive(Debug)]
pub(super) struct Reading {
    /// The class of which it gets the answer.
    pub(super) class: Class,
    /// What that costs; nothing where there is no bound for it.
    pub(super) weight: Arc<Weight>,
}

impl Session {
    /// Whether its answers have no more bytes than they may have.
    pub(super) fn has_room(&self) -> bool {
        self.held.bytes() <= self.room
    }

    /// Takes note of what the answer to `interest` costs now; whether that has a bound and is
    /// more than before.
    pub(super) fn weigh(&mut self, interest: &Interest, answer: &Subscribed) -> bool {
        let Some(reading) = self.interests.get_mut(interest).filter(|_| is_bounded(interest))
        else {
            return false;
        };
        let grows = answer.weight.bytes() > reading.weight.bytes();
        self.held.add(&answer.weight);
        self.held.remove(&reading.weight);
        reading.weight = Arc::clone(&answer.weight);
        // There may be room again; the next answer that is refused says that there is not.
        self.is_full &= grows;
        grows
    }

    /// Adds an interest, unless there is no room for its answer.
    pub(super) fn read(
        &mut self,
        interest: &Interest,
        answers: &mut Answers,
    ) -> Option<ResourceSet> {
        if self.is_full && is_bounded(interest) {
            return None;
        }
        let class = answers.class(&self.client, interest, &mut self.class);
        let answer = answers.subscribe(self.id, &class, interest);
        let reading = Reading { class, weight: Arc::default() };
        self.interests.insert(interest.clone(), reading);
        self.weigh(interest, &answer);
        if !self.has_room() {
            self.end(interest, answers);
            self.is_full = true;
            return None;
        }
        Some(answer.set)
    }

    /// Ends an interest.
    pub(super) fn end(&mut self, interest: &Interest, answers: &mut Answers) {
        if let Some(Reading { class, weight }) = self.interests.remove(interest) {
            answers.unsubscribe(self.id, &class, interest);
            self.held.remove(&weight);
            self.is_full = false;
        }
    }
}
