//! What a rule does: where it sends requests.

use std::collections::BTreeSet;

use serde::Serialize;
use weft_api::virtual_service::{
    ConnectionRoute, Destination, HttpRoute, PortSelector, VirtualService,
};
use weft_config::{Action, Changes, Cors, Fault, Mirror, Target};

use crate::{
    clusters::backends::{self, BackendRef},
    graph::view::View,
    model::sight::{self, Sight},
    routes::rules::{InvalidRule, Site, changes, faults, mirrors, patterns},
};

/// The details of a rule that sends requests nowhere.
pub(crate) const NO_DESTINATION: &str = "no_destination";

/// The details of a rule whose delegate cannot be used.
pub(crate) const INVALID_DELEGATE: &str = "invalid_delegate";

/// Pairs of an alternative and a destination that the rules of a virtual service may have, since
/// each alternative repeats the destinations: so many, and [`TIMES`] times what there is of both
/// without being paired.
const PAIRS: usize = 16_384;
/// Bytes that the rules of a virtual service may have, of which each alternative repeats what its
/// rule says besides: so many, and [`TIMES`] times what is written.
const BYTES: usize = 4 << 20;
/// What compiling the patterns of a virtual service may cost: see [`patterns::cost`]. So many take
/// about 100 ms.
const PATTERNS: usize = 2_000;
/// See [`PAIRS`] and [`BYTES`].
const TIMES: usize = 4;

/// Rules of a virtual service that are closed, by index, since they cost too much.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Beyond {
    /// Those that would repeat what they say too often.
    pub(crate) bound: BTreeSet<usize>,
    /// Those that are closed for every request, since compiling them would take too long.
    pub(crate) patterns: BTreeSet<usize>,
}

/// How much a rule names.
#[derive(Clone, Copy)]
pub(crate) struct RuleSize {
    alternatives: usize,
    destinations: usize,
    /// Of all that is written.
    bytes: usize,
    /// Of the alternatives.
    bytes_of_alternatives: usize,
}

impl RuleSize {
    /// Of each HTTP rule of `service`.
    pub(crate) fn of_http(service: &VirtualService) -> Vec<Self> {
        let rules = service.spec.http.iter();
        let named = |rule: &HttpRoute| rule.route.len() + mirrors::count(rule);
        rules.map(|rule| Self::of(rule, &rule.matches, named(rule))).collect()
    }

    /// Of each of `rules`, which are for connections.
    pub(crate) fn of_connections(rules: &[ConnectionRoute]) -> Vec<Self> {
        rules.iter().map(|rule| Self::of(rule, &rule.matches, rule.route.len())).collect()
    }

    fn of(rule: &impl Serialize, matches: &[impl Serialize], destinations: usize) -> Self {
        Self {
            alternatives: matches.len(),
            destinations,
            bytes: size(rule),
            bytes_of_alternatives: size(&matches),
        }
    }

    /// The bytes of all its alternatives, each with what the rule says besides.
    pub(crate) fn repeated(self) -> usize {
        let once = self.once().saturating_mul(self.alternatives.max(1));
        self.bytes_of_alternatives.saturating_add(once)
    }

    /// The bytes of what the rule says besides its alternatives.
    pub(crate) fn once(self) -> usize {
        self.bytes.saturating_sub(self.bytes_of_alternatives)
    }
}

/// The bytes of its JSON.
pub(crate) fn size(one: &impl Serialize) -> usize {
    serde_json::to_vec(one).map_or(0, |json| json.len())
}

/// Which HTTP rules of a virtual service are closed without looking at their conditions, since
/// its patterns up to them cost too much.
pub(crate) fn beyond_patterns(service: &VirtualService) -> BTreeSet<usize> {
    let mut left = PATTERNS;
    let closed = service.spec.http.iter().enumerate().filter(|(_, rule)| {
        // Each alternative repeats what its rule has besides.
        let besides: usize =
            changes::patterns(rule).map(patterns::cost_of).fold(0, usize::saturating_add);
        let besides = besides.saturating_mul(rule.matches.len().max(1));
        let of_matches: usize = rule.matches.iter().map(patterns::cost).sum();
        let after = left.checked_sub(of_matches.saturating_add(besides));
        left = after.unwrap_or(left);
        after.is_none()
    });
    closed.map(|(at, _)| at).collect()
}

