//! Where copies of requests go.

use weft_api::virtual_service::{Destination, HttpRoute, Percent};
use weft_config::Mirror;

use crate::{
    clusters::backends::BackendRef,
    graph::view::View,
    routes::rules::{
        faults,
        targets::{self, Ports},
    },
};

/// The most copies of a request: each reads its body as well.
pub(crate) const MOST: usize = 8;

/// All requests.
const ALL: Percent = Percent { value: 100.0 };

/// A destination of copies, and of how many requests, in millionths.
#[derive(Clone)]
pub(crate) struct Copies {
    pub(crate) backend: BackendRef,
    share: u32,
}

impl Copies {
    /// As proxies run it.
    pub(crate) fn mirror(&self) -> Mirror {
        Mirror { backend: self.backend.name(), share: self.share }
    }
}

/// The destinations of copies that `written` names: the field of each, and of how many requests it
/// gets one. `mirrorPercentage` is for `mirror` alone.
pub(crate) fn written(
    written: &HttpRoute,
) -> impl Iterator<Item = (String, &Destination, Percent)> {
    let old = written.mirror_percent.map(|percent| Percent { value: percent as f64 });
    let percent = written.mirror_percentage.or(old).unwrap_or(ALL);
    let one = written.mirror.iter().map(move |one| ("mirror".to_owned(), one, percent));
    let several = written.mirrors.iter().enumerate().map(|(at, mirror)| {
        let field = format!("mirrors[{at}].destination");
        (field, &mirror.destination, mirror.percentage.unwrap_or(ALL))
    });
    one.chain(several)
}

/// How many destinations of copies `written` names.
pub(crate) fn count(written: &HttpRoute) -> usize {
    usize::from(written.mirror.is_some()) + written.mirrors.len()
}

/// Where copies of the requests of `written`, in an object of `namespace`, go: to the first
/// [`MOST`] that it names.
pub(crate) fn of_rule(
    written: &HttpRoute,
    namespace: &str,
    ports: Ports<'_>,
    view: &View<'_>,
) -> Vec<Copies> {
    let shares = self::written(written)
        .take(MOST)
        .map(|(_, destination, percent)| (destination, faults::share(Some(percent))));
    shares
        .filter(|(_, share)| *share > 0)
        .map(|(destination, share)| Copies {
            backend: targets::backend(destination, namespace, ports, view),
            share,
        })
        .collect()
}
