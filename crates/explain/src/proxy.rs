//! One proxy of the world: it learns on demand, as a running one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use weft_api::Key;
use weft_config::{Interest, Part, Resource};
use weft_decide::{
    Answer, Answers, Arrived, ClientHello, CompiledBackend, Connection, Note, Question, Reply, Rng,
    Routed, Scope, Step, Table, Tcp,
};
use weft_translate::{BackendRef, Client, Role, Translator};

/// How many targets of a rule are looked at for one that exists.
const MOST_TARGETS: usize = 16;

/// One proxy of the world.
pub(crate) struct Proxy<'w> {
    translator: &'w mut Translator,
    client: Client,
    table: Table,
    /// Backends that rules name and that do not exist, by name.
    missing: BTreeMap<String, BackendRef>,
    /// VirtualServices for what was asked for whose rules are left out.
    left_out: BTreeSet<Arc<Key>>,
}

impl<'w> Proxy<'w> {
    /// The proxy of a pod, with what it runs itself.
    pub(crate) fn new(client: Client, translator: &'w mut Translator) -> Self {
        let mut proxy = Self {
            translator,
            client,
            table: Table::new(),
            missing: BTreeMap::new(),
            left_out: BTreeSet::new(),
        };
        proxy.learn(&Interest::Own);
        for part in Part::ALL {
            proxy.learn(&Interest::Directory(part));
        }
        proxy
    }

    /// What the proxy is for.
    pub(crate) fn role(&self) -> Role {
        self.client.role
    }

    /// What it decides by now.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// What `backend` means, which a rule names and which does not exist.
    pub(crate) fn missing(&self, backend: &str) -> Option<&BackendRef> {
        self.missing.get(backend)
    }

    /// VirtualServices for what was asked for whose rules are left out.
    pub(crate) fn left_out(&self) -> &BTreeSet<Arc<Key>> {
        &self.left_out
    }

    /// The addresses and ports of the pod itself on which it listens.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.table.listeners().map(|listener| listener.bind).collect()
    }

    /// What serves a connection whose client begins with `hello`, where that is TLS, and what was
    /// looked at for it.
    pub(crate) fn connection(
        &mut self,
        listener: &str,
        destination: SocketAddr,
        hello: Option<&Arc<ClientHello>>,
        notes: &mut Vec<Note>,
    ) -> Result<Connection, Reply> {
        self.settle(hello, notes, |table, answers, notes| {
            table.connection(listener, destination, answers, notes)
        })
    }

    /// Where a request goes, and what was looked at for it.
    ///
    /// Of several destinations one is taken that exists, if there is one.
    pub(crate) fn route(
        &mut self,
        scope: &Scope,
        arrived: &Arrived,
        notes: &mut Vec<Note>,
    ) -> Result<Routed, Reply> {
        let known = notes.len();
        let mut rng = Rng::new(0);
        let mut tries = 0;
        loop {
            notes.truncate(known);
            let routed = self.settle(None, notes, |table, answers, notes| {
                table.decide(scope, arrived, answers, (&mut rng, notes))
            });
            tries += 1;
            match &routed {
                Err(reply) if reply.backend.is_some() && tries < MOST_TARGETS => {}
                _ => return routed,
            }
        }
    }

    /// Where a relayed connection goes.
    pub(crate) fn relay(
        &self,
        tcp: &Tcp,
        notes: &mut Vec<Note>,
    ) -> Result<Arc<CompiledBackend>, Reply> {
        self.table.relay(tcp, &mut Rng::new(0), notes)
    }

    /// Runs `stages` until their questions are answered.
    fn settle<T>(
        &mut self,
        hello: Option<&Arc<ClientHello>>,
        notes: &mut Vec<Note>,
        mut stages: impl FnMut(&Table, &Answers, &mut Vec<Note>) -> Step<T>,
    ) -> Result<T, Reply> {
        let (known, mut answers) = (notes.len(), Answers::default());
        loop {
            notes.truncate(known);
            match stages(&self.table, &answers, notes) {
                Step::Done(value) => return Ok(value),
                Step::Reply(reply) => return Err(reply),
                Step::Ask(question) => {
                    let answer = self.answer(&question, hello);
                    answers.insert(question, answer);
                }
            }
        }
    }

    fn answer(&mut self, question: &Question, hello: Option<&Arc<ClientHello>>) -> Answer {
        match question {
            Question::Hello => {
                hello.map_or(Answer::Missing, |hello| Answer::Hello(Arc::clone(hello)))
            }
            Question::Interest(interest) => {
                self.learn(interest);
                Answer::Configured
            }
            _ => Answer::Missing,
        }
    }

    fn learn(&mut self, interest: &Interest) {
        let resolved = self.translator.resolve(&self.client, interest);
        let answer = match interest {
            Interest::Own => None,
            interest => {
                let answer = Resource::Answer(resolved.answer.clone());
                Some((interest.to_string(), Some(Arc::new(answer))))
            }
        };
        self.missing.extend(resolved.missing.clone());
        self.left_out.extend(resolved.left_out.iter().cloned());
        let pieces = resolved.resources.iter();
        let pieces =
            pieces.map(|piece| (piece.name.to_string(), Some(Arc::clone(&piece.resource))));
        self.table = self.table.with(pieces.chain(answer)).0;
    }
}
