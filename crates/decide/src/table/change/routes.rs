//! Routes of a table, and what stands in for those that cannot be compiled.
//!
//! What cannot be read must close, never open: hosts that only a rejected version of a route has
//! must not fall to a wider route, or outside.

use std::{collections::BTreeSet, sync::Arc};

use weft_balance::Register;
use weft_config::{Action, Host, Route};

use super::Stale;
use crate::{route::CompiledRoute, table::Table};

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
            self.routes.set(name, Some(Arc::new(compiled)));
        }
        outcome
    }

    /// Removes the route called `name`.
    pub(super) fn take_route(&mut self, name: &str, stale: &mut Stale) {
        let name: Arc<str> = Arc::from(name);
        self.routes.set(Arc::clone(&name), None);
        self.rejected.set(Arc::clone(&name), None);
        stale.routes.insert(name);
    }
}

impl CompiledRoute {
    /// What stands in for a route that cannot be compiled: its hosts answer 500.
    fn closed(route: Route, register: &Register) -> Self {
        let action = Action::respond(500, "route_rejected");
        let rule = weft_config::Rule::always(action, route.origin.clone());
        let closed = Route { rules: vec![rule], ..route };
        Self::new(closed, register, None).expect("a rule without conditions compiles")
    }
}
