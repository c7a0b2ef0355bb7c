//! Routes of a table, the lists of rules that they share, and what stands in for those that cannot
//! be compiled.
//!
//! What cannot be read must close, never open: hosts that only a rejected version of a route has
//! must not fall to a wider route, or outside.

use std::{collections::BTreeSet, sync::Arc};

use weft_balance::Register;
use weft_config::{Action, Host, Route, Rule, RuleList};

use super::{Stale, link, unlink};
use crate::{
    route::{CompiledRoute, CompiledRules},
    table::Table,
};

/// The details of requests that a rejected route or list of rules would have taken.
const REJECTED: &str = "route_rejected";
/// The details of requests that a list of rules would have taken that is not there.
const MISSING: &str = "config_unavailable";

impl Table {
    /// Puts in `route`. One that cannot be compiled leaves the version before it in force, and
    /// closes the hosts that only the rejected version has.
    pub(super) fn put_route(&mut self, route: &Route, stale: &mut Stale) -> Result<(), String> {
        let name: Arc<str> = Arc::from(route.name.as_str());
        let previous = self.routes.find(&*name).cloned();
        let previous = previous.as_deref();
        let (compiled, rejected, outcome) =
            match CompiledRoute::new(route.clone(), &self.register, previous) {
                Ok(compiled) => (Some(compiled), None, Ok(())),
                Err(error) => {
                    let known: BTreeSet<&Host> =
                        previous.iter().flat_map(|previous| &previous.data.hosts).collect();
                    let mut hosts = route.hosts.clone();
                    hosts.retain(|host| !known.contains(host));
                    let closed =
                        CompiledRoute::closed(Route { hosts, ..route.clone() }, &self.register);
                    let outcome = Err(error.to_string());
                    match previous {
                        None => (Some(closed), None, outcome),
                        Some(_) => (None, Some(closed), outcome),
                    }
                }
            };
        let rejected = rejected.filter(|rejected| !rejected.data.hosts.is_empty()).map(Arc::new);
        let hosts = |route: Option<&CompiledRoute>| route.map(|route| route.data.hosts.clone());
        let is_same = compiled.as_ref().is_none_or(|new| hosts(Some(new)) == hosts(previous));
        let before = self.rejected.set(Arc::clone(&name), rejected.clone());
        if !is_same || hosts(before.as_deref()) != hosts(rejected.as_deref()) {
            stale.routes.insert(Arc::clone(&name));
        }
        if let Some(compiled) = compiled {
            let lists = previous.iter().flat_map(|previous| &previous.data.lists);
            lists.for_each(|list| unlink(&mut self.rule_list_users, list, &name));
            for list in &compiled.data.lists {
                link(&mut self.rule_list_users, Arc::from(list.as_str()), Arc::clone(&name));
            }
            // They may come later in the same change.
            if !compiled.data.lists.is_empty() {
                stale.linked.insert(Arc::clone(&name));
            }
            self.routes.set(name, Some(Arc::new(compiled)));
        }
        outcome
    }

    /// Removes the route called `name`.
    pub(super) fn take_route(&mut self, name: &str, stale: &mut Stale) {
        let name: Arc<str> = Arc::from(name);
        let previous = self.routes.set(Arc::clone(&name), None);
        let lists = previous.iter().flat_map(|previous| &previous.data.lists);
        lists.for_each(|list| unlink(&mut self.rule_list_users, list, &name));
        self.rejected.set(Arc::clone(&name), None);
        stale.routes.insert(name);
    }

    /// Puts in `list`. One that cannot be compiled leaves the version before it in force; without
    /// one, it is closed.
    pub(super) fn put_rules(&mut self, list: &RuleList, stale: &mut Stale) -> Result<(), String> {
        let name: Arc<str> = Arc::from(list.name.as_str());
        let previous = self.rule_lists.find(&*name).map(|previous| &**previous);
        let (compiled, outcome) =
            match CompiledRules::new(&name, &list.rules, &self.register, previous) {
                Ok(compiled) => (compiled, Ok(())),
                Err(error) if previous.is_some() => return Err(error.to_string()),
                Err(error) => {
                    let origin = list.rules.first().map(|rule| rule.origin.clone());
                    let closed = CompiledRules::closed(500, REJECTED, origin.unwrap_or_default());
                    (closed, Err(error.to_string()))
                }
            };
        self.rule_lists.set(Arc::clone(&name), Some(Arc::new(compiled)));
        self.mark_routes_of(&name, stale);
        outcome
    }

    /// Removes the list of rules called `name`.
    pub(super) fn take_rules(&mut self, name: &str, stale: &mut Stale) {
        self.rule_lists.set(Arc::from(name), None);
        self.mark_routes_of(name, stale);
    }

    fn mark_routes_of(&self, list: &str, stale: &mut Stale) {
        let users = self.rule_list_users.find(list).into_iter().flat_map(|users| users.iter());
        stale.linked.extend(users.cloned());
    }

    /// Gives the route called `name` the lists that it names.
    pub(super) fn link_rule_lists(&mut self, name: Arc<str>) {
        let Some(route) = self.routes.find(&*name) else { return };
        let list = |list: &String| match self.rule_lists.find(&**list) {
            Some(rules) => Arc::clone(rules),
            None => Arc::new(CompiledRules::closed(503, MISSING, route.data.origin.clone())),
        };
        let lists = route.data.lists.iter().map(list).collect();
        let linked = route.with_lists(lists);
        self.routes.set(name, Some(Arc::new(linked)));
    }
}

impl CompiledRoute {
    /// What stands in for a route that cannot be compiled: its hosts answer 500.
    fn closed(route: Route, register: &Register) -> Self {
        let rule = Rule::always(Action::respond(500, REJECTED), route.origin.clone());
        let closed = Route { lists: Vec::new(), rules: vec![rule], ..route };
        Self::new(closed, register, None).expect("a rule without conditions compiles")
    }
}
