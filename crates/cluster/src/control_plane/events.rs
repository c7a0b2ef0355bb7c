//! One watch, taken up again however it ends.

use std::time::Duration;

use futures::{
    Stream,
    stream::{self, BoxStream, StreamExt},
};
use kube::{
    Api,
    runtime::watcher::{self, Event},
};

use crate::stored::StoredObject;

/// The pause after a first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause: what a mesh may lag behind a server that is back.
const LONGEST: Duration = Duration::from_secs(10);

/// What happens to the objects of `api`; an error is followed by another attempt, after a pause
/// that grows while nothing succeeds.
///
/// A watch that cannot be continued from where it ended begins with a new list, soon: that says
/// nothing about the server's health. Some servers say 410 with the answer's status rather than
/// in an event, and kube would ask for the same version for ever.
pub(super) fn events(
    api: Api<StoredObject>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<StoredObject>>> {
    let watch = Watch { events: begin(&api, &config), api, config, pauses: Pauses::default() };
    stream::unfold(watch, Watch::next).boxed()
}

type Events = BoxStream<'static, watcher::Result<Event<StoredObject>>>;

fn begin(api: &Api<StoredObject>, config: &watcher::Config) -> Events {
    watcher::watcher(api.clone(), config.clone()).boxed()
}

struct Watch {
    api: Api<StoredObject>,
    config: watcher::Config,
    events: Events,
    pauses: Pauses,
}

impl Watch {
    async fn next(mut self) -> Option<(watcher::Result<Event<StoredObject>>, Self)> {
        if let Some(pause) = self.pauses.due() {
            tokio::time::sleep(pause).await;
        }
        let event = self.events.next().await?;
        match &event {
            // Said before the list is asked for.
            Ok(Event::Init) => {}
            Ok(Event::Apply(_) | Event::Delete(_)) => self.pauses.watched(),
            Ok(_) => self.pauses.succeeded(),
            Err(error) => {
                let code = code(error);
                if matches!(code, Some(404 | 410)) {
                    self.events = begin(&self.api, &self.config);
                }
                match code {
                    Some(410) => self.pauses.expired(),
                    _ => self.pauses.failed(),
                }
            }
        }
        Some((event, self))
    }
}

/// The status with which a watch was refused or ended.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// How long to wait between attempts.
#[derive(Default)]
struct Pauses {
    /// Attempts that failed one after the other.
    failures: u32,
    /// Watches that were too old since the last change was seen.
    expired: u32,
    due: Option<Duration>,
}

impl Pauses {
    fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A watch goes on from where it was told to.
    fn watched(&mut self) {
        (self.failures, self.expired) = (0, 0);
    }

    fn failed(&mut self) {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(longest.mul_f64(0.5 + fastrand::f64() / 2.0));
    }

    /// The server answers, only not from there: what failed before it came back does not count.
    /// Where that happens again and again, lists are asked for less and less often.
    fn expired(&mut self) {
        self.failures = self.expired;
        self.failed();
        self.expired = self.expired.saturating_add(1);
    }

    /// The pause before the next attempt, once.
    fn due(&mut self) -> Option<Duration> {
        self.due.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pauses: &mut Pauses) -> f64 {
        pauses.due().map_or(0.0, |pause| pause.as_secs_f64())
    }

    #[test]
    fn pauses_grow_to_ten_seconds_and_are_not_all_the_same() {
        let mut pauses = Pauses::default();
        assert_eq!(next(&mut pauses), 0.0);
        for longest in [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0] {
            pauses.failed();
            let pause = next(&mut pauses);
            assert!((longest / 2.0..=longest).contains(&pause), "{pause} of {longest}");
        }
        pauses.failures = u32::MAX;
        pauses.failed();
        assert!(next(&mut pauses) <= 10.0);
        pauses.succeeded();
        pauses.failed();
        assert!(next(&mut pauses) <= 0.5, "a success makes up for all failures");
    }

    #[test]
    fn a_list_that_is_too_old_is_asked_for_soon_whatever_failed_before() {
        let mut pauses = Pauses::default();
        for _ in 0..9 {
            pauses.failed();
        }
        pauses.expired();
        assert!((0.25..=0.5).contains(&next(&mut pauses)), "and never at once");
    }

    #[test]
    fn a_server_whose_watches_are_always_too_old_is_asked_for_fewer_and_fewer_lists() {
        let mut pauses = Pauses::default();
        for longest in [0.5, 1.0, 2.0, 4.0, 8.0, 10.0] {
            pauses.succeeded();
            pauses.expired();
            let pause = next(&mut pauses);
            assert!((longest / 2.0..=longest).contains(&pause), "{pause} of {longest}");
        }
        pauses.watched();
        pauses.expired();
        assert!(next(&mut pauses) <= 0.5);
    }
}
