//! Waiting, for tests of real processes: until something is so, and until a peer or a load
//! does the next thing. Nothing else in tests may wait for time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often is looked whether something is so.
const LOOK: Duration = Duration::from_millis(20);

/// Asks until there is an answer; none when `patience` is over.
pub fn eventually<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || begun.elapsed() >= patience {
            return answer;
        }
        until(Instant::now() + LOOK);
    }
}

/// Waits until it is time for the next step of a load, or of a slow peer.
pub fn until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        thread::park_timeout(left);
    }
}
