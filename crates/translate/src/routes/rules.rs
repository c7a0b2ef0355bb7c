//! The rules of virtual services, as a class at a site gets them.
//!
//! What depends on the dialled port, the gateway and the client's namespace is decided
//! here; what depends on its labels is a condition that the proxy decides, so that clients
//! with other labels share their rules. At a gateway, which shares nothing, labels are
//! decided here, too: what is joined there depends on which rules there are. A rule that
//! cannot be honoured stays, closed: it answers 500.

pub(crate) mod alternatives;
pub(crate) mod changes;
pub(crate) mod conditions;
pub(crate) mod faults;
pub(crate) mod mirrors;
pub(crate) mod patterns;
pub(crate) mod retries;
pub(crate) mod targets;

use std::collections::{BTreeMap, BTreeSet};

use weft_api::{
    selector::selects,
    span,
    virtual_service::{HttpMatch, HttpRoute, VirtualService, Written},
};
use weft_config::{Action, Conditions, Origin, Retries, Rule, SourceMatch};

use crate::{
    Group,
    clusters::backends::BackendRef,
    graph::view::View,
    model::{hosts, mesh_config::Mesh},
    routes::{
        delegates::{Merged, Source},
        rules::{
            alternatives::HttpAlternative,
            targets::{Beyond, Decided, Ports},
        },
        virtual_services::{self, MESH},
    },
};

/// Where rules are used.
pub(crate) struct Site<'a> {
    /// By whom.
    pub(crate) group: &'a Group,
    /// On which gateway, by namespace and name; none in the mesh.
    pub(crate) gateway: Option<(&'a str, &'a str)>,
    /// On which port: the one that the client dialled, or the Gateway's.
    pub(crate) port: u16,
}

/// The details of rules of an object that is closed as a whole.
const UNREADABLE: &str = "unreadable_object";

/// The details of rules that are closed because there would be too many of them.
pub(crate) const TOO_MANY_RULES: &str = "too_many_rules";

/// The details of hosts that are closed because they would be there on too many ports.
pub(crate) const TOO_MANY_PORTS: &str = "too_many_ports";

/// Why a rule is closed: the field in the rule, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidRule {
    pub(crate) field: String,
    pub(crate) details: &'static str,
    pub(crate) message: String,
}

impl InvalidRule {
    /// `field` of a rule is the matter.
    pub(crate) fn new(
        field: impl Into<String>,
        details: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), details, message: message.into() }
    }

    /// The whole object is closed, since its `field` cannot be read.
    fn object(field: &str) -> Self {
        let message = "cannot be read, and with it where the rules are for; they answer 500";
        Self::new(field, UNREADABLE, message)
    }

    /// The stand-in for what the rule would have done.
    fn action(&self) -> Action {
        Action::respond(500, self.details)
    }
}

/// Rules, and the backends that they send requests to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Whether the last one takes every request, in Istio's sense.
    pub(crate) takes_all: bool,
    pub(crate) backends: BTreeSet<BackendRef>,
}

impl Rules {
    /// Whether there is no rule.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Whether some of `rules` is for clients with whatever labels.
pub(crate) fn serve_everyone(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| rule.conditions.source.is_any())
}

/// What ends `rules` that are not for everyone: clients with the labels of one of them get 404
/// where none of theirs holds, as if nothing came after.
pub(crate) fn endings(rules: &[Rule]) -> Vec<Rule> {
    let mut ended = BTreeMap::new();
    for rule in rules {
        let source = rule.conditions.source.clone();
        let only = Conditions { source: source.clone(), ..Conditions::default() };
        let ends = rule.conditions == only;
        let (all, _) = ended.entry(source.labels).or_insert((false, &rule.origin.object));
        *all |= ends;
    }
    let endings = ended.into_iter().filter(|(_, (all, _))| !all).map(|(labels, (_, object))| {
        let source = SourceMatch { labels, namespace: None };
        let action = Action::respond(404, "route_not_found");
        Rule {
            conditions: Conditions { source, ..Conditions::default() },
            ..Rule::always(action, Origin::new(object.clone(), ""))
        }
    });
    endings.collect()
}

