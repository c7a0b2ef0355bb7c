//! The connection stage: what serves a connection, before a byte is read.

use std::{net::SocketAddr, sync::Arc};

use weft_balance::Rng;
use weft_config::{Decides, Entry, Host, Interest, Origin, Outside, Protocol, Settings, TcpTarget};

use crate::{
    arrive::of_authority,
    backend::CompiledBackend,
    conditions::explain_source,
    failure::Failure,
    hello::{ClientHello, MOST_NAMED, explain_hello},
    places::Belongs,
    record::{Record, Verdict, tell},
    reply::Reply,
    server::{CompiledServer, CompiledTcp, CompiledTcps, RelayFacts},
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
            Place::Listener(..) | Place::ServerName(..) => None,
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
    /// In the answer for a server name on a port, for which no host is looked up.
    ServerName(Host, u16),
}

/// Where a connection is relayed to.
#[derive(Clone, Debug)]
pub struct Tcp(Relayed);

#[derive(Clone, Debug)]
enum Relayed {
    /// To the address that the client dialled.
    Onwards,
    /// To where the one of these says that is for the proxy and the connection.
    To(Arc<CompiledTcps>, RelayFacts),
}

impl Tcp {
    /// The backends of the proxy with these settings, by weight; none for a connection that
    /// goes on to where the client dialled, or that is closed.
    pub fn backends(&self, settings: &Settings) -> &[(String, u32)] {
        match &self.0 {
            Relayed::Onwards => &[],
            Relayed::To(targets, facts) => {
                targets.find(settings, facts).map_or(&[], |target| &target.data.backends)
            }
        }
    }

    /// The server name that the client asked for, where that was read.
    pub fn server_name(&self) -> Option<&str> {
        match &self.0 {
            Relayed::Onwards => None,
            Relayed::To(_, facts) => facts.hello.as_ref()?.server_name.as_deref(),
        }
    }

