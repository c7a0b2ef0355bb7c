//! One proxy of the world: it learns on demand, as a running one does.

use std::{net::SocketAddr, sync::Arc};

use weft_config::{Interest, Part, Resource};
use weft_decide::{Connection, Note, Relay, Request, Rng, Routed, Scope, Table, Tcp};
use weft_translate::{Client, Role, Translator};

/// How often an answer may lead to another question before the proxy gives up.
const QUESTIONS: usize = 8;

/// One proxy of the world.
pub(crate) struct Proxy<'w> {
    translator: &'w mut Translator,
    client: Client,
    table: Table,
}

impl<'w> Proxy<'w> {
    /// The proxy of a pod, with what it runs itself.
    pub(crate) fn new(client: Client, translator: &'w mut Translator) -> Self {
        let mut proxy = Self { translator, client, table: Table::new() };
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

    /// The listener that takes a connection to `port` of the pod itself.
    pub(crate) fn listener_on(&self, port: u16) -> Option<String> {
        let mut listeners = self.table.listeners();
        listeners.find(|listener| listener.bind.port() == port).map(|found| found.name.clone())
    }

    /// The ports of the pod itself on which it listens.
    pub(crate) fn listening(&self) -> Vec<u16> {
        self.table.listeners().map(|listener| listener.bind.port()).collect()
    }

    /// What serves a connection, and what was looked at for it.
    pub(crate) fn connection(
        &mut self,
        listener: &str,
        destination: SocketAddr,
        notes: &mut Vec<Note>,
    ) -> Connection {
        for _ in 0..QUESTIONS {
            notes.clear();
            match self.table.connection(listener, destination, notes) {
                Connection::Ask(interest) => self.learn(&interest),
                connection => return connection,
            }
        }
        Connection::Refuse(weft_decide::Reply::config_unavailable())
    }

    /// Where a request goes, and what was looked at for it.
    ///
    /// Of several destinations one is taken that exists, if there is one.
    pub(crate) fn route(
        &mut self,
        scope: &Scope,
        request: &Request<'_>,
        notes: &mut Vec<Note>,
    ) -> Routed {
        let known = notes.len();
        let mut last = Routed::Reply(weft_decide::Reply::config_unavailable());
        let mut questions = 0;
        let mut seed = 0;
        while questions < QUESTIONS && seed < 16 {
            notes.truncate(known);
            last = self.table.route(scope, request, &mut Rng::new(seed), notes);
            match &last {
                Routed::Ask(interest) => {
                    questions += 1;
                    let interest = interest.clone();
                    self.learn(&interest);
                }
                Routed::Reply(reply) if reply.backend.is_some() => seed += 1,
                _ => return last,
            }
        }
        last
    }

    /// Where a relayed connection goes.
    pub(crate) fn relay(&self, tcp: &Tcp, notes: &mut Vec<Note>) -> Relay {
        self.table.relay(tcp, &mut Rng::new(0), notes)
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
        let pieces = resolved.resources.iter();
        let pieces =
            pieces.map(|piece| (piece.name.to_string(), Some(Arc::clone(&piece.resource))));
        self.table = self.table.with(pieces.chain(answer)).0;
    }
}
