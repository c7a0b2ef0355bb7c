//! The attempt stage: whether a request is tried again, and which failure the client gets
//! when it is not.

use std::time::Duration;

use http::Method;
use weft_balance::{Reported, Rng};
use weft_config::{Retries, RetryOn};

use crate::failure::{CIRCLE, Failure, NoAnswer, Reset};

/// How one try ended, as far as retries are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// No connection could be made: it was refused or unreachable.
    Refused,
    /// No connection could be made in time.
    ConnectTimeout,
    /// The connection ended before the request was sent.
    ResetBeforeRequest,
    /// The server refused the stream before it looked at it.
    RefusedStream,
    /// The connection ended after the request was sent, before an answer.
    Reset,
    /// The server reset the stream before an answer.
    RemoteReset,
    /// The server took nothing of the request for too long.
    Stalled,
    /// The answer was no HTTP.
    ProtocolError,
    /// The try took longer than `per_try_timeout`.
    PerTryTimeout,
    /// The backend has as many connections or requests as it may: nothing was sent.
    Overflow,
    /// An answer, with the gRPC status if its headers have one.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The gRPC status.
        grpc: Option<u16>,
    },
}

impl Outcome {
    /// The same as the endpoint's record has it; nothing where the endpoint was not asked.
    pub fn reported(self) -> Option<Reported> {
        Some(match self {
            Self::Overflow => return None,
            Self::Refused | Self::ConnectTimeout => Reported::Unreachable,
            Self::ResetBeforeRequest | Self::RefusedStream | Self::Reset | Self::RemoteReset => {
                Reported::Reset
            }
            Self::ProtocolError => Reported::Malformed,
            Self::PerTryTimeout | Self::Stalled => Reported::TimedOut,
            Self::Answered { grpc: Some(grpc), .. } => Reported::Answered(status_of_grpc(grpc)),
            Self::Answered { status, .. } => Reported::Answered(status),
        })
    }
}

/// The status of HTTP that says the same as one of gRPC (Envoy's table).
fn status_of_grpc(status: u16) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// What happens after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client gets the outcome of this try.
    Keep,
    /// It is tried again.
    Again,
    /// It would be tried again, but no try is left: the client gets this outcome, with flag `URX`.
    Spent,
}

/// What happens after a try with `outcome`, when `again` tries were made after the first.
pub fn next(retries: Option<&Retries>, method: &Method, outcome: Outcome, again: u32) -> Verdict {
    let safe = |retries: &Retries| {
        !retries.idempotent_only || method.is_idempotent() || was_not_sent(outcome)
    };
    match retries {
        Some(retries) if retries.attempts > 0 && wanted(retries, outcome) && safe(retries) => {
            match again < retries.attempts {
                true => Verdict::Again,
                false => Verdict::Spent,
            }
        }
        _ => Verdict::Keep,
    }
}

/// How long to wait before further try number `again`, from 1: a random part of
/// an interval that doubles, ten times the first at most (Envoy's back-off).
pub fn pause(retries: &Retries, again: u32, rng: &mut Rng) -> Duration {
    let doubled = 2_u32.saturating_pow(again.min(16)).saturating_sub(1);
    let interval = retries.backoff.saturating_mul(doubled).min(retries.backoff.saturating_mul(10));
    let micros = usize::try_from(interval.as_micros()).unwrap_or(usize::MAX);
    Duration::from_micros(rng.below(micros.max(1)) as u64)
}

/// Whether the server cannot have seen the request.
fn was_not_sent(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Refused
            | Outcome::ConnectTimeout
            | Outcome::ResetBeforeRequest
            | Outcome::RefusedStream
    )
}

fn wanted(retries: &Retries, outcome: Outcome) -> bool {
    // A stall has lasted for minutes: as in Envoy, it ends the exchange and not a try.
    let is_final = |outcome| match outcome {
        Outcome::Answered { status, .. } => status == CIRCLE,
        // Further tries would make it worse.
        other => matches!(other, Outcome::Stalled | Outcome::Overflow),
    };
    !is_final(outcome) && retries.on.iter().any(|on| covers(*on, outcome, &retries.statuses))
}

fn covers(on: RetryOn, outcome: Outcome, statuses: &[u16]) -> bool {
    let (status, grpc) = match outcome {
        Outcome::Answered { status, grpc } => (Some(status), grpc),
        _ => (None, None),
    };
    let unconnected = matches!(outcome, Outcome::Refused | Outcome::ConnectTimeout);
    match on {
        RetryOn::ConnectFailure => unconnected,
        RetryOn::RefusedStream => outcome == Outcome::RefusedStream,
        RetryOn::Reset => status.is_none(),
        RetryOn::ResetBeforeRequest => unconnected || outcome == Outcome::ResetBeforeRequest,
        RetryOn::GatewayError => status.is_none_or(|status| (502..=504).contains(&status)),
        RetryOn::ServerError => status.is_none_or(|status| status >= 500),
        RetryOn::Retriable4xx => status == Some(409),
        RetryOn::Statuses => status.is_some_and(|status| statuses.contains(&status)),
        RetryOn::Cancelled => grpc == Some(1),
        RetryOn::DeadlineExceeded => grpc == Some(4),
        RetryOn::Internal => grpc == Some(13),
        RetryOn::ResourceExhausted => grpc == Some(8),
        RetryOn::Unavailable => grpc == Some(14),
        RetryOn::PerTryTimeout => outcome == Outcome::PerTryTimeout,
    }
}

