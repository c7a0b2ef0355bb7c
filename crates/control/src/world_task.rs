//! The one task that owns the objects and the answers.
//!
//! It knows sessions as mailboxes and never waits for one. Sessions take turns by time: however
//! much one asks for, changes and other sessions have their turn in between.

mod messages;
mod sessions;
mod disconnected;
mod distribution;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use weft_api::{Diagnostic, Key, Kind, Object};
use weft_process::shutdown::Stopping;

use crate::{
    Change,
    debounce::Gather,
    metrics::Metrics,
    revisions::Revisions,
    subscriptions::{Answers, Effect, Offered},
};
use distribution::PendingAcks;
pub(crate) use messages::{
    AcknowledgementQuery, CloseReason, Interests, Join, Joined, Message, ObjectVersion, Offer,
    QueryCaller, Revision, SessionFacts,
};
use sessions::{BYTES_OF_SESSION, Room, Sessions};

/// Offers that a session may leave unread before it is closed.
const MAILBOX: usize = 1024;

/// Objects are examined this long after a change, so that what one change of many
/// objects touches is examined once.
const EXAMINE: Duration = Duration::from_millis(100);

/// Objects that are examined before changes and sessions are looked at again.
const EXAMINED: usize = 32;

/// Remembered values that are computed again at every tick.
const CHECKED: usize = 64;

/// Changes that are looked at in one go.
const BATCH: usize = 4096;

/// Messages that are handled between two batches of changes.
const MESSAGES_BETWEEN: usize = 64;

/// How long a session is answered before it is another's turn.
const TURN: Duration = Duration::from_millis(10);

/// What is wrong, by object; objects of which nothing is wrong are not there.
pub(crate) type Findings = BTreeMap<Key, Arc<Vec<Diagnostic>>>;

/// Owns the objects and the answers.
pub(crate) struct WorldTask {
    answers: Answers,
    revisions: Revisions,
    sessions: Sessions,
    /// How long a session is answered before it is another's turn.
    turn: Duration,
    pending_acks: PendingAcks,
    gather: Gather,
    gathered: Vec<Change>,
    generation: u64,
    examine_at: Option<Instant>,
    metrics: Arc<Metrics>,
    findings: watch::Sender<Findings>,
    ready: watch::Sender<bool>,
}

/// Where changes and messages come from.
pub(crate) struct Inputs {
    pub(crate) changes: mpsc::Receiver<Change>,
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) stopping: Stopping,
}

