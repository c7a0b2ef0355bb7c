//! A deadline for progress, which costs nothing while there is some.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Notices that nothing has moved for too long.
#[derive(Debug, Default)]
pub struct StallTimer {
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl StallTimer {
    /// Something has moved, or the peer owes nothing.
    pub fn moved(&mut self) {
        self.since = None;
    }

    /// Ready once nothing has moved for `limit`. The timer is not touched as things move:
    /// it looks again when it goes off.
    pub fn poll(&mut self, context: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let Some(due) = since.checked_add(limit) else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::time::{sleep, timeout};

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_moves_now_and_then_has_not_stalled() {
        let mut stall = StallTimer::default();
        for _ in 0..5 {
            let wait = poll_fn(|context| stall.poll(context, LIMIT));
            assert!(timeout(LIMIT * 9 / 10, wait).await.is_err());
            stall.moved();
        }
        let began = Instant::now();
        poll_fn(|context| stall.poll(context, LIMIT)).await;
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_not_looked_at_counts_too() {
        let mut stall = StallTimer::default();
        let once = poll_fn(|context| Poll::Ready(stall.poll(context, LIMIT)));
        assert!(once.await.is_pending());
        sleep(LIMIT * 2).await;
        let once = poll_fn(|context| Poll::Ready(stall.poll(context, LIMIT)));
        assert!(once.await.is_ready());
    }
}