/// Why such a rule is closed.
pub(crate) fn too_many_patterns() -> InvalidRule {
    let message = format!(
        "the regular expressions of the VirtualService's rules up to this one cost more than \
         {PATTERNS} to compile, where a short one costs 1, a repetition that is counted costs what \
         it repeats, one with classes of Unicode 51, and each of these 400 where case is ignored; \
         the rule answers 500 to every request, give it fewer or simpler ones"
    );
    InvalidRule::new("match", "too_many_patterns", message)
}

/// Which rules of a virtual service are closed, since they would repeat what they say too often.
pub(crate) fn beyond_bound(rules: &[RuleSize]) -> BTreeSet<usize> {
    let named: usize = rules.iter().map(|rule| rule.alternatives + rule.destinations).sum();
    let written: usize = rules.iter().map(|rule| rule.bytes).sum();
    let mut pairs = PAIRS + TIMES * named;
    let mut bytes = BYTES + TIMES * written;
    let closed = rules.iter().enumerate().filter(|(_, rule)| {
        let pairs_after = pairs.checked_sub(rule.alternatives.max(1) * rule.destinations);
        let bytes_after = bytes.checked_sub(rule.repeated());
        let (Some(pairs_after), Some(bytes_after)) = (pairs_after, bytes_after) else {
            return true;
        };
        (pairs, bytes) = (pairs_after, bytes_after);
        false
    });
    closed.map(|(at, _)| at).collect()
}

/// Why such a rule is closed.
pub(crate) fn too_many() -> InvalidRule {
    let message = format!(
        "each alternative repeats its rule's name, destinations and options: for the \
         VirtualService's rules up to this one that is more than {PAIRS} destinations and {TIMES} \
         times what they name, or more than {} MiB and {TIMES} times what is written; the rule is \
         closed, give it fewer alternatives or say less in it",
        BYTES >> 20
    );
    InvalidRule::new("match", "too_many_targets", message)
}

/// Which ports destinations mean, for those who look.
#[derive(Clone, Copy)]
pub(crate) struct Ports<'a> {
    /// That of a destination without one: the port that the client dialled, or the Gateway's.
    number: u16,
    /// Whether the service's only port comes before it.
    only: bool,
    sight: Sight<'a>,
}

impl<'a> Ports<'a> {
    /// Where no port is dialled, for clients of `namespace`.
    pub(crate) fn of_namespace(namespace: &'a str) -> Self {
        Self { number: 0, only: false, sight: Sight::of_namespace(namespace) }
    }

    /// At a gateway the service's only port is meant; in the mesh it is the port
    /// that the client dialled.
    pub(crate) fn of_site(site: &Site<'a>) -> Self {
        Self { number: site.port, only: site.gateway.is_some(), sight: Sight::of(site.group) }
    }
}

/// A destination with its share.
#[derive(Clone)]
pub(crate) struct Share {
    pub(crate) backend: BackendRef,
    weight: u32,
    changes: Option<Box<Changes>>,
}

/// What a rule does, whatever its conditions.
#[derive(Clone)]
pub(crate) struct Decided {
    pub(crate) action: Action,
    pub(crate) changes: Option<Box<Changes>>,
    pub(crate) cors: Option<Box<Cors>>,
    pub(crate) fault: Option<Box<Fault>>,
    pub(crate) mirrors: Vec<Mirror>,
    /// Where it sends requests, and copies of them.
    pub(crate) backends: Vec<BackendRef>,
}

impl Decided {
    /// Does `action`, and nothing besides.
    pub(crate) fn answer(action: Action) -> Self {
        let (mirrors, backends) = (Vec::new(), Vec::new());
        Self { action, changes: None, cors: None, fault: None, mirrors, backends }
    }
}

/// What `written`, in an object of `namespace`, does at a site with these `ports`; else why it
/// is closed.
pub(crate) fn decided(
    written: &HttpRoute,
    namespace: &str,
    ports: Ports<'_>,
    view: &View<'_>,
) -> Result<Decided, InvalidRule> {
    let changes = changes::of_rule(written)?;
    let (mut backends, mut mirrors) = (Vec::new(), Vec::new());
    let action = match (&written.redirect, &written.direct_response) {
        (Some(redirect), _) => changes::redirect(redirect, ports.number)?,
        (None, Some(direct)) => changes::respond(direct)?,
        (None, None) => {
            let shares = destinations(written, namespace, ports, view)?;
            let action = forward(&shares);
            backends.extend(shares.into_iter().map(|share| share.backend));
            let copies = mirrors::of_rule(written, namespace, ports, view);
            mirrors.extend(copies.iter().map(mirrors::Copies::mirror));
            backends.extend(copies.into_iter().map(|copies| copies.backend));
            action
        }
    };
    let (cors, fault) = (changes::cors(written)?, faults::of_rule(written)?);
    Ok(Decided { action, changes, cors, fault, mirrors, backends })
}

