//! Which answers go first when all of them together cost too much.
//!
//! They are those of the namespace whose answers cost most: however much the pods of one namespace
//! ask for, those of others have what they need.

use std::{cmp::Reverse, collections::BTreeMap};

use weft_config::Interest;
use weft_translate::Class;

use super::{Answers, SessionId, SharedAnswer, is_bounded};

/// How many turns it takes at most, about, to free what is too much.
const STEPS: usize = 8;

/// Answers to be given up.
#[derive(Debug, Default)]
pub(crate) struct Surplus {
    /// Who is interested in them.
    pub(crate) readers: Vec<(SessionId, Interest)>,
    /// The namespace of these.
    pub(crate) namespace: String,
    /// How many answers they are.
    pub(crate) count: usize,
}

impl Answers {
    /// The bytes of all answers about hosts and addresses; what several of them have counts once.
    pub(crate) fn bytes(&self) -> usize {
        self.held.bytes()
    }

    /// How often an answer about a host or an address became smaller or was forgotten: while this
    /// stays the same, there is no more room than before.
    pub(crate) fn freed(&self) -> u64 {
        self.freed
    }

    /// Answers of the namespace whose answers cost most, the largest first, of about `excess`
    /// bytes, but not so many that another namespace has much more then. There may be more of
    /// them after these.
    pub(crate) fn surplus(&self, excess: usize) -> Surplus {
        let mut parts: Vec<(&str, usize)> = self.parts().into_iter().collect();
        parts.sort_by_key(|(_, bytes)| Reverse(*bytes));
        let Some((namespace, most)) = parts.first().copied() else { return Surplus::default() };
        let second = parts.get(1).map_or(0, |(_, bytes)| *bytes);
        // Where two have as much, each gives a part in turn, not one answer.
        let excess = excess.min((most - second).max(excess / STEPS));
        let mut all: Vec<(usize, &Interest, &SharedAnswer)> = self
            .bounded()
            .filter(|(of, ..)| *of == namespace)
            .map(|(_, interest, shared)| (self.part(shared), interest, shared))
            .collect();
        all.sort_by_key(|(bytes, interest, _)| (Reverse(*bytes), *interest));
        let mut surplus = Surplus { namespace: namespace.to_owned(), ..Surplus::default() };
        let mut sum = 0;
        for (bytes, interest, shared) in all {
            let readers = shared.readers.iter().map(|session| (*session, interest.clone()));
            surplus.readers.extend(readers);
            surplus.count += 1;
            sum += bytes;
            if sum >= excess {
                break;
            }
        }
        surplus
    }

    /// What the answers of each namespace cost.
    fn parts(&self) -> BTreeMap<&str, usize> {
        let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
        for (namespace, _, shared) in self.bounded() {
            *parts.entry(namespace).or_default() += self.part(shared);
        }
        parts
    }

    fn part(&self, shared: &SharedAnswer) -> usize {
        self.held.part(&shared.answer.weight)
    }

    /// The answers that have a bound, with their namespaces.
    fn bounded(&self) -> impl Iterator<Item = (&str, &Interest, &SharedAnswer)> {
        let all = self.shared.iter().filter(|((_, interest), _)| is_bounded(interest));
        all.map(|((class, interest), shared)| (namespace(class), interest, shared))
    }
}

/// The namespace of the clients of `class`; those who ask for hosts and addresses have one.
fn namespace(class: &Class) -> &str {
    match class {
        Class::Namespace(namespace) => namespace,
        Class::Group(group) => &group.namespace,
        Class::One(client) => &client.namespace,
        Class::Mesh | Class::Unasked => "",
    }
}
