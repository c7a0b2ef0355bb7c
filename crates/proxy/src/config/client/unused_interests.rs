//! Which interests are given up because their answers are not used.
//!
//! Time is an argument. The table notes cheaply that an answer was used; from time to time
//! that is carried over to the machine that knows the interests.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;
use weft_decide::Table;
use weft_delta::Client;

/// How often uses are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// An answer that is not used for this long is given up. It is longer than most pauses of a
/// client and than most failures of a control plane, without which the answer could not be
/// had again.
const UNUSED: Duration = Duration::from_secs(60 * 60);

/// When uses were looked at.
#[derive(Debug)]
pub struct UnusedInterests {
    /// For each look within [`UNUSED`], what [`Client::uses`] was.
    looks: VecDeque<(Instant, u64)>,
    due: Instant,
}

impl UnusedInterests {
    /// Nothing was used before `now`.
    pub fn new(now: Instant) -> Self {
        Self { looks: VecDeque::new(), due: now + LOOK }
    }

    /// When to look next.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Notes what of `table` was used, and gives up what was not for long.
    pub fn look(&mut self, now: Instant, table: &Table, client: &mut Client) {
        for interest in table.take_used() {
            client.used(&interest.to_string());
        }
        self.due = now + LOOK;
        self.looks.push_back((now, client.uses()));
        while let Some((_, uses)) =
            self.looks.pop_front_if(|(when, _)| now.duration_since(*when) >= UNUSED)
        {
            client.drop_unused(uses);
        }
    }
}
