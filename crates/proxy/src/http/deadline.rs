//! When an exchange must be over.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant as StdInstant},
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{http::request_body::Source, telemetry::outcome::LimitOf};

/// When an exchange must be over: what its rule allows, from the moment when the request is
/// complete (as in Envoy: an upload may take its time), or what a gRPC client allows, from
/// the beginning.
#[derive(Debug)]
pub struct Deadline {
    rule: Option<Duration>,
    client: Option<Instant>,
    began: Instant,
    source: Option<Rc<Source>>,
    armed: Option<(Pin<Box<Sleep>>, LimitOf)>,
    /// Whether the rule's time runs.
    complete: bool,
}

impl Deadline {
    /// The deadline of an exchange that began at `began` with the body `source`; none
    /// where neither its rule nor its client sets one.
    pub fn of(
        rule: Option<Duration>,
        client: Option<Duration>,
        began: StdInstant,
        source: Option<&Rc<Source>>,
    ) -> Option<Self> {
        if rule.is_none() && client.is_none() {
            return None;
        }
        let began = Instant::from_std(began);
        let client = client.and_then(|limit| began.checked_add(limit));
        let source = source.cloned();
        Some(Self { rule, client, began, source, armed: None, complete: false })
    }

    /// Ready once the time is over, with whose limit that was.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<LimitOf> {
        if !self.complete {
            self.arm(context);
        }
        let Some((sleep, limit)) = &mut self.armed else { return Poll::Pending };
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(*limit)
    }

    /// When the time is over, as far as that is known.
    pub fn at(&self) -> Option<StdInstant> {
        self.armed.as_ref().map(|(sleep, _)| sleep.deadline().into_std())
    }

    /// Whose limit has passed, if one has.
    pub fn passed(&self) -> Option<LimitOf> {
        let (sleep, limit) = self.armed.as_ref()?;
        (sleep.deadline() <= Instant::now()).then_some(*limit)
    }

    fn arm(&mut self, context: &mut Context<'_>) {
        let complete = match (&self.source, self.rule) {
            (_, None) => None,
            (None, Some(rule)) => self.began.checked_add(rule),
            (Some(source), Some(rule)) => match source.poll_ended(context) {
                Poll::Ready(ended) => ended.max(self.began).checked_add(rule),
                Poll::Pending => {
                    self.arm_at(None);
                    return;
                }
            },
        };
        self.complete = true;
        self.arm_at(complete);
    }

    fn arm_at(&mut self, rule: Option<Instant>) {
        let rule = rule.map(|at| (at, LimitOf::Rule));
        let client = self.client.map(|at| (at, LimitOf::Client));
        let next = rule.into_iter().chain(client).min_by_key(|(at, _)| *at);
        let Some((at, limit)) = next else { return };
        match &mut self.armed {
            Some((sleep, by)) if sleep.deadline() != at => {
                sleep.as_mut().reset(at);
                *by = limit;
            }
            Some(_) => {}
            None => self.armed = Some((Box::pin(sleep_until(at)), limit)),
        }
    }
}
