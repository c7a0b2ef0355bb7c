//! Requests that wait for configuration, and how fast new names are asked for.
//!
//! Time is an argument. A name is asked for once, however many wait for it; names
//! beyond the rate wait for the next window, and nobody is sent away meanwhile.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use weft_config::Interest;

/// New names within one [`WINDOW`]; more wait for the next.
const MOST_NEW: usize = 256;
/// The time in which new names are counted.
const WINDOW: Duration = Duration::from_millis(100);
/// Requests that wait at once; more are refused.
const MOST_WAITING: usize = 16_384;

/// Requests by the name that they wait for.
#[derive(Debug)]
pub struct WaitingRequests {
    by_interest: HashMap<Interest, Vec<oneshot::Sender<()>>>,
    /// Names that are still to be asked for.
    queued: VecDeque<Interest>,
    /// How many requests wait, with those that gave up since the last window.
    requests: usize,
    window: Instant,
    /// Names asked for since then.
    asked: usize,
}

impl WaitingRequests {
    /// Nobody waits.
    pub fn new(now: Instant) -> Self {
        Self {
            by_interest: HashMap::new(),
            queued: VecDeque::new(),
            requests: 0,
            window: now,
            asked: 0,
        }
    }

    /// A request waits for `interest`. Whether that is to be asked for at once.
    pub fn add(&mut self, interest: &Interest, answered: oneshot::Sender<()>) -> bool {
        if self.requests >= MOST_WAITING {
            // Its sender is dropped, which refuses the request.
            return false;
        }
        self.requests += 1;
        if let Some(waiting) = self.by_interest.get_mut(interest) {
            waiting.push(answered);
            return false;
        }
        self.by_interest.insert(interest.clone(), vec![answered]);
        if self.asked < MOST_NEW && self.queued.is_empty() {
            self.asked += 1;
            return true;
        }
        self.queued.push_back(interest.clone());
        false
    }

    /// The end of the window, when there is something to do then.
    pub fn due(&self) -> Option<Instant> {
        let idle = self.by_interest.is_empty() && self.asked == 0;
        (!idle).then(|| self.window + WINDOW)
    }

    /// Begins the next window: the names to ask for in it. Requests that have given up
    /// are forgotten, and with the last one the name that it waited for.
    pub fn next_window(&mut self, now: Instant) -> Vec<Interest> {
        (self.window, self.asked) = (now, 0);
        self.by_interest.retain(|_, waiting| {
            waiting.retain(|one| !one.is_closed());
            !waiting.is_empty()
        });
        self.count();
        let mut names = Vec::new();
        while names.len() < MOST_NEW
            && let Some(interest) = self.queued.pop_front()
        {
            if self.by_interest.contains_key(&interest) {
                names.push(interest);
            }
        }
        self.asked = names.len();
        names
    }

    /// Those who wait for `interest` get nothing.
    pub fn refuse(&mut self, interest: &Interest) {
        self.by_interest.remove(interest);
        self.count();
    }

    /// Those who wait for what is `known` go on; those who wait for what is `gone` get
    /// nothing.
    pub fn answer(&mut self, known: impl Fn(&Interest) -> bool, gone: impl Fn(&Interest) -> bool) {
        self.by_interest.retain(|interest, waiting| {
            if known(interest) {
                for one in waiting.drain(..) {
                    let _ = one.send(());
                }
                return false;
            }
            !gone(interest)
        });
        self.count();
    }

    fn count(&mut self) {
        self.requests = self.by_interest.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Interest {
        format!("h{number}:80").parse().unwrap()
    }

    fn add(waiting: &mut WaitingRequests, number: usize) -> (bool, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (waiting.add(&name(number), sender), receiver)
    }

    #[test]
    fn many_requests_for_one_name_use_up_one_place() {
        let mut waiting = WaitingRequests::new(Instant::now());
        let same: Vec<_> = (0..1000).map(|_| add(&mut waiting, 0)).collect();
        assert_eq!(same.iter().filter(|(now, _)| *now).count(), 1);
        let (now, mut other) = add(&mut waiting, 1);
        assert!(now, "another name is asked for at once");
        waiting.answer(|interest| *interest == name(1), |_| false);
        assert_eq!(other.try_recv(), Ok(()));
    }

    #[test]
    fn names_beyond_the_rate_wait_for_the_next_window() {
        let began = Instant::now();
        let mut waiting = WaitingRequests::new(began);
        let all: Vec<_> = (0..600).map(|number| add(&mut waiting, number)).collect();
        assert_eq!(all.iter().filter(|(now, _)| *now).count(), 256);
        assert_eq!(waiting.due(), Some(began + WINDOW));
        let next = waiting.next_window(began + WINDOW);
        assert_eq!((next.len(), &next[0]), (256, &name(256)));
        let mut all: Vec<_> = all.into_iter().map(|(_, receiver)| receiver).collect();
        // The rest has given up, but for the last one.
        all.drain(512..599);
        assert_eq!(waiting.next_window(began + 2 * WINDOW), [name(599)]);
        waiting.answer(|_| true, |_| false);
        assert!(all.iter_mut().all(|one| one.try_recv() == Ok(())));
        assert_eq!(waiting.next_window(began + 3 * WINDOW), []);
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn what_is_gone_and_what_is_too_much_is_refused() {
        let mut waiting = WaitingRequests::new(Instant::now());
        let (_, mut gone) = add(&mut waiting, 0);
        waiting.answer(|_| false, |interest| *interest == name(0));
        assert!(gone.try_recv().is_err());
        let held: Vec<_> = (0..MOST_WAITING).map(|_| add(&mut waiting, 1)).collect();
        let (_, mut refused) = add(&mut waiting, 2);
        assert!(refused.try_recv().is_err() && held.len() == MOST_WAITING);
        drop(held);
        waiting.next_window(Instant::now());
        assert!(add(&mut waiting, 3).0);
    }
}
