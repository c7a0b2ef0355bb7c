//! Which alternatives of a virtual service's rules are for sidecars, by port and by the namespace
//! of the client: found once for all ports, so that each port reads only its own.

use std::collections::BTreeMap;

use ipnet::IpNet;
use weft_api::virtual_service::{ConnectionMatch, ConnectionRoute, HttpMatch, VirtualService};
use weft_config::{HelloMatch, Host, SourceMatch};

use crate::routes::{
    foreign::RuleKind,
    rules::{
        self, InvalidRule, conditions,
        targets::{self, Beyond, RuleSize},
    },
    virtual_services::MESH,
};

/// Bytes of a rule besides what is written and the name of its object, about.
const RULE: usize = 128;

/// Alternatives for sidecars, in the order of their rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alternatives<T> {
    all: Vec<T>,
    /// Indexes, by the port and the namespace that must be the client's.
    by_client: BTreeMap<(Option<u16>, Option<String>), Vec<usize>>,
    /// Bytes of the rules that every port has, by the namespace that must be the client's.
    repeated: BTreeMap<Option<String>, usize>,
}

/// Where an alternative is used.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    port: Option<u16>,
    source_namespace: Option<&'a String>,
    gateways: &'a [String],
}

impl<'a> From<&'a HttpMatch> for Place<'a> {
    fn from(one: &'a HttpMatch) -> Self {
        let source_namespace = one.source_namespace.as_ref();
        Self { port: one.port, source_namespace, gateways: &one.gateways }
    }
}

impl<'a> From<&'a ConnectionMatch> for Place<'a> {
    fn from(one: &'a ConnectionMatch) -> Self {
        let source_namespace = one.source_namespace.as_ref();
        Self { port: one.port, source_namespace, gateways: &one.gateways }
    }
}

/// An alternative of a rule for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpAlternative {
    /// The index of its rule.
    pub(crate) rule: usize,
    /// Its own; none where the rule has no alternatives, or these are not looked at.
    pub(crate) nth: Option<usize>,
}

/// An alternative of a rule for connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConnectionAlternative {
    /// The index of its rule.
    pub(crate) rule: usize,
    /// For which clients.
    pub(crate) source: SourceMatch,
    /// What must hold of the connection; it is closed where that cannot be read.
    pub(crate) condition: Result<ConnectionCondition, InvalidRule>,
    /// Whether it has no condition that is not honoured yet.
    pub(crate) is_decided: bool,
}

/// What must hold of a connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConnectionCondition {
    /// What the client says first.
    pub(crate) hello: Option<HelloMatch>,
    /// What the client dialled.
    pub(crate) destinations: Vec<IpNet>,
}

impl ConnectionCondition {
    /// Whether it always holds.
    pub(crate) fn is_any(&self) -> bool {
        self.hello.is_none() && self.destinations.is_empty()
    }
}

impl<T> Default for Alternatives<T> {
    fn default() -> Self {
        let (by_client, repeated) = (BTreeMap::new(), BTreeMap::new());
        Self { all: Vec::new(), by_client, repeated }
    }
}

impl<T> Alternatives<T> {
    /// Adds one that takes `bytes` where it is served, if sidecars may use it; `conditions` say
    /// when.
    fn push(&mut self, alternative: T, place: Option<Place<'_>>, bytes: usize) {
        let Place { port, source_namespace, gateways } = place.unwrap_or_default();
        if !gateways.is_empty() && !gateways.iter().any(|name| name == MESH) {
            return;
        }
        if port.is_none() {
            let sum = self.repeated.entry(source_namespace.cloned()).or_default();
            *sum = sum.saturating_add(bytes);
        }
        let key = (port, source_namespace.cloned());
        self.by_client.entry(key).or_default().push(self.all.len());
        self.all.push(alternative);
    }

    /// Those that clients in `namespace` use that dial `port`, in order.
    pub(crate) fn at(&self, port: u16, namespace: &str) -> impl Iterator<Item = &T> {
        let namespaces = [None, Some(namespace.to_owned())];
        let keys = namespaces.into_iter().flat_map(|one| [(None, one.clone()), (Some(port), one)]);
        let lists = keys.filter_map(|key| self.by_client.get(&key));
        let mut left: Vec<&[usize]> = lists.map(Vec::as_slice).collect();
        std::iter::from_fn(move || {
            let rest = left.iter_mut().filter(|rest| !rest.is_empty());
            let next = rest.min_by_key(|rest| rest.first().copied())?;
            let (first, rest) = next.split_first()?;
            *next = rest;
            self.all.get(*first)
        })
    }

    /// Bytes that each port repeats for clients in `namespace`, about.
    pub(crate) fn repeated(&self, namespace: &str) -> usize {
        let of = |namespace| self.repeated.get(&namespace).copied().unwrap_or_default();
        of(None).saturating_add(of(Some(namespace.to_owned())))
    }
}

/// The alternatives of the HTTP rules of `service`, whose sizes are `sizes`.
pub(crate) fn of_http(
    service: &VirtualService,
    sizes: &[RuleSize],
    beyond: &Beyond,
) -> Alternatives<HttpAlternative> {
    let mut found = Alternatives::default();
    let overhead = RULE + rules::object(service).len();
    for (rule, (written, size)) in service.spec.http.iter().zip(sizes).enumerate() {
        let is_unread = beyond.patterns.contains(&rule);
        let once = if is_unread || beyond.bound.contains(&rule) { 0 } else { size.once() };
        if is_unread || written.matches.is_empty() {
            found.push(HttpAlternative { rule, nth: None }, None, once + overhead);
            continue;
        }
        for (nth, one) in written.matches.iter().enumerate() {
            let bytes = targets::size(one) + once + overhead;
            found.push(HttpAlternative { rule, nth: Some(nth) }, Some(one.into()), bytes);
        }
    }
    found
}