/// Where `written`, in an object of `namespace`, sends requests, with weights; else
/// why it is closed.
pub(crate) fn destinations(
    written: &HttpRoute,
    namespace: &str,
    ports: Ports<'_>,
    view: &View<'_>,
) -> Result<Vec<Share>, InvalidRule> {
    if written.delegate.is_some() {
        return Err(delegates_further());
    }
    let routes = &written.route;
    let destinations: Vec<(&Destination, Option<i64>)> =
        routes.iter().map(|one| (&one.destination, one.weight)).collect();
    let shares = shares(&destinations)?;
    let targets = shares.into_iter().map(|(at, destination, weight)| {
        let headers = routes.get(at).and_then(|route| route.headers.as_ref());
        let changes = changes::of_destination(headers, at)?;
        Ok(Share { backend: backend(destination, namespace, ports, view), weight, changes })
    });
    targets.collect()
}

/// Why a rule of a delegate that has a delegate itself is closed.
pub(crate) fn delegates_further() -> InvalidRule {
    let message = "is in an object without hosts, to which others delegate: its rules do not \
                   delegate further; the rule answers 500, give it a `route`";
    InvalidRule::new("delegate", INVALID_DELEGATE, message)
}

/// The action that sends requests to `shares`.
fn forward(shares: &[Share]) -> Action {
    let target = |Share { backend, weight, changes }: &Share| Target {
        changes: changes.clone(),
        ..Target::new(backend.name(), *weight)
    };
    Action::Forward(shares.iter().map(target).collect())
}

/// The destinations that get a share, each with its place: a single one gets all; among several, one
/// without a weight gets nothing.
pub(crate) fn shares<'a>(
    written: &[(&'a Destination, Option<i64>)],
) -> Result<Vec<(usize, &'a Destination, u32)>, InvalidRule> {
    if let [(destination, _)] = written {
        return Ok(vec![(0, *destination, 1)]);
    }
    let mut shares = Vec::new();
    for (at, (destination, weight)) in written.iter().enumerate() {
        let Ok(weight) = u32::try_from(weight.unwrap_or(0)) else {
            let message = "is out of range; the rule answers 500";
            return Err(InvalidRule::new(format!("route[{at}].weight"), "invalid_weight", message));
        };
        if weight > 0 {
            shares.push((at, *destination, weight));
        }
    }
    if shares.is_empty() {
        let message = match written.is_empty() {
            true => "has no destination; the rule answers 500",
            false => "has no destination with a weight above 0; the rule answers 500",
        };
        return Err(InvalidRule::new("route", NO_DESTINATION, message));
    }
    Ok(shares)
}

/// The backend that `destination`, in an object of `namespace`, means.
pub(crate) fn backend(
    destination: &Destination,
    namespace: &str,
    ports: Ports<'_>,
    view: &View<'_>,
) -> BackendRef {
    let host = backends::aliased(&view.installation().resolve(&destination.host, namespace), view);
    let port = match &destination.port {
        Some(port) if port.number != 0 => port.number,
        // One that is not there has no backend.
        Some(PortSelector { name: Some(name), .. }) => {
            named_port(&host, name, ports.sight, view).unwrap_or_default()
        }
        _ if ports.only => only_port(&host, ports.sight, view).unwrap_or(ports.number),
        _ => ports.number,
    };
    let subset = destination.subset.clone().filter(|subset| !subset.is_empty());
    BackendRef { host, port, subset }
}

/// The port of `host` that is called `name` for those who look.
pub(crate) fn named_port(host: &str, name: &str, sight: Sight<'_>, view: &View<'_>) -> Option<u16> {
    let definition = sight::definition(host, None, sight, view)?;
    definition.ports.iter().find(|port| port.name == name).map(|port| port.number)
}

fn only_port(host: &str, sight: Sight<'_>, view: &View<'_>) -> Option<u16> {
    match &sight::definition(host, None, sight, view)?.ports[..] {
        [only] => Some(only.number),
        _ => None,
    }
}