    /// What was asked for it, if that is a server name.
    pub fn interest(&self) -> Option<&Interest> {
        match &self.0 {
            Relayed::Onwards => None,
            Relayed::To(_, facts) => facts.interest.as_ref(),
        }
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
            return self.among_servers((name, &listeners), destination, answers, record);
        }
        match self.directory().decides(destination) {
            Decides::Outside | Decides::Host => {
                if let Some(step) = self.by_server_name(destination, answers, record) {
                    return step;
                }
                if self.directory().decides(destination) == Decides::Outside {
                    return self.outside_connection(record);
                }
                Step::Done(Connection::Http(Scope {
                    place: Place::Hosts(destination.port()),
                    tcp: self.outside_tcp(),
                    edge: false,
                }))
            }
            Decides::Address => match self.answer_for_address(destination) {
                None if self.unanswered() == Unanswered::Ask => {
                    ask_for(Interest::Address(destination), answers)
                }
                None => self.outside_connection(record),
                Some(compiled) => match (&compiled.answer.entry, &compiled.server) {
                    (Entry::Server(_), Some(server)) => {
                        self.at_address((destination, server), answers, record)
                    }
                    _ => self.outside_connection(record),
                },
            },
        }
    }

    /// What serves a connection to an address that does not decide, where the server name of TLS
    /// does; none where the client does not speak TLS and hosts may decide.
    fn by_server_name<R: Record>(
        &self,
        destination: SocketAddr,
        answers: &Answers,
        record: &mut R,
    ) -> Option<Step<Connection>> {
        let port = destination.port();
        if !self.directory().reads_server_names(port) {
            return None;
        }
        let Some(hello) = answers.hello() else { return Some(Step::Ask(Question::Hello)) };
        let name = &hello?.server_name;
        let known = name.as_deref().filter(|name| self.directory().knows_host(name, port));
        let Some(host) = known.and_then(|name| Host::parse(name).ok()) else {
            return Some(self.outside_connection(record));
        };
        let answer = self.answer_for_server_name(host.as_str(), port);
        let server = answer.and_then(|compiled| compiled.server.as_ref());
        Some(match (answer, server) {
            (None, _) if self.unanswered() == Unanswered::Ask => {
                ask_for(Interest::ServerName(host, port), answers)
            }
            (_, Some(server)) => {
                let place = Place::ServerName(host, port);
                self.serve((server, place), answers, (destination, record))
            }
            _ => self.outside_connection(record),
        })
    }

    /// The backend that a connection goes to which is relayed as it is, or why it is
    /// closed.
    pub fn relay<R: Record>(
        &self,
        tcp: &Tcp,
        rng: &mut Rng,
        record: &mut R,
    ) -> Result<Arc<CompiledBackend>, Reply> {
        let (targets, facts) = match &tcp.0 {
            Relayed::Onwards => return Ok(Arc::clone(self.passthrough())),
            Relayed::To(targets, facts) => (targets, facts),
        };
        let chosen = targets.find(self.settings(), facts);
        for target in &targets.all {
            match chosen {
                Some(chosen) if std::ptr::eq(chosen, target) => break,
                _ => tell(record, &target.origin, Verdict::NotMatched, || {
                    explain(&target.data, facts, self.settings())
                }),
            }
        }
        let Some(target) = chosen else {
            let reply = Failure::NoDestination.reply();
            return Err(match targets.all.last() {
                Some(last) => reply.because_of(&last.origin),
                None => reply,
            });
        };
        if target.data.outside {
            return self.relay_outside(target, record);
        }
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
                    match explain(&target.data, facts, self.settings()) {
                        why if why.is_empty() => to,
                        why => format!("{why}; {to}"),
                    }
                });
                Ok(Arc::clone(backend))
            }
        }
    }

    /// The backend of a connection that no rule for its server name is for.
    fn relay_outside<R: Record>(
        &self,
        target: &CompiledTcp,
        record: &mut R,
    ) -> Result<Arc<CompiledBackend>, Reply> {
        let origin = &target.origin;
        match self.settings().outside {
            Outside::Allow => {
                tell(record, origin, Verdict::Matched, || {
                    "no rule is for what the client asks for; it goes on as it is".to_owned()
                });
                Ok(Arc::clone(self.passthrough()))
            }
            Outside::Refuse => {
                tell(record, origin, Verdict::Refused, || {
                    "no rule is for what the client asks for, and the outside is closed \
                     (outboundTrafficPolicy REGISTRY_ONLY)"
                        .to_owned()
                });
                Err(Failure::NoDestination.reply().because_of(origin))
            }
        }
    }

    /// What serves a connection to an address for which there is one server.
    fn at_address<R: Record>(
        &self,
        (address, server): (SocketAddr, &Arc<CompiledServer>),
        answers: &Answers,
        record: &mut R,
    ) -> Step<Connection> {
        let place = Place::Address(address);
        let Some(condition) = &server.data.hello else {
            return self.serve((server, place), answers, (address, record));
        };
        match answers.hello() {
            None => Step::Ask(Question::Hello),
            Some(Some(hello)) if hello.matches(condition).is_some() => {
                self.serve((server, place), answers, (address, record))
            }
            Some(_) => Step::Reply(Failure::NoDestination.reply().because_of(&server.origin)),
        }
    }

    /// What serves a connection to `destination` that belongs to `listeners`, which have servers.
    fn among_servers<R: Record>(
        &self,
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
            Some(server) => {
                let place = Place::Listener(Arc::clone(name), destination);
                self.serve((server, place), answers, (destination, record))
            }
            // Servers are there, and none of them is for this client.
            None if looks => Step::Reply(Failure::NoServer.reply()),
            None => Step::Done(Connection::Tcp(Tcp(Relayed::Onwards))),
        }
    }

    fn serve<R: Record>(
        &self,
        (server, place): (&Arc<CompiledServer>, Place),
        answers: &Answers,
        (destination, record): (SocketAddr, &mut R),
    ) -> Step<Connection> {
        // Who is chosen by TLS gets TLS: there is nothing else to be read in it.
        let protocol = match server.data.hello {
            Some(_) => Protocol::Tcp,
            None => server.data.protocol,
        };
        let reads = protocol == Protocol::Tcp && server.tcp.read_hello(self.settings());
        if reads && answers.hello().is_none() {
            return Step::Ask(Question::Hello);
        }
        let facts = || RelayFacts {
            destination: destination.ip(),
            hello: answers.shared_hello(),
            interest: match &place {
                Place::ServerName(host, port) => Some(Interest::ServerName(host.clone(), *port)),
                _ => None,
            },
        };
        let tcp = (!server.tcp.all.is_empty())
            .then(|| Tcp(Relayed::To(Arc::clone(&server.tcp), facts())));
        tell(record, &server.origin, Verdict::Matched, || {
            explain_server(server, &place, answers.hello().flatten())
        });
        let scope = Scope { place, tcp, edge: server.data.edge };
        match (protocol, scope.tcp.clone()) {
            (Protocol::Http, _) => Step::Done(Connection::Http(scope)),
            (Protocol::Detect, _) => Step::Done(Connection::Detect(scope)),
            (Protocol::Tcp, Some(tcp)) => Step::Done(Connection::Tcp(tcp)),
            (Protocol::Tcp, None) => {
                Step::Reply(Failure::NoDestination.reply().because_of(&server.origin))
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

/// Asks for `interest`; a connection whose configuration is missing is closed.
fn ask_for<T>(interest: Interest, answers: &Answers) -> Step<T> {
    match answers.ask(Question::Interest(interest)) {
        Step::Reply(reply) => Step::Reply(Reply { status: None, ..reply }),
        ask => ask,
    }
}

/// What a target asks of a connection, and what the connection and the proxy have of it, in words.
fn explain(target: &TcpTarget, facts: &RelayFacts, settings: &Settings) -> String {
    let mut parts = Vec::new();
    if let Some(condition) = &target.hello {
        parts.push(explain_hello(condition, facts.hello.as_deref()));
    }
    if !target.destinations.is_empty() {
        let ip = facts.destination.to_canonical();
        let is = match target.destinations.iter().any(|range| range.contains(&ip)) {
            true => "is",
            false => "is not",
        };
        let ranges = target.destinations.iter().take(MOST_NAMED).map(|range| format!("`{range}`"));
        let ranges = ranges.collect::<Vec<_>>().join(", ");
        parts.push(format!("the address `{ip}` {is} in {ranges}"));
    }
    parts.extend(Some(explain_source(&target.source, settings)).filter(|text| !text.is_empty()));
    parts.join(", ")
}

/// Why a server is for a connection, in words.
fn explain_server(server: &CompiledServer, place: &Place, hello: Option<&ClientHello>) -> String {
    match (place, &server.data.hello, server.data.port) {
        (Place::Address(address), ..) => format!("{address} is its address and port"),
        (Place::ServerName(host, _), ..) => format!("the TLS client asks for `{host}`"),
        (_, Some(condition), _) => match explain_hello(condition, hello) {
            why if why.is_empty() => "the client begins TLS".to_owned(),
            why => why,
        },
        (_, None, Some(port)) => format!("the connection is to its port {port}"),
        (_, None, None) => "the connection is to its port".to_owned(),
    }
}

/// What explanations name when the mesh's settings decide about the outside.
pub(crate) fn outside_origin() -> Origin {
    Origin::new("MeshConfig", "outboundTrafficPolicy")
}
