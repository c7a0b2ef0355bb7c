//! Which alternatives of a virtual service's rules are for sidecars, by port and by the namespace
//! of the client: found once for all ports, so that each port reads only its own.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_api::virtual_service::{HttpMatch, VirtualService};
use weft_config::SourceMatch;

use crate::routes::{
    rules::{
        self, conditions,
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
    /// The list of its rule.
    pub(crate) list: ConnectionList,
    /// The index of its rule.
    pub(crate) rule: usize,
    /// For which clients.
    pub(crate) source: SourceMatch,
    /// Whether it holds for them for sure: it has no condition that is not honoured yet.
    pub(crate) is_decided: bool,
}

/// The lists of rules for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionList {
    /// `spec.tcp`.
    Tcp,
    /// `spec.tls`.
    Tls,
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
    fn push(&mut self, alternative: T, conditions: Option<&HttpMatch>, bytes: usize) {
        let any = HttpMatch::default();
        let HttpMatch { port, source_namespace, gateways, .. } = conditions.unwrap_or(&any);
        if !gateways.is_empty() && !gateways.iter().any(|name| name == MESH) {
            return;
        }
        if port.is_none() {
            let sum = self.repeated.entry(source_namespace.clone()).or_default();
            *sum = sum.saturating_add(bytes);
        }
        let key = (*port, source_namespace.clone());
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
            found.push(HttpAlternative { rule, nth: Some(nth) }, Some(one), bytes);
        }
    }
    found
}

/// Conditions that are decided here and by the proxy; they are spelled as those of HTTP rules.
const DECIDED: &[&str] = &["port", "sourceLabels", "sourceNamespace", "gateways"];

/// The alternatives of the rules of `service` for connections, whose sizes are `sizes`, and
/// whether one of these holds for some connections of every client on every port. Of the
/// alternatives of a rule, those of which it is not known whether they hold come first.
pub(crate) fn of_connections(
    service: &VirtualService,
    sizes: &[RuleSize],
    beyond: &Beyond,
) -> (Alternatives<ConnectionAlternative>, bool) {
    let mut found = Alternatives::default();
    let mut is_for_everyone = false;
    let overhead = RULE + rules::object(service).len();
    for (rule, (written, size)) in service.spec.tcp.iter().zip(sizes).enumerate() {
        let once = if beyond.bound.contains(&rule) { 0 } else { size.once() };
        let place = (ConnectionList::Tcp, rule);
        is_for_everyone |= found.extend(place, &written.matches, once + overhead);
    }
    // Server names are not looked at yet, so no rule for one can be said not to hold.
    for (rule, written) in service.spec.tls.iter().enumerate() {
        let matches = written.get("match").and_then(Value::as_array);
        let matches = matches.map_or(&[][..], Vec::as_slice);
        found.extend((ConnectionList::Tls, rule), matches, overhead);
    }
    (found, is_for_everyone)
}

impl Alternatives<ConnectionAlternative> {
    /// Adds those of one rule, each with `bytes` besides its own; returns whether one is for
    /// everyone.
    fn extend(
        &mut self,
        (list, rule): (ConnectionList, usize),
        matches: &[Value],
        bytes: usize,
    ) -> bool {
        let whole = |is_decided| {
            let source = SourceMatch::default();
            ConnectionAlternative { list, rule, source, is_decided }
        };
        if matches.is_empty() {
            self.push(whole(true), None, bytes);
            return true;
        }
        let mut read: Vec<_> = matches
            .iter()
            .map(|one| match serde_json::from_value::<HttpMatch>(one.clone()) {
                Ok(decided) => {
                    let source = conditions::source(&decided.source_labels);
                    let is_decided = has_only(one, DECIDED);
                    (one, ConnectionAlternative { source, ..whole(is_decided) }, Some(decided))
                }
                Err(_) => (one, whole(false), None),
            })
            .collect();
        read.sort_by_key(|(_, one, _)| one.is_decided);
        let mut is_for_everyone = false;
        for (written, one, decided) in read {
            is_for_everyone |= decided.as_ref().is_some_and(holds_for_everyone);
            self.push(one, decided.as_ref(), bytes + targets::size(written));
        }
        is_for_everyone
    }
}

/// Whether `one` holds for some connections of every client on every port.
pub(crate) fn holds_for_everyone(one: &HttpMatch) -> bool {
    one.port.is_none()
        && one.source_labels.is_empty()
        && one.source_namespace.is_none()
        && (one.gateways.is_empty() || one.gateways.iter().any(|name| name == MESH))
}

fn has_only(one: &Value, known: &[&str]) -> bool {
    one.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(matches: Value) -> Alternatives<usize> {
        let matches: Vec<HttpMatch> = serde_json::from_value(matches).expect("matches");
        let mut found = Alternatives::default();
        for (at, one) in matches.iter().enumerate() {
            found.push(at, Some(one), 10);
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
