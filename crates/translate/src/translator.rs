//! The way in: changes go in, answers come out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_api::{Diagnostic, Key, Kind, Object};
use weft_config::{Entry, Interest, Part};

use crate::{
    Class, Client, Group, Installation, Labelled, Resolved, Role,
    closure::Closure,
    diagnose,
    directory::{self, Reach},
    graph::{
        Graph,
        objects::Bucket,
        unit::{Unit, Value},
        view::View,
    },
    ingresses::{self, Ingresses},
    listeners,
    routes::outbound,
    waiting::Waiting,
};

/// Owns every object, and remembers the answers that proxies asked for.
#[derive(Default)]
pub struct Translator {
    graph: Graph,
    /// What Ingresses say, told as other objects.
    ingresses: Ingresses,
    /// Findings that are to be computed, and what they depend on.
    waiting: Waiting,
    /// What is wrong, by object; objects of which nothing is wrong are not there.
    findings: BTreeMap<Key, Arc<Vec<Diagnostic>>>,
    /// Up to where remembered values were checked.
    checked: usize,
}

/// Objects that are examined in the time that it takes to find out what one gateway does not
/// serve.
pub const COST_OF_GATEWAY: usize = 64;

/// What [`Translator::examine`] did.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// The work that was done, in objects; a gateway counts as [`COST_OF_GATEWAY`].
    pub count: usize,
    /// What is wrong with them, where that is different from before.
    pub changed: Vec<(Key, Arc<Vec<Diagnostic>>)>,
}

/// Something that is no longer the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Changed {
    /// The answer that the clients of a class get to an interest.
    Answer(Class, Interest),
    /// The group of the clients with these labels, and with it their classes.
    Group(Labelled),
}

impl Translator {
    /// A translator of an empty world.
    pub fn new() -> Self {
        Self::default()
    }

    /// A translator of an empty world, of a mesh that is installed so.
    pub fn with(installation: Installation) -> Self {
        Self { graph: Graph::with(installation), ..Self::default() }
    }

    /// How the mesh is installed.
    pub fn installation(&self) -> &Installation {
        &self.graph.world().installation
    }

