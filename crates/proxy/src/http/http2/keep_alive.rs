//! Whether an HTTP/2 peer is still there: a PING after some silence, and the end without
//! any byte soon after.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};
use weft_config::Limits;

use crate::http::metered_stream::Meter;

/// Watches over one connection.
pub struct KeepAlive {
    pings: Option<PingPong>,
    sleep: Pin<Box<Sleep>>,
    interval: Duration,
    patience: Duration,
    idle: Option<Duration>,
    /// Bytes that the peer had sent when it was last looked at.
    read: u64,
    asked: bool,
    /// Whether the peer was told that the connection ends, since it was idle.
    told: bool,
    /// When the last stream was seen.
    used: Instant,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The peer is gone.
    Dead,
    /// There was no stream for too long.
    Idle,
}

impl KeepAlive {
    /// Watches over a connection with these limits; `idle` where one without streams is
    /// to be closed.
    pub fn new(pings: Option<PingPong>, limits: &Limits, idle: Option<Duration>) -> Self {
        Self {
            pings,
            sleep: Box::pin(sleep(limits.keep_alive)),
            interval: limits.keep_alive,
            patience: limits.keep_alive_answer,
            idle,
            read: 0,
            asked: false,
            told: false,
            used: Instant::now(),
        }
    }

    /// Ready when the connection is to end. The timer is not touched as bytes come: it
    /// looks again when it goes off.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        meter: &Meter,
        in_use: bool,
    ) -> Poll<Verdict> {
        while self.sleep.as_mut().poll(context).is_ready() {
            let silent = meter.read() == self.read;
            self.read = meter.read();
            if silent && self.asked {
                return Poll::Ready(Verdict::Dead);
            }
            let now = Instant::now();
            if in_use {
                self.used = now;
            } else if self.told {
                // A peer that goes on answering PINGs and does not leave is left.
                return Poll::Ready(Verdict::Dead);
            } else if self.idle.is_some_and(|idle| now.duration_since(self.used) >= idle) {
                self.told = true;
                self.sleep.as_mut().reset(now + self.patience);
                return Poll::Ready(Verdict::Idle);
            }
            self.asked = silent && self.ask(context);
            let next = if self.asked { self.patience } else { self.interval };
            self.sleep.as_mut().reset(now + next);
        }
        Poll::Pending
    }

    /// Sends a PING; a former one that was answered is taken back first.
    fn ask(&mut self, context: &mut Context<'_>) -> bool {
        let Some(pings) = &mut self.pings else { return false };
        // Its waker is that of the connection's own task.
        let _ = pings.poll_pong(context);
        pings.send_ping(Ping::opaque()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn an_idle_peer_that_does_not_leave_when_told_is_left() {
        let seconds = Duration::from_secs;
        let (keep_alive, keep_alive_answer) = (seconds(60), seconds(20));
        let limits = Limits { keep_alive, keep_alive_answer, ..Limits::default() };
        let mut watch = KeepAlive::new(None, &limits, Some(seconds(900)));
        let (meter, began) = (Meter::default(), Instant::now());
        let idle = poll_fn(|context| watch.poll(context, &meter, false)).await;
        assert_eq!((idle, began.elapsed()), (Verdict::Idle, seconds(900)));
        // A stream that came meanwhile is served to its end.
        let busy = poll_fn(|context| watch.poll(context, &meter, true));
        assert!(tokio::time::timeout(seconds(1000), busy).await.is_err());
        let began = Instant::now();
        let dead = poll_fn(|context| watch.poll(context, &meter, false)).await;
        assert_eq!(dead, Verdict::Dead);
        assert!(began.elapsed() <= keep_alive);
    }
}