impl WorldTask {
    /// A task whose world is empty. The answers about hosts and addresses have at most
    /// `answer_bytes` together.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        pod_patience: Duration,
        answer_bytes: usize,
        findings: watch::Sender<Findings>,
        ready: watch::Sender<bool>,
    ) -> Self {
        let room = Room { of_session: BYTES_OF_SESSION, of_all: answer_bytes };
        Self {
            answers: Answers::default(),
            revisions: Revisions::default(),
            sessions: Sessions::new(pod_patience, room),
            turn: TURN,
            pending_acks: PendingAcks::default(),
            gather: Gather::default(),
            gathered: Vec::new(),
            generation: 0,
            examine_at: None,
            metrics,
            findings,
            ready,
        }
    }

    /// The same, of a mesh that is installed so.
    pub(crate) fn installed(self, installation: weft_translate::Installation) -> Self {
        Self { answers: Answers::with(installation), ..self }
    }

    /// Works until told to stop, or until objects or questions have no source.
    pub(crate) async fn run(mut self, mut inputs: Inputs, check_every: Duration) {
        let mut changes = Vec::with_capacity(BATCH);
        let mut ticks = every(check_every);
        // The first tick of an interval is at once.
        ticks.tick().await;
        loop {
            let due = self.gather.due().map(Instant::from_std);
            let deadline = self.deadline();
            tokio::select! {
                // Changes before questions: who asks after a change must be
                // told as of that change.
                biased;
                () = inputs.stopping.stopped() => break,
                () = until(due) => self.work(),
                count = inputs.changes.recv_many(&mut changes, BATCH) => match count {
                    0 => break,
                    _ => {
                        self.take(changes.drain(..));
                        // Messages of proxies are handled however many changes come.
                        self.serve(&mut inputs.messages);
                    }
                },
                message = inputs.messages.recv() => match message {
                    Some(message) => {
                        self.receive(message);
                        self.serve(&mut inputs.messages);
                    }
                    None => break,
                },
                () = until(deadline) => {
                    self.expire();
                    // Examining many objects does not keep sessions waiting.
                    self.answer_turn();
                }
                _ = ticks.tick(), if *self.ready.borrow() => {
                    let different = self.answers.check(CHECKED);
                    self.compare(different);
                }
                // At once, but after the tasks that wait for this thread; without that, messages
                // seem to be missing, since tokio limits how many a task receives in one go.
                () = yield_now(), if self.sessions.has_turns() => self.answer_turn(),
            }
        }
    }

    /// Takes changes in; they are worked on when that is due.
    fn take(&mut self, changes: impl Iterator<Item = Change>) {
        for change in changes {
            if change == Change::Synced {
                // What exists at the start is one change.
                self.gathered.push(change);
                self.work();
                continue;
            }
            self.gathered.push(change);
            if *self.ready.borrow() {
                self.gather.came(Instant::now().into_std());
            }
        }
        let now = Instant::now().into_std();
        if self.gather.due().is_some_and(|due| due <= now) {
            self.work();
        }
    }

    /// Works on all changes gathered.
    fn work(&mut self) {
        let now = Instant::now();
        self.gather.worked(now.into_std());
        self.generation += 1;
        let gathered = std::mem::take(&mut self.gathered);
        self.metrics.changes.fetch_add(gathered.len() as u64, Relaxed);
        let mut objects: Vec<(Key, Option<Object>)> = Vec::new();
        let mut pods = BTreeSet::new();
        for change in gathered {
            let (key, object) = match change {
                Change::Synced => {
                    self.ready.send_replace(true);
                    continue;
                }
                Change::Apply(object, version) => {
                    let key = object.key();
                    self.revisions.applied(&key, version, self.generation);
                    (key, Some(*object))
                }
                Change::Delete(key, version) => {
                    self.revisions.deleted(&key, version, self.generation);
                    (key, None)
                }
            };
            if key.kind == Kind::Pod {
                pods.insert(key.clone());
            }
            objects.push((key, object));
        }
        let Effect { mut offered, regrouped } = self.answers.change(objects);
        offered.extend(self.sessions.follow(&pods, &regrouped, &mut self.answers));
        let told = self.offer(offered);
        self.revisions.worked(self.generation, now.into_std(), told);
        if *self.ready.borrow() {
            self.sessions.admit(&mut self.answers);
        }
        self.examine_soon();
        self.answer();
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Join(join) => {
                self.sessions.wait_for_pod(join, Instant::now());
                if *self.ready.borrow() {
                    self.sessions.admit(&mut self.answers);
                }
            }
            Message::Interests(interests) => self.sessions.queue(interests),
            Message::InForce(session, revisions) => {
                let now = Instant::now().into_std();
                let at = |revision: &Revision| match revision {
                    Revision::Generation(number) => self.revisions.at(*number),
                    Revision::Resumed | Revision::Fresh => None,
                };
                for at in revisions.iter().filter_map(at) {
                    self.metrics.converged(now.saturating_duration_since(at));
                }
                if self.sessions.in_force(session, &revisions) {
                    self.answer();
                }
            }
            Message::Leave(session) => {
                self.sessions.leave(session, &mut self.answers);
                self.answer();
                self.examine_soon();
            }
            Message::Acknowledged(question) => {
                self.pending_acks.ask(question);
                self.answer();
            }
            Message::Sessions(reply) => {
                // The one who asked may have gone.
                let _ = reply.send(self.sessions.facts());
            }
        }
        self.count();
    }

    /// Handles messages that have come, and answers one session for a turn.
    fn serve(&mut self, messages: &mut mpsc::Receiver<Message>) {
        for _ in 0..MESSAGES_BETWEEN {
            let Ok(message) = messages.try_recv() else { break };
            self.receive(message);
        }
        self.answer_turn();
    }

    /// Answers interests of the session whose turn it is.
    fn answer_turn(&mut self) {
        if !self.sessions.has_turns() {
            return;
        }
        if self.sessions.answer_turn(self.turn, &mut self.answers) {
            self.answer();
        }
        self.examine_soon();
        self.count();
    }

    /// The next moment at which something has waited long enough.
    fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.sessions.deadline(), self.pending_acks.deadline(), self.examine_at];
        deadlines.into_iter().flatten().min()
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.sessions.expire(now);
        if self.examine_at.take_if(|at| *at <= now).is_some() {
            self.examine(now);
        }
        self.answer();
    }

    /// Answers the questions whose time has come.
    fn answer(&mut self) {
        self.sessions.reap(&mut self.answers);
        self.pending_acks.answer(Instant::now(), &self.revisions, &self.sessions);
    }

    /// Examines what has changed, or what findings have read and no session has any more.
    fn examine_soon(&mut self) {
        self.examine_at.get_or_insert(Instant::now() + EXAMINE);
    }

    /// Examines some of the objects that have changed; the rest after what has come
    /// meanwhile.
    fn examine(&mut self, now: Instant) {
        let examined = self.answers.examine(EXAMINED);
        if examined.count == EXAMINED {
            self.examine_at = Some(now);
        }
        if !examined.changed.is_empty() {
            self.findings.send_modify(|findings| {
                for (key, found) in examined.changed {
                    match found.is_empty() {
                        true => findings.remove(&key),
                        false => findings.insert(key, found),
                    };
                }
            });
        }
        self.metrics.services.store(self.answers.objects_of(Kind::Service), Relaxed);
        let count = self.answers.objects_of(Kind::VirtualService);
        self.metrics.virtual_services.store(count, Relaxed);
        self.count();
    }

    fn count(&self) {
        self.metrics.proxies.store(self.sessions.len(), Relaxed);
        self.metrics.answers.store(self.answers.len(), Relaxed);
        self.metrics.answer_bytes.store(self.answers.bytes(), Relaxed);
    }

    /// Offers answers as of this generation; to how many sessions.
    fn offer(&mut self, offered: Vec<Offered>) -> usize {
        self.sessions.offer(Revision::Generation(self.generation), offered, &mut self.answers)
    }

    /// Takes the result of computing remembered values again.
    fn compare(&mut self, differences: Vec<String>) {
        self.metrics.shadow_runs.fetch_add(1, Relaxed);
        if differences.is_empty() {
            return;
        }
        self.metrics.shadow_differences.fetch_add(differences.len() as u64, Relaxed);
        tracing::error!(
            values = differences.join(" "),
            "remembered values differ from what the objects say; all are computed again; \
             please report this"
        );
        self.generation += 1;
        let Effect { mut offered, regrouped } = self.answers.rebuild();
        offered.extend(self.sessions.follow(&BTreeSet::new(), &regrouped, &mut self.answers));
        let told = self.offer(offered);
        self.revisions.worked(self.generation, Instant::now().into_std(), told);
        self.answer();
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests;
