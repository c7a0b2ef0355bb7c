//! The answers that sessions are interested in, and which sessions.
//!
//! Equal answers are made once and their bodies shared. This knows sessions by
//! number only, and neither streams nor time.

mod surplus;
mod weight;

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hasher,
    sync::Arc,
};

use bytes::Bytes;
use twox_hash::XxHash64;
use weft_api::{Key, Kind, Object};
use weft_config::{Interest, Resource};
use weft_delta::{Name, ResourceSet};
use weft_translate::{
    Changed, Class, Client, Examined, Installation, Labelled, Resolved, Translator,
};

pub(crate) use self::weight::{Held, Weight};

/// Names a session.
pub(crate) type SessionId = u64;

/// An answer that a session is to be offered.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) session: SessionId,
    pub(crate) interest: Interest,
    pub(crate) answer: Subscribed,
}

/// An answer as it travels, and what it costs.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) set: ResourceSet,
    pub(crate) weight: Arc<Weight>,
}

/// The answers that sessions are interested in.
#[derive(Default)]
pub(crate) struct Answers {
    translator: Translator,
    shared: HashMap<(Class, Interest), SharedAnswer>,
    /// What those of `shared` cost together that have a bound.
    held: Held,
    /// How often one of these became smaller or was forgotten.
    freed: u64,
    /// How many sessions there are of clients with these labels.
    clients: HashMap<Labelled, usize>,
}

/// What a change means for sessions.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// The answers that are no longer the same.
    pub(crate) offered: Vec<Offered>,
    /// Clients that may belong to other classes now.
    pub(crate) regrouped: BTreeSet<Labelled>,
}

/// One answer and who is interested in it.
struct SharedAnswer {
    resolved: Arc<Resolved>,
    name: Name,
    answer: Subscribed,
    readers: BTreeSet<SessionId>,
}

impl Answers {
    /// No answers yet, of a mesh that is installed so.
    pub(crate) fn with(installation: Installation) -> Self {
        Self { translator: Translator::with(installation), ..Self::default() }
    }