/// The rules that `service` gives at `site`, in order, up to the first that takes
/// every request; none when nothing in it is for there.
pub(crate) fn http(
    service: &VirtualService,
    site: &Site<'_>,
    mesh: &Mesh,
    view: &View<'_>,
) -> Rules {
    let mut found = Rules::default();
    let Some(summary) = virtual_services::summary_of(service, view) else { return found };
    let merged = summary.has_delegates.then(|| view.merged(&summary.key)).flatten();
    let service = merged.as_ref().map_or(service, |merged| &merged.service);
    let alternatives: Box<dyn Iterator<Item = HttpAlternative>> = match site.gateway {
        None => Box::new(summary.for_requests.at(site.port, &site.group.namespace).copied()),
        Some(_) => Box::new(at_gateway(service, &summary.http_beyond, site)),
    };
    // What the rule of the alternative before does.
    let mut of_rule: Option<(usize, Result<Decided, InvalidRule>)> = None;
    for HttpAlternative { rule: at, nth } in alternatives {
        let Some(written) = service.spec.http.get(at) else { continue };
        if summary.http_beyond.patterns.contains(&at) {
            // What it is for is not known, so it is for everything.
            let origin = origin(service, merged.as_deref(), at, None);
            found.rules.push(Rule::always(targets::too_many_patterns().action(), origin));
            continue;
        }
        let is_beyond = summary.http_beyond.bound.contains(&at);
        let known = of_rule.take().filter(|(rule, _)| *rule == at);
        let source = merged.as_ref().and_then(|merged| merged.sources.get(at));
        let decided = || match (service.spec.closed.first(), source) {
            (Some(field), _) => Err(InvalidRule::object(field)),
            (None, Some(Source { closed: Some(closed), .. })) => Err(closed.clone()),
            _ if is_beyond => Err(targets::too_many()),
            _ => {
                let namespace = &source.map_or(&*summary.key, |source| &source.object).namespace;
                targets::decided(written, namespace, Ports::of_site(site), view)
            }
        };
        let (_, decided) = &*of_rule.insert(known.unwrap_or_else(|| (at, decided())));
        let alternative = nth.and_then(|nth| written.matches.get(nth));
        let (mut conditions, unreadable) = conditions::read(alternative);
        if site.group.labels.is_some() {
            // They hold: see `applies`.
            conditions.source = SourceMatch::default();
        }
        let decided = match (decided, unreadable.first()) {
            (_, Some(closed)) | (Err(closed), None) => Decided::answer(closed.action()),
            (Ok(decided), None) => decided.clone(),
        };
        let Decided { action, changes, cors, fault, mirrors, backends } = decided;
        found.backends.extend(backends);
        let forwards = matches!(action, Action::Forward(_));
        found.takes_all = unreadable.is_empty() && takes_all(&conditions);
        found.rules.push(Rule {
            // What is said too often is not said.
            name: name(written, alternative).filter(|_| !is_beyond),
            conditions,
            action,
            timeout: timeout(written).filter(|_| forwards),
            retries: retries(written, mesh).filter(|_| forwards),
            changes,
            cors,
            fault,
            mirrors,
            origin: origin(service, merged.as_deref(), at, nth),
        });
        // What comes after is never used, and must not be where rules of
        // several virtual services are joined.
        if found.takes_all {
            break;
        }
    }
    found
}

/// Where alternative `nth` of rule `at` of `service` is written: in a delegate, if it is from there.
fn origin(
    service: &VirtualService,
    merged: Option<&Merged>,
    at: usize,
    nth: Option<usize>,
) -> Origin {
    if let Some(Written { object, field }) =
        service.spec.http.get(at).and_then(|rule| rule.written.as_ref())
    {
        return Origin::new(object.to_string(), field.clone());
    }
    let (object, rule, nth) = match merged.and_then(|merged| merged.sources.get(at)) {
        Some(source) => {
            let nth = nth.and_then(|nth| source.alternatives.get(nth).copied().flatten());
            (source.object.to_string(), source.rule, nth)
        }
        None => (self::object(service), at, nth),
    };
    let nth = nth.map_or(String::new(), |nth| format!(".match[{nth}]"));
    Origin::new(object, format!("http[{rule}]{nth}"))
}

