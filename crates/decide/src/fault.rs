//! Faults that a rule makes on purpose.

use std::{sync::Arc, time::Duration};

use weft_balance::Rng;
use weft_config::{
    Fault, Origin,
    fault::{Abort, AbortStatus, Delay, WHOLE},
};

use crate::{
    record::{Record, Verdict, tell},
    reply::{Flag, Flags, Reply, Text},
};

/// What becomes of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) reply: Option<Reply>,
}

/// Draws the faults of one request. To a record that listens, only what befalls all requests
/// does; of the others it is said how many they are.
pub(crate) fn draw<R: Record>(
    fault: &Fault,
    origin: &Arc<Origin>,
    (rng, record): (&mut Rng, &mut R),
) -> Injected {
    let mut hits = |share: u32, what: &dyn Fn() -> String| {
        if share == 0 {
            return false;
        }
        tell(record, origin, Verdict::Matched, || {
            let percent = f64::from(share) * 100.0 / f64::from(WHOLE);
            format!("{percent} % of the requests {}", what())
        });
        share >= WHOLE || (!R::LISTENS && rng.below(WHOLE as usize) < share as usize)
    };
    let delay = fault.delay.filter(|Delay { share, time }| {
        hits(*share, &|| format!("are held up for {}s by the fault", time.as_secs_f64()))
    });
    let delay = delay.map(|delay| delay.time);
    let abort = fault.abort.filter(|Abort { share, with }| {
        hits(*share, &|| {
            let status = match with {
                AbortStatus::Http(status) => format!("{status}"),
                AbortStatus::Grpc(status) => format!("gRPC status {status}"),
            };
            format!("are answered with {status} by the fault")
        })
    });
    Injected { delay, reply: abort.map(|abort| aborted(abort.with)) }
}

fn aborted(with: AbortStatus) -> Reply {
    let status = match with {
        AbortStatus::Http(status) => status,
        AbortStatus::Grpc(_) => 200,
    };
    let body = Text::Fixed("fault filter abort");
    let flags = Flags::of(Flag::Aborted);
    let reply = Reply { body, flags, ..Reply::new(status, "fault_filter_abort") };
    match with {
        AbortStatus::Http(_) => reply,
        AbortStatus::Grpc(status) => reply.with_grpc_status(status),
    }
}