/// Why the client gets no server's answer after the last try; none if that was an answer.
/// `reason` says why a connection was refused, in the words of access logs.
pub fn failure(outcome: Outcome, verdict: Verdict, reason: Option<&str>) -> Option<Failure> {
    let reset = match outcome {
        Outcome::Answered { .. } => return None,
        Outcome::PerTryTimeout => Reset::Timeout,
        Outcome::Refused => {
            Reset::Refused(reason.unwrap_or("delayed_connect_error:_Connection_refused").to_owned())
        }
        Outcome::ConnectTimeout => Reset::ConnectTimeout,
        Outcome::ResetBeforeRequest | Outcome::Reset => Reset::Ended,
        Outcome::RefusedStream => Reset::RefusedStream,
        Outcome::RemoteReset => Reset::Remote,
        Outcome::Stalled => Reset::Stalled,
        Outcome::ProtocolError => Reset::Malformed,
        Outcome::Overflow => Reset::Overflow,
    };
    Some(Failure::NoAnswer(NoAnswer { reset, spent: verdict == Verdict::Spent }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(on: &[RetryOn]) -> Retries {
        Retries {
            attempts: 2,
            per_try_timeout: None,
            on: on.to_vec(),
            statuses: vec![503],
            backoff: Duration::from_millis(25),
            avoid_tried: true,
            idempotent_only: false,
        }
    }

    fn answered(status: u16, grpc: Option<u16>) -> Outcome {
        Outcome::Answered { status, grpc }
    }

    #[track_caller]
    fn check(on: &[RetryOn], outcome: Outcome, again: u32, expected: Verdict) {
        let verdict = next(Some(&retries(on)), &Method::POST, outcome, again);
        assert_eq!(verdict, expected, "{on:?} {outcome:?}");
    }

    #[test]
    fn only_what_was_asked_for_is_tried_again() {
        let usual = [RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Unavailable];
        check(&usual, Outcome::Refused, 0, Verdict::Again);
        check(&usual, Outcome::Reset, 0, Verdict::Keep);
        check(&usual, answered(503, None), 0, Verdict::Keep);
        check(&usual, answered(200, Some(14)), 0, Verdict::Again);
        check(&[RetryOn::GatewayError], Outcome::PerTryTimeout, 0, Verdict::Again);
        check(&[RetryOn::GatewayError], answered(500, None), 0, Verdict::Keep);
        check(&[RetryOn::ServerError], answered(500, None), 0, Verdict::Again);
        check(&[RetryOn::Statuses], answered(503, None), 0, Verdict::Again);
        check(&[RetryOn::Reset, RetryOn::ServerError], Outcome::Stalled, 0, Verdict::Keep);
        check(&[RetryOn::ServerError], answered(508, None), 0, Verdict::Keep);
        let any = [RetryOn::Reset, RetryOn::ServerError, RetryOn::ConnectFailure];
        check(&any, Outcome::Overflow, 0, Verdict::Keep);
    }

    #[test]
    fn a_request_that_may_have_done_its_work_is_not_sent_twice() {
        let on = [RetryOn::PerTryTimeout, RetryOn::ConnectFailure];
        let retries = Retries { idempotent_only: true, ..retries(&on) };
        let verdict = |method, outcome| next(Some(&retries), &method, outcome, 0);
        assert_eq!(verdict(Method::GET, Outcome::PerTryTimeout), Verdict::Again);
        assert_eq!(verdict(Method::PUT, Outcome::PerTryTimeout), Verdict::Again);
        assert_eq!(verdict(Method::POST, Outcome::PerTryTimeout), Verdict::Keep);
        assert_eq!(verdict(Method::POST, Outcome::Refused), Verdict::Again);
    }

    #[test]
    fn the_last_try_says_that_none_is_left() {
        check(&[RetryOn::ConnectFailure], Outcome::Refused, 2, Verdict::Spent);
        let failure = failure(Outcome::Refused, Verdict::Spent, None);
        let reply = failure.expect("no answer came").reply();
        assert_eq!(reply.flags.to_string(), "URX,UF");
        assert_eq!(
            &*reply.body,
            "upstream connect error or disconnect/reset before headers. \
             retried and the latest reset reason: remote connection failure"
        );
    }

    #[test]
    fn an_endpoint_is_judged_by_the_status_that_its_answer_means() {
        for (outcome, expected) in [
            (answered(200, None), Some(Reported::Answered(200))),
            (answered(200, Some(0)), Some(Reported::Answered(200))),
            (answered(200, Some(14)), Some(Reported::Answered(503))),
            (answered(200, Some(13)), Some(Reported::Answered(500))),
            (answered(200, Some(5)), Some(Reported::Answered(404))),
            (Outcome::Overflow, None),
        ] {
            assert_eq!(outcome.reported(), expected, "{outcome:?}");
        }
    }

    #[test]
    fn without_retries_nothing_is_tried_again() {
        assert_eq!(next(None, &Method::GET, Outcome::Refused, 0), Verdict::Keep);
        assert_eq!(failure(answered(500, None), Verdict::Keep, None), None);
    }

    #[test]
    fn pauses_grow_to_ten_times_the_first() {
        let mut rng = Rng::new(3);
        let longest = |again: u32, rng: &mut Rng| {
            (0..200).map(|_| pause(&retries(&[]), again, rng)).max().expect("200 pauses")
        };
        assert!(longest(1, &mut rng) < Duration::from_millis(25));
        let late = longest(30, &mut rng);
        assert!(late > Duration::from_millis(200) && late < Duration::from_millis(250), "{late:?}");
    }
}
