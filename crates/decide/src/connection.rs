//! The connection stage: what serves a connection, before a byte is read.

use std::{net::SocketAddr, sync::Arc};

use weft_balance::Rng;
use weft_config::{Decides, Entry, Host, Interest, Origin, Outside, Protocol, Settings};

use crate::{
    arrive::of_authority,
    backend::CompiledBackend,
    conditions::{explain_source, is_source},
    failure::Failure,
    places::Belongs,
    record::{Record, Verdict, tell},
    reply::Reply,
    server::{CompiledServer, CompiledTcp},
    stage::{Answers, Question, Step},
    table::{Table, Unanswered},
};

/// What serves a connection.
#[derive(Clone, Debug)]
pub enum Connection {
    /// HTTP; if the first bytes are not, the scope's `tcp`, else it is closed.
    Http(Scope),
    /// Undeclared: HTTP if the client begins so, else the scope's `tcp`; the
    /// application may speak first.
    Detect(Scope),
    /// Relayed as it is.
    Tcp(Tcp),
}

/// Which hosts are in play on a connection. It holds names only, so that every
/// request sees the table of its own time.
#[derive(Clone, Debug)]
pub struct Scope {
    pub(crate) place: Place,
    /// Where the connection goes if it is not HTTP.
    pub tcp: Option<Tcp>,
    /// Whether clients come from outside the mesh, so that headers they set about
    /// themselves are not trusted.
    pub edge: bool,
}

impl Scope {
    /// What is asked for a request for `authority`; none where no question is.
    pub fn interest(&self, authority: &str) -> Option<Interest> {
        match &self.place {
            Place::Listener(..) => None,
            Place::Address(address) => Some(Interest::Address(*address)),
            Place::Hosts(port) => {
                let host = Host::parse(&of_authority(authority)).ok()?;
                Some(Interest::Host(host, *port))
            }
        }
    }
}

/// Where the hosts of a scope are looked up.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Among the servers of a listener, and of those that share its port with it.
    Listener(Arc<str>, SocketAddr),
    /// In the answer for an address.
    Address(SocketAddr),
    /// In the answers for hosts on a port.
    Hosts(u16),
}

/// Where a connection is relayed to.
#[derive(Clone, Debug)]
pub struct Tcp(Relayed);

#[derive(Clone, Debug)]
enum Relayed {
    /// To the address that the client dialled.
    Onwards,
    /// To where the first of these says that is for the proxy.
    To(Arc<[CompiledTcp]>),
}

impl Tcp {
    /// The backends of the proxy with these settings, by weight; none for a connection that
    /// goes on to where the client dialled, or that is closed.
    pub fn backends(&self, settings: &Settings) -> &[(String, u32)] {
        let targets = match &self.0 {
            Relayed::Onwards => &[][..],
            Relayed::To(targets) => targets,
        };
        let own = targets.iter().find(|target| is_source(&target.data.source, settings));
        own.map_or(&[], |target| &target.data.backends)
    }
}

impl Table {
    /// What serves a connection that arrived at `listener` for `destination`.
    pub fn connection<R: Record>(
        &self,
        listener: &str,
        destination: SocketAddr,
        answers: &Answers,
        record: &mut R,
    ) -> Step<Connection> {
        let listeners = self.belongs(listener, destination);
        let Some((name, listener)) = listeners.first() else {
            return Step::Reply(Failure::NoDestination.reply());
        };
        if !matches!(listener.data.scope, weft_config::Scope::Directory) {
            return among_servers((name, &listeners), destination, answers, record);
        }
        match self.directory().decides(destination) {
            Decides::Outside => self.outside_connection(record),
            Decides::Host => Step::Done(Connection::Http(Scope {
                place: Place::Hosts(destination.port()),
                tcp: self.outside_tcp(),
                edge: false,
            })),
            Decides::Address => match self.answer_for_address(destination) {
                None if self.unanswered() == Unanswered::Ask => {
                    match answers.ask(Question::Interest(Interest::Address(destination))) {
                        Step::Reply(reply) => Step::Reply(Reply { status: None, ..reply }),
                        ask => ask,
                    }
                }
                None => self.outside_connection(record),
                Some(compiled) => match (&compiled.answer.entry, &compiled.server) {
                    (Entry::Server(_), Some(server)) => {
                        at_address((destination, server), answers, record)
                    }
                    _ => self.outside_connection(record),
                },
            },
        }
    }