    /// Applies changes: objects by key, none for those that are gone. Returns which of
    /// the remembered answers and groups are no longer the same.
    pub fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Object>)>,
    ) -> Vec<Changed> {
        let mut concerned = Vec::new();
        let settings = self.installation().settings();
        let changes = self.ingresses.change(changes, &self.graph.world().installation);
        let effect = self.graph.change(changes.into_iter().inspect(|(key, _)| {
            concerned.extend(Some(key).filter(|key| diagnose::concerns(key, &settings)).cloned());
        }));
        concerned.into_iter().for_each(|key| self.waiting.insert(Unit::Findings(key)));
        effect.stale.into_iter().for_each(|unit| self.waiting.insert(unit));
        let changed = effect.changed.into_iter().filter_map(|unit| match unit {
            Unit::Answer(class, interest) => Some(Changed::Answer(class, interest)),
            Unit::Group(labelled) => Some(Changed::Group(labelled)),
            _ => None,
        });
        changed.collect()
    }

    /// The answer to `interest` for `client`; remembered until [`Self::forget`].
    pub fn resolve(&mut self, client: &Client, interest: &Interest) -> Arc<Resolved> {
        let class = self.class(client, interest);
        self.answer(&class, interest)
    }

    /// The clients that get the same answer to `interest` as `client`. Its group is
    /// remembered until [`Self::forget_group`].
    pub fn class(&mut self, client: &Client, interest: &Interest) -> Class {
        self.class_with(client, interest, &mut None)
    }

    /// The same, with a place for the class of hosts and addresses, from which that of directories
    /// follows: it is found out only when `remembered` is empty, which takes long for a client with many labels. The caller clears it
    /// when the client changes, or its group.
    pub fn class_with(
        &mut self,
        client: &Client,
        interest: &Interest,
        remembered: &mut Option<Class>,
    ) -> Class {
        match (client.role, interest) {
            (_, Interest::Own) => Class::One(Arc::new(client.clone())),
            (Role::Gateway, _) => Class::Unasked,
            (Role::Sidecar, interest) => {
                let found = || match self.graph.hold(&Unit::Group(client.labelled())) {
                    Value::Group(group) => Class::Group(group),
                    _ => unreachable!("the unit computes this value"),
                };
                let class = remembered.get_or_insert_with(found).clone();
                match (interest, &class) {
                    (Interest::Directory(part), Class::Group(group)) => in_directory(*part, group),
                    _ => class,
                }
            }
        }
    }

    /// Forgets the group of clients that are no longer there.
    pub fn forget_group(&mut self, labelled: &Labelled) {
        self.graph.forget(&Unit::Group(labelled.clone()));
    }

    /// The answer to `interest` for the clients of `class`.
    pub fn answer(&mut self, class: &Class, interest: &Interest) -> Arc<Resolved> {
        match self.graph.hold(&Unit::Answer(class.clone(), interest.clone())) {
            Value::Answer(resolved) => resolved,
            _ => unreachable!("the unit computes this value"),
        }
    }

    /// Forgets an answer that nobody is interested in any more.
    pub fn forget(&mut self, class: &Class, interest: &Interest) {
        self.graph.forget(&Unit::Answer(class.clone(), interest.clone()));
        if let (Class::One(client), Interest::Own) = (class, interest)
            && client.role == Role::Gateway
        {
            // What is found of it no longer reads the answer.
            let pod = Key::new(Kind::Pod, client.namespace.as_str(), client.pod.as_str());
            self.waiting.insert(Unit::Limited(pod));
        }
    }

    /// Examines up to `count` of the objects that have changed, or depend on one
    /// that has; returns what is wrong with those of which another thing is wrong
    /// than before. Nothing is left to examine when fewer than `count` were. What one
    /// gateway does not serve takes as long as many objects. Objects and gateways that
    /// change all the time do not keep others from being examined.
    pub fn examine(&mut self, count: usize) -> Examined {
        let mut examined = Examined::default();
        while examined.count < count
            && let Some(unit) = self.waiting.next()
        {
            let before = self.graph.work();
            match &unit {
                Unit::Findings(key) => examined.changed.extend(self.find(key)),
                unit => {
                    let concerned = self.graph.refresh(unit);
                    concerned.into_iter().for_each(|unit| self.waiting.insert(unit));
                }
            }
            let cost = self.graph.work().wrapping_sub(before).max(1);
            self.waiting.done(&unit, cost);
            examined.count = examined.count.saturating_add(cost).min(count);
        }
        examined
    }

    /// Computes what is wrong with the object called `key`; returned if that is not as before.
    fn find(&mut self, key: &Key) -> Option<(Key, Arc<Vec<Diagnostic>>)> {
        let unit = Unit::Findings(key.clone());
        let found = match self.graph.world().object(key) {
            None => {
                self.graph.forget(&unit);
                Arc::default()
            }
            Some(_) => match self.graph.renew(&unit) {
                Value::Findings(found) => found,
                _ => unreachable!("the unit computes this value"),
            },
        };
        let before = match found.is_empty() {
            true => self.findings.remove(key),
            false => self.findings.insert(key.clone(), Arc::clone(&found)),
        };
        (before.unwrap_or_default() != found).then(|| (key.clone(), found))
    }

    /// What is wrong with the objects as they are together: missing services,
    /// subsets and gateways, conflicts, rules that never match; sorted.
    pub fn diagnostics(&mut self) -> Vec<Diagnostic> {
        self.examine(usize::MAX);
        self.findings.values().flat_map(|found| found.iter().cloned()).collect()
    }

    /// Computes the next `count` remembered values again, and names those that are
    /// not what is remembered: each is a bug. What waits to be examined is not
    /// compared.
    pub fn check(&mut self, count: usize) -> Vec<String> {
        self.graph.pool().sweep();
        let wrong = self.graph.check(&mut self.checked, count).into_iter();
        let wrong = wrong.filter(|unit| !self.waiting.contains(unit));
        wrong.map(|unit| format!("{unit:?}")).collect()
    }

    /// The object called `key`.
    pub fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.graph.world().object(key)
    }

    /// How many objects of `kind` there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.graph.world().count(&Bucket::Kind(kind))
    }

    /// Every object with its key, in no order, as its owner wrote it.
    pub fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.graph.world().objects().filter(|(key, _)| !ingresses::is_made(key))
    }
}

/// The clients of `group` that get the same part of the directory.
fn in_directory(part: Part, group: &Arc<Group>) -> Class {
    match (part, &group.sidecar) {
        (Part::Shared, None) => Class::Mesh,
        (Part::Own, None) => Class::Namespace(group.namespace.as_str().into()),
        (Part::Shared, Some(_)) => Class::Unasked,
        (Part::Own, Some(sidecar)) => Class::Group(Arc::new(Group {
            namespace: group.namespace.clone(),
            selectors: BTreeSet::new(),
            labels: None,
            sidecar: Some(Arc::clone(sidecar)),
        })),
    }
}

/// The answer to `interest` for the clients of `class`.
pub(crate) fn answer(class: &Class, interest: &Interest, view: &View<'_>) -> Resolved {
    match (class, interest) {
        (Class::One(client), Interest::Own) => match client.role {
            Role::Sidecar => listeners::sidecar(client, view),
            Role::Gateway => listeners::gateway(client, view),
        },
        (Class::Mesh, Interest::Directory(Part::Shared)) => {
            directory::answer(&Reach::Mesh, interest, view)
        }
        (Class::Namespace(namespace), Interest::Directory(Part::Own)) => {
            directory::answer(&Reach::Namespace(namespace.to_string()), interest, view)
        }
        // All that they see is their own.
        (Class::Unasked, Interest::Directory(_)) => Closure::default().directory(interest),
        (Class::Group(group), Interest::Directory(Part::Own)) => match &group.sidecar {
            Some(sidecar) => {
                let reach = Reach::Sidecar(group.namespace.clone(), Arc::clone(sidecar));
                directory::answer(&reach, interest, view)
            }
            None => Closure::default().directory(interest),
        },
        (Class::Group(group), Interest::Host(host, port)) => {
            outbound::host(group, host, *port, view)
        }
        (Class::Group(group), Interest::Address(address)) => {
            outbound::address(group, *address, view)
        }
        (Class::Group(group), Interest::ServerName(name, port)) => {
            outbound::server_name(group, name, *port, view)
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