/// The alternatives of the rules of `service` that hold at `site`, which is at a gateway.
fn at_gateway(
    service: &VirtualService,
    beyond: &Beyond,
    site: &Site<'_>,
) -> impl Iterator<Item = HttpAlternative> {
    let namespace = service.metadata.namespace.as_str();
    service.spec.http.iter().enumerate().flat_map(move |(rule, written)| {
        let is_whole = written.matches.is_empty() || beyond.patterns.contains(&rule);
        let read = if is_whole { &[][..] } else { &written.matches[..] };
        let own = read.iter().enumerate().filter(move |(_, one)| applies(one, namespace, site));
        let own = own.map(move |(nth, _)| HttpAlternative { rule, nth: Some(nth) });
        is_whole.then_some(HttpAlternative { rule, nth: None }).into_iter().chain(own)
    })
}

/// How many things the HTTP rules of `service` name that [`http`] reads for each site.
pub(crate) fn named(service: &VirtualService) -> usize {
    let of_match = |one: &HttpMatch| 1 + one.gateways.len() + one.source_labels.len();
    let of_rule = |rule: &HttpRoute| {
        let destinations = rule.route.len() + mirrors::count(rule);
        1 + destinations + rule.matches.iter().map(of_match).sum::<usize>()
    };
    service.spec.http.iter().map(of_rule).sum()
}

/// The size of a rule's JSON, in bytes.
pub(crate) fn size_of(rule: &Rule) -> usize {
    serde_json::to_vec(rule).map_or(0, |text| text.len())
}

/// The object's name in origins.
pub(crate) fn object(service: &VirtualService) -> String {
    format!("VirtualService/{}/{}", service.metadata.namespace, service.metadata.name)
}

/// Whether the conditions that the control plane decides hold at `site`.
pub(crate) fn applies(one: &HttpMatch, namespace: &str, site: &Site<'_>) -> bool {
    let namespace_of_client = &site.group.namespace;
    one.port.is_none_or(|port| port == site.port)
        && one.source_namespace.as_ref().is_none_or(|wanted| wanted == namespace_of_client)
        && site.group.labels.as_ref().is_none_or(|own| selects(&one.source_labels, own))
        && for_gateway(&one.gateways, namespace, site)
}

/// Whether `names`, written in an object of `namespace`, are for the gateway of
/// `site`; all are when there are none.
pub(crate) fn for_gateway(names: &[String], namespace: &str, site: &Site<'_>) -> bool {
    names.is_empty()
        || names.iter().any(|name| match site.gateway {
            None => name == MESH,
            Some(own) => name != MESH && hosts::gateway(name, namespace) == own,
        })
}

/// Whether a rule takes every request, in Istio's sense: such rules go to the end
/// when virtual services are joined.
pub(crate) fn takes_all(conditions: &Conditions) -> bool {
    use weft_config::TextMatch::{Prefix, Regex};
    let path = match &conditions.path {
        None => true,
        Some(Prefix(prefix)) => prefix == "/",
        Some(Regex(pattern)) => pattern == ".*",
        Some(_) => false,
    };
    path && Conditions { path: None, ignore_path_case: false, ..conditions.clone() }
        == Conditions::default()
}

fn name(written: &HttpRoute, alternative: Option<&HttpMatch>) -> Option<String> {
    let of_match = alternative.and_then(|one| one.name.as_deref()).filter(|name| !name.is_empty());
    let of_rule = written.name.as_deref().filter(|name| !name.is_empty());
    match (of_rule, of_match) {
        (Some(rule), Some(one)) => Some(format!("{rule}.{one}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

fn timeout(written: &HttpRoute) -> Option<std::time::Duration> {
    span::parse(written.timeout.as_deref()?).ok().filter(|timeout| !timeout.is_zero())
}

fn retries(written: &HttpRoute, mesh: &Mesh) -> Option<Retries> {
    match &written.retries {
        Some(written) => retries::of_rule(written, mesh.timeouts()).0,
        None => mesh.retries.clone(),
    }
}