    /// The backend that a connection goes to which is relayed as it is, or why it is
    /// closed.
    pub fn relay<R: Record>(
        &self,
        tcp: &Tcp,
        rng: &mut Rng,
        record: &mut R,
    ) -> Result<Arc<CompiledBackend>, Reply> {
        let targets = match &tcp.0 {
            Relayed::Onwards => return Ok(Arc::clone(self.passthrough())),
            Relayed::To(targets) => targets,
        };
        let own = targets.iter().find(|target| {
            let is_own = is_source(&target.data.source, self.settings());
            if !is_own {
                tell(record, &target.origin, Verdict::NotMatched, || {
                    explain_source(&target.data.source, self.settings())
                });
            }
            is_own
        });
        let Some(target) = own else {
            let reply = Failure::NoDestination.reply();
            return Err(match targets.last() {
                Some(last) => reply.because_of(&last.origin),
                None => reply,
            });
        };
        let origin = &target.origin;
        let Some(name) = target.pick(rng) else {
            return Err(Failure::NoDestination.reply().because_of(origin));
        };
        match self.backend(name) {
            None => {
                tell(record, origin, Verdict::Refused, || format!("there is no backend {name}"));
                let reply = Reply { status: None, ..Failure::NoBackend.reply().about(name) };
                Err(reply.because_of(origin))
            }
            Some(backend) if backend.data.closed.is_some() => {
                tell(record, &backend.data.origin, Verdict::Refused, || "closed".to_owned());
                Err(Reply { status: None, ..backend.closed_reply() })
            }
            Some(backend) => {
                tell(record, origin, Verdict::Matched, || {
                    let data = &backend.data;
                    let to = match data.service.as_str() {
                        "" => format!("relayed to port {} of the application", data.port),
                        service => format!("relayed to {service}:{}", data.port),
                    };
                    match &target.data.source {
                        source if source.is_any() => to,
                        source => format!("{}; {to}", explain_source(source, self.settings())),
                    }
                });
                Ok(Arc::clone(backend))
            }
        }
    }

    /// Connections that the mesh knows nothing of.
    fn outside_connection<R: Record>(&self, record: &mut R) -> Step<Connection> {
        let origin = &self.passthrough_rule().origin;
        match self.outside_tcp() {
            Some(tcp) => {
                tell(record, origin, Verdict::Matched, || {
                    "nothing in the mesh has this address; it goes on as it is".to_owned()
                });
                Step::Done(Connection::Tcp(tcp))
            }
            None => {
                tell(record, origin, Verdict::Refused, || {
                    "nothing in the mesh has this address, and the outside is closed \
                     (outboundTrafficPolicy REGISTRY_ONLY)"
                        .to_owned()
                });
                Step::Reply(Failure::NoDestination.reply().because_of(origin))
            }
        }
    }

    fn outside_tcp(&self) -> Option<Tcp> {
        match self.settings().outside {
            Outside::Allow => Some(Tcp(Relayed::Onwards)),
            Outside::Refuse => None,
        }
    }
}

/// What serves a connection to an address for which there is one server.
fn at_address<R: Record>(
    (address, server): (SocketAddr, &Arc<CompiledServer>),
    answers: &Answers,
    record: &mut R,
) -> Step<Connection> {
    let Some(condition) = &server.data.hello else {
        return serve(server, Place::Address(address), record);
    };
    match answers.hello() {
        None => Step::Ask(Question::Hello),
        Some(Some(hello)) if hello.matches(condition).is_some() => {
            serve(server, Place::Address(address), record)
        }
        Some(_) => Step::Reply(Failure::NoDestination.reply().because_of(&server.origin)),
    }
}

/// What serves a connection to `destination` that belongs to `listeners`, which have servers.
fn among_servers<R: Record>(
    (name, listeners): (&Arc<str>, &Belongs<'_>),
    destination: SocketAddr,
    answers: &Answers,
    record: &mut R,
) -> Step<Connection> {
    let port = destination.port();
    let looks = listeners.look_at_hello(port);
    let by_hello = match answers.hello() {
        None if looks => return Step::Ask(Question::Hello),
        Some(Some(hello)) => listeners.server_for(port, hello),
        Some(None) | None => None,
    };
    match by_hello.or_else(|| listeners.servers(port).next()) {
        Some(server) => serve(server, Place::Listener(Arc::clone(name), destination), record),
        // Servers are there, and none of them is for this client.
        None if looks => Step::Reply(Failure::NoDestination.reply()),
        None => Step::Done(Connection::Tcp(Tcp(Relayed::Onwards))),
    }
}

fn serve<R: Record>(
    server: &Arc<CompiledServer>,
    place: Place,
    record: &mut R,
) -> Step<Connection> {
    let tcp = (!server.tcp.is_empty()).then(|| Tcp(Relayed::To(Arc::clone(&server.tcp))));
    tell(record, &server.origin, Verdict::Matched, || match (&place, server.data.port) {
        (Place::Address(address), _) => format!("{address} is its address and port"),
        _ if server.data.hello.is_some() => "the TLS client asks for it".to_owned(),
        (_, Some(port)) => format!("the connection is to its port {port}"),
        (_, None) => "the connection is to its port".to_owned(),
    });
    let scope = Scope { place, tcp, edge: server.data.edge };
    // Who is chosen by TLS gets TLS: there is nothing else to be read in it.
    let protocol = match server.data.hello {
        Some(_) => Protocol::Tcp,
        None => server.data.protocol,
    };
    match (protocol, scope.tcp.clone()) {
        (Protocol::Http, _) => Step::Done(Connection::Http(scope)),
        (Protocol::Detect, _) => Step::Done(Connection::Detect(scope)),
        (Protocol::Tcp, Some(tcp)) => Step::Done(Connection::Tcp(tcp)),
        (Protocol::Tcp, None) => {
            Step::Reply(Failure::NoDestination.reply().because_of(&server.origin))
        }
    }
}

/// What explanations name when the mesh's settings decide about the outside.
pub(crate) fn outside_origin() -> Origin {
    Origin::new("MeshConfig", "outboundTrafficPolicy")
}