    /// Applies changes; returns what is to be offered to whom.
    pub(crate) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Object>)>,
    ) -> Effect {
        let changed = self.translator.change(changes);
        self.renew(changed)
    }

    /// There is one more session of `client`.
    pub(crate) fn enter(&mut self, client: &Client) {
        *self.clients.entry(client.labelled()).or_default() += 1;
    }

    /// There is one session of `client` less.
    pub(crate) fn exit(&mut self, client: &Client) {
        let labelled = client.labelled();
        let Some(count) = self.clients.get_mut(&labelled) else { return };
        *count -= 1;
        if *count == 0 {
            self.clients.remove(&labelled);
            self.translator.forget_group(&labelled);
        }
    }

    /// The class of `client` for `interest`. That of hosts and addresses is found out once, and
    /// `remembered` until the client changes, or its group.
    pub(crate) fn class(
        &mut self,
        client: &Client,
        interest: &Interest,
        remembered: &mut Option<Class>,
    ) -> Class {
        self.translator.class_with(client, interest, remembered)
    }

    /// The answer to `interest` for `session`, whose client is of `class`.
    pub(crate) fn subscribe(
        &mut self,
        session: SessionId,
        class: &Class,
        interest: &Interest,
    ) -> Subscribed {
        let (translator, held) = (&mut self.translator, &mut self.held);
        let shared = self.shared.entry((class.clone(), interest.clone())).or_insert_with(|| {
            let resolved = translator.answer(class, interest);
            let name: Name = interest.to_string().into();
            let answer = answer(&name, &resolved);
            if is_bounded(interest) {
                held.add(&answer.weight);
            }
            SharedAnswer { resolved, name, answer, readers: BTreeSet::new() }
        });
        shared.readers.insert(session);
        shared.answer.clone()
    }

    /// `session`, whose client is of `class`, has lost interest.
    pub(crate) fn unsubscribe(&mut self, session: SessionId, class: &Class, interest: &Interest) {
        let key = (class.clone(), interest.clone());
        let Some(shared) = self.shared.get_mut(&key) else { return };
        shared.readers.remove(&session);
        if shared.readers.is_empty() {
            if is_bounded(interest) {
                self.held.remove(&shared.answer.weight);
                self.freed += 1;
            }
            self.shared.remove(&key);
            self.translator.forget(&key.0, &key.1);
        }
    }

    /// How many different answers are kept.
    pub(crate) fn len(&self) -> usize {
        self.shared.len()
    }

    /// The object called `key`.
    pub(crate) fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.translator.object(key)
    }

    /// How many objects of `kind` there are.
    pub(crate) fn objects_of(&self, kind: Kind) -> usize {
        self.translator.count(kind)
    }

    /// Examines up to `count` objects that have changed, or depend on one that has.
    pub(crate) fn examine(&mut self, count: usize) -> Examined {
        self.translator.examine(count)
    }

    /// Computes the next `count` remembered values again; names those that differ.
    pub(crate) fn check(&mut self, count: usize) -> Vec<String> {
        self.translator.check(count)
    }

    /// Starts again from the objects alone; returns what is to be offered to whom.
    pub(crate) fn rebuild(&mut self) -> Effect {
        let objects: Vec<(Key, Option<Object>)> = self
            .translator
            .objects()
            .map(|(key, object)| (key.clone(), Some(Object::clone(object))))
            .collect();
        self.translator = Translator::with(self.translator.installation().clone());
        self.translator.change(objects);
        let answers = self.shared.keys().cloned();
        let answers = answers.map(|(class, interest)| Changed::Answer(class, interest));
        let groups = self.clients.keys().cloned().map(Changed::Group);
        self.renew(answers.chain(groups).collect())
    }

    fn renew(&mut self, changed: Vec<Changed>) -> Effect {
        let mut offered = Vec::new();
        let mut regrouped = BTreeSet::new();
        for changed in changed {
            let (class, interest) = match changed {
                Changed::Answer(class, interest) => (class, interest),
                Changed::Group(labelled) => {
                    regrouped.insert(labelled);
                    continue;
                }
            };
            let key = (class, interest);
            // Findings may still read an answer that no session has: it is not to be held again.
            let Some(shared) = self.shared.get_mut(&key) else { continue };
            let resolved = self.translator.answer(&key.0, &key.1);
            if *shared.resolved == *resolved {
                continue;
            }
            let old = std::mem::replace(&mut shared.answer, answer(&shared.name, &resolved));
            if is_bounded(&key.1) {
                self.held.add(&shared.answer.weight);
                self.held.remove(&old.weight);
                self.freed += u64::from(shared.answer.weight.bytes() < old.weight.bytes());
            }
            shared.resolved = resolved;
            offered.extend(shared.readers.iter().map(|session| Offered {
                session: *session,
                interest: key.1.clone(),
                answer: shared.answer.clone(),
            }));
        }
        Effect { offered, regrouped }
    }
}

/// Whether what answers to `interest` cost has a bound: proxies ask for as many hosts and addresses
/// as they like.
pub(crate) fn is_bounded(interest: &Interest) -> bool {
    match interest {
        Interest::Host(..) | Interest::Address(_) | Interest::ServerName(..) => true,
        Interest::Own | Interest::Directory(_) => false,
    }
}

/// The answer as it travels.
fn answer(name: &Name, resolved: &Resolved) -> Subscribed {
    let body = serde_json::to_vec(&Resource::Answer(resolved.answer.clone()))
        .expect("an answer has only text keys");
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(&body);
    let pieces = resolved.resources.iter().map(|piece| weft_delta::Resource {
        name: Arc::clone(&piece.name),
        version: piece.hash,
        body: Bytes::from_owner(Arc::clone(&piece.json)),
    });
    let set = ResourceSet {
        resource: weft_delta::Resource {
            name: Arc::clone(name),
            version: hasher.finish(),
            body: body.into(),
        },
        pieces: pieces.collect(),
    };
    let weight = Arc::new(Weight::of(&set));
    Subscribed { set, weight }
}

#[cfg(test)]
mod tests;