/// The alternatives of `rules`, which are for connections and of the object called `object`; their
/// sizes are `sizes`.
pub(crate) fn of_connections(
    (rules, kind): (&[ConnectionRoute], RuleKind),
    object: &str,
    sizes: &[RuleSize],
    beyond: &Beyond,
) -> Alternatives<ConnectionAlternative> {
    let mut found = Alternatives::default();
    let overhead = RULE + object.len();
    for (rule, (written, size)) in rules.iter().zip(sizes).enumerate() {
        let once = if beyond.bound.contains(&rule) { 0 } else { size.once() };
        if written.matches.is_empty() {
            let condition = match kind {
                RuleKind::Tls => Err(no_name("match".to_owned())),
                RuleKind::Http | RuleKind::Tcp => Ok(ConnectionCondition::default()),
            };
            let whole = ConnectionAlternative {
                rule,
                source: SourceMatch::default(),
                condition,
                is_decided: true,
            };
            found.push(whole, None, once + overhead);
        }
        for (nth, one) in written.matches.iter().enumerate() {
            let bytes = targets::size(one) + once + overhead;
            let source = conditions::source(&one.source_labels);
            let condition = connection_condition(one, nth, kind);
            let is_decided = one.source_subnet.is_none();
            let alternative = ConnectionAlternative { rule, source, condition, is_decided };
            found.push(alternative, Some(one.into()), bytes);
        }
    }
    found
}

/// What `one`, alternative `nth` of a rule, asks of connections.
pub(crate) fn connection_condition(
    one: &ConnectionMatch,
    nth: usize,
    kind: RuleKind,
) -> Result<ConnectionCondition, InvalidRule> {
    let bad = |field: &str, text: &str, what: &str| {
        let message = format!("`{text}` is not {what}; {CLOSED}");
        InvalidRule::new(format!("match[{nth}].{field}"), "invalid_match", message)
    };
    let destinations = one.destination_subnets.iter().map(|text| {
        let range = weft_api::subnet(text).ok();
        let range = range.and_then(|(ip, length)| IpNet::new(ip, length).ok());
        range.ok_or_else(|| bad("destinationSubnets", text, "a range of addresses"))
    });
    let destinations = destinations.collect::<Result<_, _>>()?;
    let names = one.sni_hosts.iter();
    let names = names.map(|text| Host::parse(text).map_err(|_| bad("sniHosts", text, "a host")));
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    let hello = match kind {
        RuleKind::Tls if names.is_empty() => {
            return Err(no_name(format!("match[{nth}].sniHosts")));
        }
        RuleKind::Tls => Some(HelloMatch { names, protocols: Vec::new() }),
        RuleKind::Http | RuleKind::Tcp => None,
    };
    Ok(ConnectionCondition { hello, destinations })
}

/// What becomes of a list of rules of which one cannot be read.
const CLOSED: &str = "which connections the rule is for is not known, so that all that the list \
                      may be for are closed";

/// That a rule for TLS names no server.
fn no_name(field: String) -> InvalidRule {
    let message = format!("names no host: {CLOSED}; write `sniHosts`");
    InvalidRule::new(field, "invalid_match", message)
}

/// Whether one of `rules`, which are for TCP, holds for every connection of every client.
pub(crate) fn relay_everything(rules: &[ConnectionRoute]) -> bool {
    let everyone = |one: &ConnectionMatch| {
        one.port.is_none()
            && one.source_labels.is_empty()
            && one.source_namespace.is_none()
            && one.destination_subnets.is_empty()
            && (one.gateways.is_empty() || one.gateways.iter().any(|name| name == MESH))
    };
    rules.iter().any(|rule| rule.matches.is_empty() || rule.matches.iter().any(everyone))
}

/// Whether `one` holds for some connections of every client on every port.
pub(crate) fn holds_for_everyone(one: &HttpMatch) -> bool {
    one.port.is_none()
        && one.source_labels.is_empty()
        && one.source_namespace.is_none()
        && (one.gateways.is_empty() || one.gateways.iter().any(|name| name == MESH))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn all(matches: Value) -> Alternatives<usize> {
        let matches: Vec<HttpMatch> = serde_json::from_value(matches).expect("matches");
        let mut found = Alternatives::default();
        for (at, one) in matches.iter().enumerate() {
            found.push(at, Some(one.into()), 10);
        }
        found
    }

    #[test]
    fn a_port_reads_what_is_for_it_in_order() {
        let found = all(json!([
            {"port": 81}, {}, {"sourceNamespace": "shop"}, {"port": 80, "sourceNamespace": "shop"},
            {"port": 80}, {"gateways": ["x"]}, {"gateways": ["x", "mesh"]}, {"port": 80},
            {"sourceNamespace": "other"},
        ]));
        let at = |port, namespace| found.at(port, namespace).copied().collect::<Vec<_>>();
        // What is for gateways is not there, so the rest moved.
        assert_eq!(at(80, "shop"), [1, 2, 3, 4, 6, 7]);
        assert_eq!(at(81, "other"), [0, 1, 6, 8]);
        assert_eq!(at(82, "third"), [1, 6]);
        assert_eq!((found.repeated("shop"), found.repeated("third")), (30, 20));
    }
}
