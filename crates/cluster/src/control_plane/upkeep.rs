//! Doing something for every name that needs it, again until it succeeds.
//!
//! What is done, and why a name needs it, is not known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream::FuturesUnordered};

/// How many names are worked on at once.
const AT_ONCE: usize = 8;
/// The pause after a first failure; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Does `work` for every name that `names` tells, and again after a failure,
/// until `names` ends. `what` is what is done, for people.
pub(super) async fn keep_up<Work, Error: fmt::Display>(
    what: &str,
    names: impl Stream<Item = String>,
    work: impl Fn(String) -> Work,
) where
    Work: Future<Output = Result<(), Error>>,
{
    let mut names = std::pin::pin!(names);
    let mut queue = Queue::default();
    let mut working = FuturesUnordered::new();
    loop {
        let next = queue.next_due();
        let due = async {
            match next {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            name = names.next() => match name {
                Some(name) => queue.enqueue(name, now()),
                None => return,
            },
            Some(ended) = working.next() => {
                let (name, done): (String, Result<(), Error>) = ended;
                if let Err(error) = &done {
                    tracing::warn!("{what} {name}: {error}; it is tried again");
                }
                queue.done(&name, done.is_ok(), now());
            }
            () = due, if working.len() < AT_ONCE => {}
        }
        while working.len() < AT_ONCE
            && let Some(name) = queue.take(now())
        {
            let doing = work(name.clone());
            working.push(async move { (name, doing.await) });
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Which name is worked on when. Told the time; it never sleeps.
#[derive(Debug, Default)]
struct Queue {
    due: BTreeMap<String, Instant>,
    /// Names that are being worked on, and not taken meanwhile.
    busy: BTreeSet<String>,
    failures: BTreeMap<String, u32>,
    /// When names that were done may be worked on again.
    rested: BTreeMap<String, Instant>,
}

impl Queue {
    /// Something about `name` has changed: it is due at once, unless it has only
    /// just been done. Another controller may undo the change each time.
    fn enqueue(&mut self, name: String, now: Instant) {
        self.rested.retain(|_, rested| *rested > now);
        let due = self.rested.get(&name).copied().unwrap_or(now);
        self.due.insert(name, due);
    }

    /// When the next name that is not worked on is due.
    fn next_due(&self) -> Option<Instant> {
        self.due.iter().filter(|(name, _)| !self.busy.contains(*name)).map(|(_, due)| *due).min()
    }

    /// A name that is due; it counts as being worked on until [`Queue::done`].
    fn take(&mut self, now: Instant) -> Option<String> {
        let is_due = |(name, due): &(&String, &Instant)| **due <= now && !self.busy.contains(*name);
        let name = self.due.iter().find(is_due)?.0.clone();
        self.due.remove(&name);
        self.busy.insert(name.clone());
        Some(name)
    }

    /// The work on `name` has ended.
    fn done(&mut self, name: &str, well: bool, now: Instant) {
        self.busy.remove(name);
        if well {
            self.failures.remove(name);
            self.rested.insert(name.to_owned(), now + FIRST_PAUSE);
            return;
        }
        let failures = self.failures.entry(name.to_owned()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(*failures)).min(LONGEST_PAUSE);
        *failures += 1;
        // A change that came in the meantime does not wait.
        self.due.entry(name.to_owned()).or_insert(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use futures::{FutureExt, stream};

    use super::*;

    #[test]
    fn a_failure_is_tried_again_less_and_less_often_until_it_succeeds() {
        let mut now = Instant::now();
        let mut queue = Queue::default();
        queue.enqueue("a".to_owned(), now);
        let mut pauses = Vec::new();
        for _ in 0..11 {
            assert_eq!(queue.take(now).as_deref(), Some("a"));
            queue.done("a", false, now);
            let due = queue.next_due().unwrap();
            assert_eq!(queue.take(now), None, "not before its time");
            pauses.push((due - now).as_millis());
            now = due;
        }
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000];
        assert_eq!(pauses, expected);
        assert_eq!(queue.take(now).as_deref(), Some("a"));
        queue.done("a", true, now);
        assert_eq!(queue.next_due(), None);
        queue.enqueue("a".to_owned(), now);
        assert_eq!(queue.take(now), None, "it has only just been done");
        now += FIRST_PAUSE;
        assert_eq!(queue.take(now).as_deref(), Some("a"));
        queue.done("a", false, now);
        assert_eq!(queue.next_due().unwrap() - now, FIRST_PAUSE, "a success is a new start");
    }

    #[test]
    fn a_change_during_the_work_is_worked_on_after_it() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.enqueue("a".to_owned(), now);
        assert_eq!(queue.take(now).as_deref(), Some("a"));
        queue.enqueue("a".to_owned(), now);
        assert_eq!((queue.take(now), queue.next_due()), (None, None));
        queue.done("a", false, now);
        assert_eq!(queue.take(now).as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_work_is_done_again_without_another_event() {
        let tries = Rc::new(RefCell::new(Vec::new()));
        let begun = tokio::time::Instant::now();
        let work = |name: String| {
            let tries = Rc::clone(&tries);
            async move {
                let mut tries = tries.borrow_mut();
                tries.push((name.clone(), begun.elapsed().as_millis()));
                if name == "b" || tries.len() > 3 { Ok(()) } else { Err("refused") }
            }
        };
        let names = stream::iter(["a".to_owned(), "b".to_owned()]).chain(stream::pending());
        let ending = tokio::time::sleep(Duration::from_secs(60)).boxed_local();
        tokio::select! {
            () = keep_up("trying", names, work) => panic!("the names do not end"),
            () = ending => {}
        }
        let own: Vec<u128> =
            tries.borrow().iter().filter(|(name, _)| name == "a").map(|(_, at)| *at).collect();
        assert_eq!(own.len(), 3);
        assert!(own[1] >= 100 && own[2] >= own[1] + 200, "{own:?}");
    }
}
