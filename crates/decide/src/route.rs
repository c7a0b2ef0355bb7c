//! Compiled routes and rules.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

use weft_balance::{Register, Turn, Weights};
use weft_config::{Action, Origin, Retries, Route, Rule, text_match::NotAPattern};

use crate::{
    candidates::Candidates,
    conditions::{self, Check, Facts},
    quick::Quick,
    record::{Record, Verdict, tell},
};

/// Up to this many rules are looked at one after the other.
const SCANNED: usize = 16;

/// What is said of a rule that takes every request.
pub const NO_CONDITIONS: &str = "no conditions";

/// A route, ready to be asked.
#[derive(Debug)]
pub struct CompiledRoute {
    /// What it was compiled from.
    pub data: Arc<Route>,
    /// Where it comes from.
    pub(crate) origin: Arc<Origin>,
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
    /// Where it comes from.
    pub(crate) origin: Arc<Origin>,
    weights: Weights,
    turn: Arc<Turn>,
    checks: Arc<[Check]>,
    content: u64,
}

impl CompiledRoute {
    /// Compiles a route. Rules that are as in `previous` are carried over, wherever in
    /// the order they stand; of those that only moved, the conditions are.
    pub(crate) fn new(
        route: Route,
        register: &Register,
        previous: Option<&Self>,
    ) -> Result<Self, NotAPattern> {
        let known: HashMap<u64, &Arc<CompiledRule>> = previous
            .iter()
            .flat_map(|previous| &previous.rules)
            .map(|rule| (rule.content, rule))
            .collect();
        let rules = route
            .rules
            .iter()
            .map(|rule| {
                let content = content(rule);
                match known.get(&content) {
                    Some(known) if known.data == *rule => Ok(Arc::clone(known)),
                    known => {
                        let turn = register.turn(&route.name, content);
                        let known = known.map(|known| &***known);
                        CompiledRule::new(rule.clone(), turn, known).map(Arc::new)
                    }
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let candidates = (rules.len() > SCANNED)
            .then(|| Candidates::new(route.rules.iter().map(|rule| &rule.conditions)));
        let origin = Arc::new(route.origin.clone());
        Ok(Self { data: Arc::new(route), origin, rules, candidates })
    }

    /// The first rule whose conditions hold.
    pub(crate) fn choose<R: Record>(
        &self,
        facts: &Facts<'_>,
        record: &mut R,
    ) -> Option<&Arc<CompiledRule>> {
        let chosen = match &self.candidates {
            None => self.rules.iter().position(|rule| rule.holds(facts)),
            Some(candidates) => candidates
                .of(facts.request.path())
                .find(|rank| self.rules.get(*rank).is_some_and(|rule| rule.holds(facts))),
        };
        if R::LISTENS {
            self.tell_of_rules(chosen, facts, record);
        }
        self.rules.get(chosen?)
    }

    /// Says of every rule what came of it.
    fn tell_of_rules<R: Record>(&self, chosen: Option<usize>, facts: &Facts<'_>, record: &mut R) {
        for (rank, rule) in self.rules.iter().enumerate() {
            let failed = rule.checks.iter().find(|check| !check.holds(facts));
            let verdict = match (failed, chosen) {
                _ if chosen == Some(rank) => Verdict::Matched,
                (None, Some(_)) => Verdict::Overridden,
                (Some(_), Some(chosen)) if rank > chosen => Verdict::NotReached,
                _ => Verdict::NotMatched,
            };
            tell(record, &rule.data.origin, verdict, || match failed {
                Some(check) => check.explain(facts),
                None if verdict == Verdict::Overridden => "a rule before it matched".to_owned(),
                None => rule.reasons(facts),
            });
        }
    }
}

impl CompiledRule {
    fn new(rule: Rule, turn: Arc<Turn>, previous: Option<&Self>) -> Result<Self, NotAPattern> {
        let (backends, weights) = match &rule.action {
            Action::Forward(targets) => targets
                .iter()
                .map(|target| (Arc::from(target.backend.as_str()), target.weight))
                .unzip(),
            Action::Respond { .. } | Action::Passthrough => (Vec::new(), Vec::new()),
        };
        let same = |known: &&Self| known.data.conditions == rule.conditions;
        let checks = match previous.filter(same) {
            Some(known) => Arc::clone(&known.checks),
            None => conditions::compile(&rule.conditions)?.into(),
        };
        Ok(Self {
            name: rule.name.as_deref().map(Arc::from),
            backends,
            origin: Arc::new(rule.origin.clone()),
            weights: Weights::new(&weights),
            turn,
            checks,
            content: content(&rule),
            data: rule,
        })
    }

    /// The rule of traffic that leaves the mesh as it is.
    pub(crate) fn passthrough() -> Self {
        let rule = Rule {
            name: Some("allow_any".to_owned()),
            ..Rule::always(Action::Passthrough, crate::connection::outside_origin())
        };
        Self::new(rule, Arc::default(), None).expect("a rule without conditions compiles")
    }

    /// Which of its targets is next; none when there are several and all weigh nothing.
    pub(crate) fn pick(&self, rng: &mut weft_balance::Rng) -> Option<usize> {
        self.weights.pick(&self.turn, rng)
    }

    /// When a request of this rule is tried again; never when absent.
    pub fn retries(&self) -> Option<&Retries> {
        self.data.retries.as_ref()
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        self.checks.iter().all(|check| check.holds(facts))
    }

    fn reasons(&self, facts: &Facts<'_>) -> String {
        match self.checks.is_empty() {
            true => NO_CONDITIONS.to_owned(),
            false => {
                self.checks.iter().map(|check| check.explain(facts)).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// What tells a rule from others, whatever its place and origin.
fn content(rule: &Rule) -> u64 {
    let mut hasher = Quick::default().build_hasher();
    rule.conditions.hash(&mut hasher);
    rule.action.hash(&mut hasher);
    hasher.finish()
}
