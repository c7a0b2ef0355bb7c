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
            } else if self.idle.is_some_and(|idle| now.duration_since(self.used) >= idle) {
                self.used = now;
                self.sleep.as_mut().reset(now + self.interval);
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
