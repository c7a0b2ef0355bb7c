//! Compiled routes and rules.

use std::sync::Arc;

use weft_balance::Weights;
use weft_config::{Action, Retries, Route, Rule, text_match::NotAPattern};

use crate::{
    candidates::Candidates,
    conditions::{self, Check, Request},
    record::{Record, Verdict, tell},
};

/// Up to this many rules are looked at one after the other.
const SCANNED: usize = 16;

/// A route, ready to be asked.
#[derive(Debug)]
pub struct CompiledRoute {
    /// What it was compiled from.
    pub data: Arc<Route>,
    rules: Vec<Arc<CompiledRule>>,
    candidates: Option<Candidates>,
}

/// A rule, ready to be asked.
#[derive(Debug)]
pub struct CompiledRule {
    /// What it was compiled from.
    pub data: Rule,
    /// Its name, for access logs.
    pub name: Option<Arc<str>>,
    /// Names of the backends, in the order of the targets.
    pub(crate) backends: Vec<Arc<str>>,
    pub(crate) weights: Weights,
    checks: Vec<Check>,
}

impl CompiledRoute {
    /// Compiles a route; rules that are as in `previous` are carried over.
    pub(crate) fn new(route: Route, previous: Option<&Self>) -> Result<Self, NotAPattern> {
        let rules = route
            .rules
            .iter()
            .enumerate()
            .map(|(rank, rule)| {
                let known = previous.and_then(|previous| previous.rules.get(rank));
                match known.filter(|known| known.data == *rule) {
                    Some(known) => Ok(Arc::clone(known)),
                    None => CompiledRule::new(rule.clone()).map(Arc::new),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let candidates = (rules.len() > SCANNED)
            .then(|| Candidates::new(route.rules.iter().map(|rule| &rule.conditions)));
        Ok(Self { data: Arc::new(route), rules, candidates })
    }

    /// The first rule whose conditions hold.
    pub(crate) fn choose<R: Record>(
        &self,
        request: &Request<'_>,
        record: &mut R,
    ) -> Option<&Arc<CompiledRule>> {
        let chosen = match &self.candidates {
            None => self.rules.iter().position(|rule| rule.holds(request)),
            Some(candidates) => candidates
                .of(request.path())
                .find(|rank| self.rules.get(*rank).is_some_and(|rule| rule.holds(request))),
        };
        if R::LISTENS {
            self.tell_of_rules(chosen, request, record);
        }
        self.rules.get(chosen?)
    }

    /// Says of every rule what came of it.
    fn tell_of_rules<R: Record>(
        &self,
        chosen: Option<usize>,
        request: &Request<'_>,
        record: &mut R,
    ) {
        for (rank, rule) in self.rules.iter().enumerate() {
            let failed = rule.checks.iter().find(|check| !check.holds(request));
            let verdict = match (failed, chosen) {
                _ if chosen == Some(rank) => Verdict::Matched,
                (None, Some(_)) => Verdict::Overridden,
                (Some(_), Some(chosen)) if rank > chosen => Verdict::NotReached,
                _ => Verdict::NotMatched,
            };
            tell(record, &rule.data.origin, verdict, || match failed {
                Some(check) => check.explain(request),
                None if verdict == Verdict::Overridden => "a rule before it matched".to_owned(),
                None => rule.reasons(request),
            });
        }
    }
}

impl CompiledRule {
    pub(crate) fn new(rule: Rule) -> Result<Self, NotAPattern> {
        let (backends, weights) = match &rule.action {
            Action::Forward(targets) => targets
                .iter()
                .map(|target| (Arc::from(target.backend.as_str()), target.weight))
                .unzip(),
            Action::Respond { .. } | Action::Passthrough => (Vec::new(), Vec::new()),
        };
        Ok(Self {
            name: rule.name.as_deref().map(Arc::from),
            backends,
            weights: Weights::new(&weights),
            checks: conditions::compile(&rule.conditions)?,
            data: rule,
        })
    }

    /// The rule of traffic that leaves the mesh as it is.
    pub(crate) fn passthrough() -> Self {
        Self {
            data: Rule {
                name: Some("allow_any".to_owned()),
                conditions: Default::default(),
                action: Action::Passthrough,
                timeout: None,
                retries: None,
                origin: crate::connection::outside_origin(),
            },
            name: Some(Arc::from("allow_any")),
            backends: Vec::new(),
            weights: Weights::new(&[]),
            checks: Vec::new(),
        }
    }

    /// When a request of this rule is tried again; never when absent.
    pub fn retries(&self) -> Option<&Retries> {
        self.data.retries.as_ref()
    }

    fn holds(&self, request: &Request<'_>) -> bool {
        self.checks.iter().all(|check| check.holds(request))
    }

    fn reasons(&self, request: &Request<'_>) -> String {
        match self.checks.is_empty() {
            true => "no conditions".to_owned(),
            false => self
                .checks
                .iter()
                .map(|check| check.explain(request))
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}
