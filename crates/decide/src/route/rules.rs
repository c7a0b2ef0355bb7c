//! Rules in order: a route's own, or a list that several routes share.

use std::{collections::HashMap, sync::Arc};

use weft_balance::Register;
use weft_config::{Action, Origin, Rule};

use super::{BadRule, CompiledRule, content};
use crate::{candidates::Candidates, conditions::Facts};

/// Up to this many rules are looked at one after the other.
const SCANNED: usize = 16;

/// Rules in order, ready to be asked.
#[derive(Debug)]
pub(crate) struct CompiledRules {
    rules: Vec<Arc<CompiledRule>>,
    candidates: Option<Candidates>,
}

impl CompiledRules {
    /// Compiles the rules of `owner`. Those that are as in `previous` are carried over, wherever
    /// in the order they stand; of those that only moved, the conditions are.
    pub(crate) fn new(
        owner: &str,
        rules: &[Rule],
        register: &Register,
        previous: Option<&Self>,
    ) -> Result<Self, BadRule> {
        let known: HashMap<u64, &Arc<CompiledRule>> =
            previous.into_iter().flat_map(Self::iter).map(|rule| (rule.content, rule)).collect();
        let candidates = (rules.len() > SCANNED)
            .then(|| Candidates::new(rules.iter().map(|rule| &rule.conditions)));
        let rules = rules
            .iter()
            .map(|rule| {
                let content = content(rule);
                match known.get(&content) {
                    Some(known) if known.data == *rule => Ok(Arc::clone(known)),
                    known => {
                        let turn = register.turn(owner, content);
                        let known = known.map(|known| &***known);
                        CompiledRule::new(rule.clone(), turn, known).map(Arc::new)
                    }
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { rules, candidates })
    }

    /// One rule that answers every request with `status`; `details` name the cause.
    pub(crate) fn closed(status: u16, details: &str, origin: Origin) -> Self {
        let rule = Rule::always(Action::respond(status, details), origin);
        let rule = CompiledRule::new(rule, Arc::default(), None)
            .expect("a rule without conditions compiles");
        Self { rules: vec![Arc::new(rule)], candidates: None }
    }

    /// The first rule whose conditions hold.
    pub(crate) fn choose(&self, facts: &Facts<'_>) -> Option<&Arc<CompiledRule>> {
        match &self.candidates {
            None => self.rules.iter().find(|rule| rule.holds(facts)),
            Some(candidates) => candidates
                .of(facts.request.path())
                .filter_map(|rank| self.rules.get(rank))
                .find(|rule| rule.holds(facts)),
        }
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<CompiledRule>> {
        self.rules.iter()
    }
}
