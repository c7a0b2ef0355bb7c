//! Copies of requests, whose answers nobody gets.

use std::sync::Arc;

use smallvec::SmallVec;
use weft_balance::Rng;
use weft_config::{Mirror, fault::WHOLE};

use crate::{
    backend::CompiledBackend,
    record::{Record, Verdict, tell},
    route::CompiledRule,
    table::Table,
};

/// Where copies of one request go.
pub(crate) type Mirrors = SmallVec<[Arc<CompiledBackend>; 1]>;

/// Draws where copies of one request of `rule` go. To a record that listens, only what happens to
/// all requests does; of the others it is said how many they are.
pub(crate) fn draw<R: Record>(
    table: &Table,
    rule: &CompiledRule,
    (rng, record): (&mut Rng, &mut R),
) -> Mirrors {
    let mut drawn = Mirrors::new();
    for Mirror { backend: name, share } in &rule.data.mirrors {
        if *share == 0 {
            continue;
        }
        let backend = table.backend(name).filter(|backend| backend.data.closed.is_none());
        let verdict = match backend {
            Some(_) => Verdict::Matched,
            None => Verdict::Refused,
        };
        tell(record, &rule.origin, verdict, || {
            let percent = f64::from(*share) * 100.0 / f64::from(WHOLE);
            match backend {
                Some(_) => format!("copies of {percent} % of the requests go to {name}"),
                None => format!("no copies go to {name}, which does not exist or is closed"),
            }
        });
        let is_hit =
            *share >= WHOLE || (!R::LISTENS && rng.below(WHOLE as usize) < *share as usize);
        drawn.extend(backend.filter(|_| is_hit).map(Arc::clone));
    }
    drawn
}
