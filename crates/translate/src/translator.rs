//! The way in: changes go in, answers come out.

use std::sync::Arc;

use weft_api::{Diagnostic, Key, Object};
use weft_config::{Entry, Interest};

use crate::{
    Class, Client, Resolved, Role,
    closure::Closure,
    diagnose,
    graph::{Graph, Unit, Value},
    listeners, service,
    view::View,
};

/// Owns every object, and remembers the answers that somebody asked for.
#[derive(Default)]
pub struct Translator {
    graph: Graph,
}

/// An answer that is no longer the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Changed {
    /// The clients it is for.
    pub class: Class,
    /// What they asked for.
    pub interest: Interest,
}

impl Translator {
    /// A translator of an empty world.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes changes in: objects by key, none for those that are gone. Tells which
    /// of the remembered answers are no longer the same.
    pub fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Object>)>,
    ) -> Vec<Changed> {
        let mut gone = Vec::new();
        let units = self.graph.change(changes.into_iter().inspect(|(key, object)| {
            if object.is_none() {
                gone.push(key.clone());
            }
        }));
        for key in gone.into_iter().filter(|key| self.object(key).is_none()) {
            self.graph.forget(&Unit::Findings(key));
        }
        let changed = units.into_iter().filter_map(|unit| match unit {
            Unit::Answer(class, interest) => Some(Changed { class, interest }),
            _ => None,
        });
        changed.collect()
    }

    /// The answer to `interest` for `client`; remembered until [`Self::forget`].
    pub fn resolve(&mut self, client: &Client, interest: &Interest) -> Arc<Resolved> {
        self.answer(&client.class(interest), interest)
    }

    /// The answer to `interest` for the clients of `class`.
    pub fn answer(&mut self, class: &Class, interest: &Interest) -> Arc<Resolved> {
        match self.graph.value(&Unit::Answer(class.clone(), interest.clone())) {
            Value::Answer(resolved) => resolved,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// Forgets an answer that nobody is interested in any more.
    pub fn forget(&mut self, class: &Class, interest: &Interest) {
        self.graph.forget(&Unit::Answer(class.clone(), interest.clone()));
    }

    /// What is wrong with the objects as they are together: missing services,
    /// subsets and gateways, conflicts, rules that never match; sorted.
    pub fn diagnostics(&mut self) -> Vec<Diagnostic> {
        let all = self.graph.world().objects().map(|(key, _)| key);
        let mut keys: Vec<Key> = all.filter(|key| diagnose::concerns(key)).cloned().collect();
        keys.sort();
        let mut found = Vec::new();
        for key in keys {
            if let Value::Findings(findings) = self.graph.value(&Unit::Findings(key)) {
                found.extend(findings.iter().cloned());
            }
        }
        found
    }

    /// The object called `key`.
    pub fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.graph.world().object(key)
    }

    /// Every object with its key, in no order.
    pub fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.graph.world().objects()
    }
}

/// The answer to `interest` for the clients of `class`.
pub(crate) fn answer(class: &Class, interest: &Interest, view: &View<'_>) -> Resolved {
    match (class, interest) {
        (Class::One(client), Interest::Own) => match client.role {
            Role::Sidecar => listeners::sidecar(client, view),
            Role::Gateway => listeners::gateway(client, view),
        },
        (Class::Group(group), Interest::Host(host, port)) if group.role == Role::Sidecar => {
            service::host(group, host, *port, view)
        }
        (Class::Group(group), Interest::Address(address)) if group.role == Role::Sidecar => {
            service::address(group, *address, view)
        }
        _ => Closure::default().answer(interest, Entry::Outside, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translator_can_be_owned_by_a_task() {
        fn check<T: Send + 'static>() {}
        check::<Translator>();
    }
}
