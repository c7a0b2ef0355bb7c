//! Which connections of a port stay when there are too many.
//!
//! Accepting never waits: a connection too many takes the place of the idlest one
//! of the source that has the most. Time is an argument, sockets are not known.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// What the connections of one port may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one source at once.
    pub per_source: usize,
    /// Large answers under way at once.
    pub large: usize,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub head: Duration,
    /// How long a request may take until its answer has been read.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_source: 128,
            large: 16,
            head: Duration::from_secs(10),
            whole: Duration::from_secs(30),
        }
    }
}

/// A connection is idle after this long without a request.
const GRACE: Duration = Duration::from_secs(1);
/// A large answer is stalled when its reader takes nothing for this long. That matters
/// only while others wait for its place.
const STALLED: Duration = Duration::from_secs(1);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request has arrived completely.
    Waiting,
    /// A short answer is under way.
    Short,
    /// A large answer waits for its turn.
    Queued,
    /// A large answer is under way.
    Large,
}

/// The connections of one port.
///
/// Invariant: at most `limits.connections` slots, at most `limits.large` of which are
/// in [`Phase::Large`].
#[derive(Debug)]
pub(super) struct Slots {
    limits: Limits,
    open: BTreeMap<u64, Slot>,
    next: u64,
}

/// What a connection waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// Notified when the connection has to end.
    pub(super) shed: Arc<Notify>,
    /// Notified when its large answer may begin.
    pub(super) turn: Arc<Notify>,
}

#[derive(Debug)]
struct Slot {
    source: IpAddr,
    phase: Phase,
    since: Instant,
    /// When the reader of a large answer last took a piece.
    moved: Instant,
    signals: Signals,
}

impl Slots {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, open: BTreeMap::new(), next: 0 }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes a connection in, perhaps in place of another one.
    pub(super) fn enter(&mut self, source: IpAddr, now: Instant) -> (u64, Signals) {
        if self.open.values().filter(|slot| slot.source == source).count() >= self.limits.per_source
        {
            self.shed(now, |slot| slot.source == source);
        }
        if self.open.len() >= self.limits.connections {
            self.shed(now, |_| true);
        }
        let (phase, signals) = (Phase::Waiting, Signals::default());
        let slot = Slot { source, phase, since: now, moved: now, signals: signals.clone() };
        self.next += 1;
        self.open.insert(self.next, slot);
        (self.next, signals)
    }

    /// Notes what connection `id` does from now on; nothing when it was shed.
    pub(super) fn is_in(&mut self, id: u64, phase: Phase, now: Instant) {
        if let Some(slot) = self.open.get_mut(&id) {
            (slot.phase, slot.since, slot.moved) = (phase, now, now);
        }
        self.grant(now);
    }

    /// Lets large answers begin while there is room. One that is stalled makes room, or one
    /// of a source that has more of them than the next in turn, which is the one whose
    /// source has the fewest connections. To be called from time to time, too.
    pub(super) fn grant(&mut self, now: Instant) {
        loop {
            if !self.open.values().any(|slot| slot.phase == Phase::Queued) {
                return;
            }
            let all = self.shares(|_| true);
            let large = self.shares(|slot| slot.phase == Phase::Large);
            let queued = self.open.iter().filter(|(_, slot)| slot.phase == Phase::Queued);
            let first = queued.min_by_key(|(_, slot)| (share(&all, slot.source), slot.since));
            let Some((id, source)) = first.map(|(id, slot)| (*id, slot.source)) else { return };
            let has_to_go = |slot: &Slot| {
                let stalled = now.duration_since(slot.moved) >= STALLED;
                let greedy = share(&large, slot.source) > share(&large, source) + 1;
                slot.phase == Phase::Large && (stalled || greedy)
            };
            if large.values().sum::<usize>() >= self.limits.large && !self.shed(now, has_to_go) {
                return;
            }
            if let Some(slot) = self.open.get_mut(&id) {
                (slot.phase, slot.since, slot.moved) = (Phase::Large, now, now);
                slot.signals.turn.notify_one();
            }
        }
    }

    /// How many connections each source has, of those that `which` chooses.
    fn shares(&self, which: impl Fn(&Slot) -> bool) -> HashMap<IpAddr, usize> {
        let mut shares = HashMap::new();
        for slot in self.open.values().filter(|slot| which(slot)) {
            *shares.entry(slot.source).or_default() += 1;
        }
        shares
    }

    /// The reader of a large answer took a piece.
    pub(super) fn moved(&mut self, id: u64, now: Instant) {
        if let Some(slot) = self.open.get_mut(&id) {
            slot.moved = now;
        }
    }

    /// When connection `id` has to be through with what it does; none when it was shed.
    pub(super) fn deadline(&self, id: u64) -> Option<Instant> {
        let slot = self.open.get(&id)?;
        let limit = match slot.phase {
            Phase::Waiting => self.limits.head,
            Phase::Short | Phase::Queued | Phase::Large => self.limits.whole,
        };
        Some(slot.since + limit)
    }

    /// The connection has ended.
    pub(super) fn leave(&mut self, id: u64, now: Instant) {
        self.open.remove(&id);
        self.grant(now);
    }

    /// Ends the connection that is missed the least, so that descriptors become free.
    pub(super) fn shed_idlest(&mut self, now: Instant) {
        self.shed(now, |_| true);
    }

    /// Of those that `among` chooses: first what is idle, then large answers, then the
    /// rest; of these what belongs to the source with the most, then what is oldest.
    /// Whether there was one.
    fn shed(&mut self, now: Instant, among: impl Fn(&Slot) -> bool) -> bool {
        let shares = self.shares(|_| true);
        let rank = |slot: &Slot| match slot.phase {
            Phase::Waiting if now.duration_since(slot.since) >= GRACE => 0,
            Phase::Queued | Phase::Large => 1,
            Phase::Waiting | Phase::Short => 2,
        };
        let greed = |slot: &Slot| std::cmp::Reverse(share(&shares, slot.source));
        let candidates = self.open.iter().filter(|(_, slot)| among(slot));
        let victim = candidates.min_by_key(|(_, slot)| (rank(slot), greed(slot), slot.since));
        let victim = victim.map(|(id, _)| *id).and_then(|id| self.open.remove(&id));
        if let Some(slot) = &victim {
            slot.signals.shed.notify_one();
        }
        victim.is_some()
    }
}

