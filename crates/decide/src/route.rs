//! Compiled routes and rules.

mod rules;

use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

use weft_balance::{Register, Turn, Weights};
use weft_config::{
    Action, Origin, Retries, Route, Rule, Target, change::NotAChange, text_match::NotAPattern,
};

pub(crate) use self::rules::CompiledRules;
use crate::{
    change::{AnswerChanges, CompiledChanges, CompiledRedirect},
    conditions::{self, Check, Facts},
    cors::CompiledCors,
    quick::Quick,
    record::{Record, Verdict, tell},
    reply::{Reply, Text},
};

/// What is said of a rule that takes every request.
pub const NO_CONDITIONS: &str = "no conditions";

/// A rule that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// A condition cannot.
    #[error(transparent)]
    Condition(#[from] NotAPattern),
    /// A change cannot.
    #[error(transparent)]
    Change(#[from] NotAChange),
}

/// A route, ready to be asked.
#[derive(Debug)]
pub struct CompiledRoute {
    /// What it was compiled from.
    pub data: Arc<Route>,
    /// Where it comes from.
    pub(crate) origin: Arc<Origin>,
    /// The lists that it names, in order.
    lists: Vec<Arc<CompiledRules>>,
    own: Arc<CompiledRules>,
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
    /// What it changes.
    pub(crate) changes: Option<Arc<CompiledChanges>>,
    /// What its targets change, in their order; empty when none changes anything.
    pub(crate) target_changes: Vec<Option<CompiledChanges>>,
    /// What browsers are told.
    pub(crate) cors: Option<Arc<CompiledCors>>,
    /// Where it sends clients.
    pub(crate) redirect: Option<Arc<CompiledRedirect>>,
    /// What it answers.
    pub(crate) body: Text,
    /// Where it comes from.
    pub(crate) origin: Arc<Origin>,
    weights: Weights,
    turn: Arc<Turn>,
    checks: Arc<[Check]>,
    content: u64,
}

impl CompiledRoute {
    /// Compiles a route, without the lists that it names. Rules that are as in `previous` are
    /// carried over.
    pub(crate) fn new(
        route: Route,
        register: &Register,
        previous: Option<&Self>,
    ) -> Result<Self, BadRule> {
        let known = previous.map(|previous| &*previous.own);
        let own = Arc::new(CompiledRules::new(&route.name, &route.rules, register, known)?);
        let origin = Arc::new(route.origin.clone());
        Ok(Self { data: Arc::new(route), origin, lists: Vec::new(), own })
    }

    /// The same route, with the lists that it names.
    pub(crate) fn with_lists(&self, lists: Vec<Arc<CompiledRules>>) -> Self {
        let (data, origin) = (Arc::clone(&self.data), Arc::clone(&self.origin));
        Self { data, origin, lists, own: Arc::clone(&self.own) }
    }

    /// The first rule whose conditions hold.
    pub(crate) fn choose<R: Record>(
        &self,
        facts: &Facts<'_>,
        record: &mut R,
    ) -> Option<&Arc<CompiledRule>> {
        let chosen = self.all().find_map(|rules| rules.choose(facts));
        if R::LISTENS {
            self.tell_of_rules(chosen, facts, record);
        }
        chosen
    }

    fn all(&self) -> impl Iterator<Item = &CompiledRules> {
        self.lists.iter().chain([&self.own]).map(|rules| &**rules)
    }

    /// Says of every rule what came of it.
    fn tell_of_rules<R: Record>(
        &self,
        chosen: Option<&Arc<CompiledRule>>,
        facts: &Facts<'_>,
        record: &mut R,
    ) {
        let mut is_reached = false;
        for rule in self.all().flat_map(CompiledRules::iter) {
            let failed = rule.checks.iter().find(|check| !check.holds(facts));
            let is_chosen = chosen.is_some_and(|chosen| Arc::ptr_eq(chosen, rule));
            let verdict = match (failed, chosen) {
                _ if is_chosen => Verdict::Matched,
                (None, Some(_)) => Verdict::Overridden,
                (Some(_), Some(_)) if is_reached => Verdict::NotReached,
                _ => Verdict::NotMatched,
            };
            is_reached |= is_chosen;
            tell(record, &rule.data.origin, verdict, || match failed {
                Some(check) => check.explain(facts),
                None if verdict == Verdict::Overridden => "a rule before it matched".to_owned(),
                None => rule.reasons(facts),
            });
        }
    }
}

impl CompiledRule {
    fn new(rule: Rule, turn: Arc<Turn>, previous: Option<&Self>) -> Result<Self, BadRule> {
        let targets: &[Target] = match &rule.action {
            Action::Forward(targets) => targets,
            Action::Respond { .. } | Action::Redirect(_) | Action::Passthrough => &[],
        };
        let (backends, weights): (_, Vec<u32>) = targets
            .iter()
            .map(|target| (Arc::from(target.backend.as_str()), target.weight))
            .unzip();
        let target_changes = match targets.iter().any(|target| target.changes.is_some()) {
            true => targets
                .iter()
                .map(|one| one.changes.as_deref().map(CompiledChanges::new).transpose())
                .collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        // A rule that only moved keeps what took long to compile.
        let changes = match previous.filter(|known| known.data.changes == rule.changes) {
            Some(known) => known.changes.clone(),
            None => compiled(rule.changes.as_deref(), CompiledChanges::new)?,
        };
        let cors = match previous.filter(|known| known.data.cors == rule.cors) {
            Some(known) => known.cors.clone(),
            None => compiled(rule.cors.as_deref(), CompiledCors::new)?,
        };
        let redirect = match (&rule.action, previous) {
            (action, Some(known)) if known.data.action == *action => known.redirect.clone(),
            (Action::Redirect(redirect), _) => compiled(Some(&**redirect), CompiledRedirect::new)?,
            _ => None,
        };
        let body = match &rule.action {
            Action::Respond { body, .. } if !body.is_empty() => Text::Shared(body.as_str().into()),
            _ => Text::Fixed(""),
        };
        let same = |known: &&Self| known.data.conditions == rule.conditions;
        let checks = match previous.filter(same) {
            Some(known) => Arc::clone(&known.checks),
            None => conditions::compile(&rule.conditions)?.into(),
        };
        Ok(Self {
            name: rule.name.as_deref().map(Arc::from),
            backends,
            changes,
            target_changes,
            cors,
            redirect,
            body,
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

    /// `reply` as this rule gives it, changed by `changes`.
    pub(crate) fn replies(&self, reply: Reply, changes: Option<&AnswerChanges>) -> Reply {
        reply.of_rule(self.name.as_ref()).because_of(&self.origin).changed_by(changes)
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

fn compiled<D, C, E>(
    data: Option<&D>,
    compile: impl Fn(&D) -> Result<C, E>,
) -> Result<Option<Arc<C>>, BadRule>
where
    BadRule: From<E>,
{
    Ok(data.map(compile).transpose()?.map(Arc::new))
}

/// What tells a rule from others, whatever its place and origin.
fn content(rule: &Rule) -> u64 {
    let mut hasher = Quick::default().build_hasher();
    rule.conditions.hash(&mut hasher);
    rule.action.hash(&mut hasher);
    rule.changes.hash(&mut hasher);
    rule.cors.hash(&mut hasher);
    rule.fault.hash(&mut hasher);
    rule.mirrors.hash(&mut hasher);
    hasher.finish()
}
