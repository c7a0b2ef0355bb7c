//! Faults that rules make on purpose.

use weft_api::{
    span,
    virtual_service::{FaultAbort, FaultDelay, HttpRoute, Percent},
};
use weft_config::{
    Fault,
    fault::{Abort, AbortStatus, Delay, WHOLE},
};

use crate::routes::rules::InvalidRule;

/// The details of a rule with a fault that cannot be made.
const INVALID: &str = "invalid_fault";

/// The statuses of gRPC, by number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The faults of `written`; none where it has none.
pub(crate) fn of_rule(written: &HttpRoute) -> Result<Option<Box<Fault>>, InvalidRule> {
    let Some(fault) = &written.fault else { return Ok(None) };
    let delay = fault.delay.as_ref().map(delay).transpose()?.flatten();
    let abort = fault.abort.as_ref().map(abort).transpose()?.flatten();
    Ok((delay.is_some() || abort.is_some()).then(|| Box::new(Fault { delay, abort })))
}

fn delay(written: &FaultDelay) -> Result<Option<Delay>, InvalidRule> {
    let old = written.percent.map(|percent| Percent { value: percent as f64 });
    let share = share(written.percentage.or(old));
    let Some(time) = &written.fixed_delay else { return Ok(None) };
    let time = span::parse(time).map_err(|_| {
        let message = format!("`{time}` is not a duration such as 5s; the rule answers 500");
        InvalidRule::new("fault.delay.fixedDelay", INVALID, message)
    })?;
    Ok((share > 0 && !time.is_zero()).then_some(Delay { share, time }))
}

fn abort(written: &FaultAbort) -> Result<Option<Abort>, InvalidRule> {
    let share = share(written.percentage);
    let with = match (written.http_status, &written.grpc_status) {
        (Some(status), _) => {
            let fits = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
            AbortStatus::Http(fits.ok_or_else(|| {
                let message = "is not between 200 and 599; the rule answers 500";
                InvalidRule::new("fault.abort.httpStatus", INVALID, message)
            })?)
        }
        (None, Some(status)) => AbortStatus::Grpc(grpc(status).ok_or_else(|| {
            let message = format!(
                "`{}` is not a status of gRPC such as UNAVAILABLE; the rule answers 500",
                status.chars().take(40).collect::<String>()
            );
            InvalidRule::new("fault.abort.grpcStatus", INVALID, message)
        })?),
        (None, None) => return Ok(None),
    };
    Ok((share > 0).then_some(Abort { share, with }))
}

fn grpc(status: &str) -> Option<u8> {
    let named = GRPC.iter().position(|name| name.eq_ignore_ascii_case(status));
    let number = named.or_else(|| status.parse().ok().filter(|number| *number < GRPC.len()))?;
    u8::try_from(number).ok()
}

/// A share in millionths.
pub(crate) fn share(percent: Option<Percent>) -> u32 {
    let percent = percent.map_or(0.0, |percent| percent.value.clamp(0.0, 100.0));
    // It is between nothing and all of them.
    (percent / 100.0 * f64::from(WHOLE)).round() as u32
}