fn share(shares: &HashMap<IpAddr, usize>, source: IpAddr) -> usize {
    shares.get(&source).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 4,
        per_source: 3,
        large: 1,
        head: Duration::from_secs(10),
        whole: Duration::from_secs(30),
    };

    /// `AT SOURCE` enters, `AT NUMBER PHASE` moves on; seconds, last digits of addresses.
    /// Says which connections, numbered from 1, are left.
    #[track_caller]
    fn check(script: &str, left: &[u64]) {
        let (mut slots, began) = (Slots::new(LIMITS), Instant::now());
        for line in script.split("; ") {
            let words: Vec<&str> = line.split(' ').collect();
            let now = began + Duration::from_secs(words[0].parse().unwrap());
            match words[1..] {
                [source] => {
                    drop(slots.enter(IpAddr::from([10, 0, 0, source.parse().unwrap()]), now))
                }
                [id, phase] => {
                    let phase = match phase {
                        "short" => Phase::Short,
                        "large" => Phase::Queued,
                        "moves" => {
                            slots.moved(id.parse().unwrap(), now);
                            continue;
                        }
                        _ => Phase::Waiting,
                    };
                    slots.is_in(id.parse().unwrap(), phase, now);
                }
                _ => panic!("{line}"),
            }
        }
        assert_eq!(slots.open.keys().copied().collect::<Vec<_>>(), left, "{script}");
    }

    #[test]
    fn the_idlest_connection_of_the_greediest_source_makes_room() {
        check("0 1; 0 1; 0 1; 0 1", &[2, 3, 4]);
        check("0 1; 0 2; 0 2; 0 3; 5 4", &[1, 3, 4, 5]);
        check("0 1; 1 2; 2 3; 3 4; 9 5", &[2, 3, 4, 5]);
        // Idle before busy, also where the busy one has been there for longer.
        check("0 1; 0 1 short; 1 2; 2 3; 3 4; 9 5", &[1, 3, 4, 5]);
        // A connection that has just come has had no time to ask.
        check("0 1; 0 1 short; 0 1; 0 2 short; 0 1; 0 3 short; 0 2; 0 3", &[2, 3, 4, 5]);
        // Large answers go before probes.
        check("0 1; 0 1 large; 1 2; 1 2 short; 1 3; 1 3 short; 1 4; 1 4 short; 2 5", &[2, 3, 4, 5]);
    }

    #[test]
    fn large_answers_have_few_places_and_a_stalled_one_makes_room() {
        check("0 1; 0 2; 0 1 large; 1 2 large", &[2]);
        check("0 1; 0 2; 0 1 large; 5 1 moves; 5 2 large", &[1, 2]);
        check("0 1; 0 2; 0 1 large; 1 2 short", &[1, 2]);
        let mut slots = Slots::new(Limits { connections: 9, large: 2, ..LIMITS });
        let now = Instant::now();
        let begin = |slots: &mut Slots, source: u8| {
            let (id, _) = slots.enter(IpAddr::from([10, 0, 0, source]), now);
            slots.is_in(id, Phase::Queued, now);
            slots.open[&id].phase == Phase::Large
        };
        let open = |slots: &Slots| slots.open.keys().copied().collect::<Vec<_>>();
        assert!(begin(&mut slots, 1) && begin(&mut slots, 1));
        assert!(!begin(&mut slots, 1), "the others of the same source finish first");
        assert!(begin(&mut slots, 2), "a source with less goes first");
        assert_eq!(open(&slots), [2, 3, 4]);
        assert!(!begin(&mut slots, 3), "each source has one");
        assert_eq!(open(&slots), [2, 3, 4, 5]);
        slots.leave(4, now);
        assert_eq!(slots.open[&5].phase, Phase::Large, "the source with fewer connections");
        assert_eq!(slots.open[&3].phase, Phase::Queued);
    }

    #[test]
    fn each_phase_has_its_deadline() {
        let (mut slots, now) = (Slots::new(LIMITS), Instant::now());
        let (id, _) = slots.enter(IpAddr::from([10, 0, 0, 1]), now);
        assert_eq!(slots.deadline(id), Some(now + LIMITS.head));
        slots.is_in(id, Phase::Short, now);
        assert_eq!(slots.deadline(id), Some(now + LIMITS.whole));
        slots.leave(id, now);
        assert_eq!(slots.deadline(id), None);
    }
}
