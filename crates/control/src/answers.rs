//! The answers that somebody is interested in, and who.
//!
//! Equal answers are made once and their bodies shared. This knows sessions by
//! number only, and neither streams nor time.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hasher,
    sync::Arc,
};

use bytes::Bytes;
use twox_hash::XxHash64;
use weft_api::{Diagnostic, Key, Object};
use weft_config::{Interest, Resource};
use weft_delta::{Answer, Name};
use weft_translate::{Changed, Class, Client, Resolved, Translator};

/// Names a session.
pub(crate) type SessionId = u64;

/// An answer that a session is to be offered.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) session: SessionId,
    pub(crate) interest: Name,
    pub(crate) answer: Answer,
}

/// The answers that somebody is interested in.
#[derive(Default)]
pub(crate) struct Answers {
    translator: Translator,
    standing: HashMap<(Class, Interest), Standing>,
}

/// One answer and who is interested in it.
struct Standing {
    resolved: Arc<Resolved>,
    name: Name,
    answer: Answer,
    readers: BTreeSet<SessionId>,
}

/// Everything at one moment, to be compared with a rebuild.
pub(crate) struct Snapshot {
    pub(crate) objects: Vec<(Key, Arc<Object>)>,
    pub(crate) answers: Vec<(Class, Interest, Arc<Resolved>)>,
}

impl Answers {
    /// Takes changes in; what is to be offered to whom.
    pub(crate) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Object>)>,
    ) -> Vec<Offered> {
        let changed = self.translator.change(changes);
        self.renew(changed)
    }

    /// The answer to `interest` for `session`, which is `client`'s.
    pub(crate) fn subscribe(
        &mut self,
        session: SessionId,
        client: &Client,
        interest: &Interest,
    ) -> Answer {
        let class = client.class(interest);
        let translator = &mut self.translator;
        let standing =
            self.standing.entry((class.clone(), interest.clone())).or_insert_with(|| {
                let resolved = translator.answer(&class, interest);
                let name: Name = interest.to_string().into();
                let answer = answer(&name, &resolved);
                Standing { resolved, name, answer, readers: BTreeSet::new() }
            });
        standing.readers.insert(session);
        standing.answer.clone()
    }

    /// `session`, which is `client`'s, has lost interest.
    pub(crate) fn unsubscribe(&mut self, session: SessionId, client: &Client, interest: &Interest) {
        let key = (client.class(interest), interest.clone());
        let Some(standing) = self.standing.get_mut(&key) else { return };
        standing.readers.remove(&session);
        if standing.readers.is_empty() {
            self.standing.remove(&key);
            self.translator.forget(&key.0, &key.1);
        }
    }

    /// How many different answers are kept.
    pub(crate) fn len(&self) -> usize {
        self.standing.len()
    }

    /// The object called `key`.
    pub(crate) fn object(&self, key: &Key) -> Option<&Arc<Object>> {
        self.translator.object(key)
    }

    /// Every object.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.translator.objects()
    }

    /// What is wrong with the objects.
    pub(crate) fn diagnostics(&mut self) -> Vec<Diagnostic> {
        self.translator.diagnostics()
    }

    /// Everything at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let objects = self.translator.objects();
        let standing = self.standing.iter();
        Snapshot {
            objects: objects.map(|(key, object)| (key.clone(), Arc::clone(object))).collect(),
            answers: standing
                .map(|((class, interest), standing)| {
                    (class.clone(), interest.clone(), Arc::clone(&standing.resolved))
                })
                .collect(),
        }
    }

    /// Starts again from the objects alone; what is to be offered to whom.
    pub(crate) fn rebuild(&mut self) -> Vec<Offered> {
        let objects: Vec<(Key, Option<Object>)> = self
            .translator
            .objects()
            .map(|(key, object)| (key.clone(), Some(Object::clone(object))))
            .collect();
        self.translator = Translator::new();
        self.translator.change(objects);
        let keys = self.standing.keys().cloned();
        let all = keys.map(|(class, interest)| Changed { class, interest }).collect();
        self.renew(all)
    }

    fn renew(&mut self, changed: Vec<Changed>) -> Vec<Offered> {
        let mut offered = Vec::new();
        for Changed { class, interest } in changed {
            let resolved = self.translator.answer(&class, &interest);
            let Some(standing) = self.standing.get_mut(&(class, interest)) else { continue };
            if *standing.resolved == *resolved {
                continue;
            }
            standing.answer = answer(&standing.name, &resolved);
            standing.resolved = resolved;
            offered.extend(standing.readers.iter().map(|session| Offered {
                session: *session,
                interest: Arc::clone(&standing.name),
                answer: standing.answer.clone(),
            }));
        }
        offered
    }
}

/// The answer as it travels.
fn answer(name: &Name, resolved: &Resolved) -> Answer {
    let body = serde_json::to_vec(&Resource::Answer(resolved.answer.clone()))
        .expect("an answer has only text keys");
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(&body);
    let pieces = resolved.resources.iter().map(|piece| weft_delta::Resource {
        name: Arc::clone(&piece.name),
        version: piece.hash,
        body: Bytes::from_owner(Arc::clone(&piece.json)),
    });
    Answer {
        resource: weft_delta::Resource {
            name: Arc::clone(name),
            version: hasher.finish(),
            body: body.into(),
        },
        pieces: pieces.collect(),
    }
}

#[cfg(test)]
mod tests;
