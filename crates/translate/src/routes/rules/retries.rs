//! `retries` of a rule.

use std::time::Duration;

use weft_api::{span, virtual_service};
use weft_config::{Retries, RetryOn};

/// The conditions of rules that name none.
pub(crate) const DEFAULT: &[RetryOn] = &[
    RetryOn::ConnectFailure,
    RetryOn::RefusedStream,
    RetryOn::Unavailable,
    RetryOn::Cancelled,
    RetryOn::Statuses,
];

/// The conditions of rules that name none but limit a try, as Istio 1.0 had them.
pub(crate) const AS_ISTIO_1_0: &[RetryOn] = &[
    RetryOn::GatewayError,
    RetryOn::ConnectFailure,
    RetryOn::RefusedStream,
    RetryOn::PerTryTimeout,
];

/// The first pause between tries when nobody says otherwise.
pub(crate) const BACKOFF: Duration = Duration::from_millis(25);

/// What a try that took too long ends when a rule names no conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timeouts {
    /// The request, as in Istio today.
    EndTheRequest,
    /// The try, as in Istio 1.0.
    EndTheTry,
}

/// Reads `retries`, with what is wrong with it: a field and a message each.
pub(crate) fn of_rule(
    written: &virtual_service::Retries,
    timeouts: Timeouts,
) -> (Option<Retries>, Vec<(&'static str, String)>) {
    let mut problems = Vec::new();
    let attempts = u32::try_from(written.attempts).unwrap_or_else(|_| {
        problems
            .push(("attempts", "is not a number of attempts; requests are not retried".to_owned()));
        0
    });
    let mut read = |field, text: &Option<String>| {
        let text = text.as_deref()?;
        let value = span::parse(text).ok();
        if value.is_none() {
            problems.push((field, format!("`{text}` is not a duration such as 2s; it is ignored")));
        }
        value.filter(|value| !value.is_zero())
    };
    let per_try_timeout = read("perTryTimeout", &written.per_try_timeout);
    let backoff = read("backoff", &written.backoff).unwrap_or(BACKOFF);
    let mut statuses = Vec::new();
    let named = written.retry_on.as_deref().unwrap_or_default();
    let timed_out_tries = per_try_timeout.is_some() && timeouts == Timeouts::EndTheTry;
    let on = match named.trim() {
        "" if timed_out_tries => AS_ISTIO_1_0.to_vec(),
        "" => DEFAULT.to_vec(),
        named => conditions(named, &mut statuses, &mut problems),
    };
    let retries = Retries {
        attempts,
        per_try_timeout,
        on,
        statuses,
        backoff,
        avoid_tried: written.retry_ignore_previous_hosts.unwrap_or(true),
        // Nobody asked for it in so many words, and a POST may have done its work.
        idempotent_only: timed_out_tries && named.trim().is_empty(),
    };
    ((attempts > 0).then_some(retries), problems)
}

fn conditions(
    named: &str,
    statuses: &mut Vec<u16>,
    problems: &mut Vec<(&'static str, String)>,
) -> Vec<RetryOn> {
    let mut on = Vec::new();
    for word in named.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let condition = match word.parse::<u16>() {
            Ok(status) => {
                if !statuses.contains(&status) {
                    statuses.push(status);
                }
                Some(RetryOn::Statuses)
            }
            Err(_) => condition(word),
        };
        match condition {
            Some(condition) if on.contains(&condition) => {}
            Some(condition) => on.push(condition),
            None => problems.push((
                "retryOn",
                format!(
                    "`{word}` is not a retry condition that Weft knows; the other conditions apply"
                ),
            )),
        }
    }
    on
}

fn condition(word: &str) -> Option<RetryOn> {
    Some(match word {
        "connect-failure" => RetryOn::ConnectFailure,
        "refused-stream" => RetryOn::RefusedStream,
        "reset" => RetryOn::Reset,
        "reset-before-request" => RetryOn::ResetBeforeRequest,
        "gateway-error" => RetryOn::GatewayError,
        "5xx" => RetryOn::ServerError,
        "retriable-4xx" => RetryOn::Retriable4xx,
        "retriable-status-codes" => RetryOn::Statuses,
        "cancelled" => RetryOn::Cancelled,
        "deadline-exceeded" => RetryOn::DeadlineExceeded,
        "internal" => RetryOn::Internal,
        "resource-exhausted" => RetryOn::ResourceExhausted,
        "unavailable" => RetryOn::Unavailable,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: serde_json::Value, timeouts: Timeouts, expected: &str) {
        let written = serde_json::from_value(written).unwrap();
        let (retries, problems) = of_rule(&written, timeouts);
        let mut text = retries.map_or("none".to_owned(), |retries| {
            let on = serde_json::to_string(&retries.on).unwrap().replace(['[', ']', '"'], "");
            format!(
                "{} {:?} {on} {:?}",
                retries.attempts, retries.per_try_timeout, retries.statuses
            )
        });
        for (field, message) in problems {
            text.push_str(&format!("\n! {field} {message}"));
        }
        assert_eq!(text, expected);
    }

    #[test]
    fn without_conditions_istios_defaults_hold() {
        check(
            serde_json::json!({"attempts": 3, "perTryTimeout": "2s"}),
            Timeouts::EndTheRequest,
            "3 Some(2s) connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes []",
        );
    }

    #[test]
    fn as_istio_1_0_a_try_that_took_too_long_is_tried_again() {
        check(
            serde_json::json!({"attempts": 3, "perTryTimeout": "2s"}),
            Timeouts::EndTheTry,
            "3 Some(2s) gateway-error,connect-failure,refused-stream,per-try-timeout []",
        );
        check(
            serde_json::json!({"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx"}),
            Timeouts::EndTheTry,
            "3 Some(2s) 5xx []",
        );
    }

    #[test]
    fn numbers_are_statuses_and_unknown_words_are_reported() {
        check(
            serde_json::json!({"attempts": 1, "retryOn": "503, 504,503,5xx,whim"}),
            Timeouts::EndTheRequest,
            "1 None retriable-status-codes,5xx [503, 504]\n\
             ! retryOn `whim` is not a retry condition that Weft knows; the other conditions apply",
        );
    }

    #[test]
    fn no_attempts_are_no_retries() {
        check(serde_json::json!({"attempts": 0}), Timeouts::EndTheRequest, "none");
    }
}
