//! The connection stage: what serves a connection, before a byte is read.

use std::{net::SocketAddr, sync::Arc};

use weft_balance::Rng;
use weft_config::{Decides, Entry, Interest, Origin, Outside, Protocol};

use crate::{
    backend::CompiledBackend,
    record::{Record, Verdict, tell},
    reply::{Flag, Flags, Reply},
    server::{CompiledServer, CompiledTcp},
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
    /// To be decided again when this is answered.
    Ask(Interest),
    /// Closed at once.
    Refuse(Reply),
}

/// Which hosts are in play on a connection. It holds names only, so that every
/// request sees the table of its own time.
#[derive(Clone, Debug)]
pub struct Scope {
    pub(crate) place: Place,
    /// Where the connection goes if it is not HTTP.
    pub tcp: Option<Tcp>,
    /// Whether clients come from beyond the mesh, and are not believed what they
    /// say of themselves.
    pub edge: bool,
}

/// Where the hosts of a scope are looked up.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Among the servers of a listener.
    Listener(Arc<str>, u16),
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
    To(Arc<CompiledTcp>),
}

impl Tcp {
    /// The backends by weight; none for a connection that goes on to where the
    /// client dialled.
    pub fn backends(&self) -> &[(String, u32)] {
        match &self.0 {
            Relayed::Onwards => &[],
            Relayed::To(target) => &target.data.backends,
        }
    }
}

/// Where a relayed connection goes.
#[derive(Clone, Debug)]
pub enum Relay {
    /// To an endpoint of this backend.
    To(Arc<CompiledBackend>),
    /// Nowhere.
    Refuse(Reply),
}

impl Table {
    /// What serves a connection that arrived at `listener` for `destination`.
    pub fn connection<R: Record>(
        &self,
        listener: &str,
        destination: SocketAddr,
        record: &mut R,
    ) -> Connection {
        let Some((name, listener)) = self.named_listener(listener) else {
            return Connection::Refuse(Reply::closed());
        };
        if !matches!(listener.data.scope, weft_config::Scope::Directory) {
            let port = destination.port();
            return match listener.server(port) {
                Some(server) => serve(server, Place::Listener(Arc::clone(name), port), record),
                None => Connection::Tcp(Tcp(Relayed::Onwards)),
            };
        }
        match self.directory().decides(destination) {
            Decides::Outside => self.outside_connection(record),
            Decides::Host => Connection::Http(Scope {
                place: Place::Hosts(destination.port()),
                tcp: self.outside_tcp(),
                edge: false,
            }),
            Decides::Address => match self.led_by_address(destination) {
                None if self.unanswered() == Unanswered::Ask => {
                    Connection::Ask(Interest::Address(destination))
                }
                None => self.outside_connection(record),
                Some(led) => match (&led.answer.entry, &led.server) {
                    (Entry::Server(_), Some(server)) => {
                        serve(server, Place::Address(destination), record)
                    }
                    _ => self.outside_connection(record),
                },
            },
        }
    }

    /// Where a connection goes that is relayed as it is.
    pub fn relay<R: Record>(&self, tcp: &Tcp, rng: &mut Rng, record: &mut R) -> Relay {
        let target = match &tcp.0 {
            Relayed::Onwards => return Relay::To(Arc::clone(self.passthrough())),
            Relayed::To(target) => target,
        };
        let name = target.weights.pick(rng).and_then(|at| target.backends.get(at));
        let Some(name) = name else { return Relay::Refuse(Reply::closed()) };
        let origin = &target.data.origin;
        match self.backend(name) {
            None => {
                tell(record, origin, Verdict::Refused, || format!("there is no backend {name}"));
                let flags = Flags::of(Flag::NoBackend);
                let reply = Reply { status: None, flags, ..Reply::no_backend(name) };
                Relay::Refuse(reply)
            }
            Some(backend) if backend.data.closed.is_some() => {
                tell(record, &backend.data.origin, Verdict::Refused, || "closed".to_owned());
                Relay::Refuse(Reply { status: None, ..backend.closed_reply() })
            }
            Some(backend) => {
                tell(record, origin, Verdict::Matched, || format!("relayed to {name}"));
                Relay::To(Arc::clone(backend))
            }
        }
    }

    /// Connections that the mesh knows nothing of.
    fn outside_connection<R: Record>(&self, record: &mut R) -> Connection {
        match self.outside_tcp() {
            Some(tcp) => {
                tell(record, &outside_origin(), Verdict::Matched, || {
                    "nothing in the mesh has this address; it goes on as it is".to_owned()
                });
                Connection::Tcp(tcp)
            }
            None => {
                tell(record, &outside_origin(), Verdict::Refused, || {
                    "nothing in the mesh has this address, and the outside is closed \
                     (outboundTrafficPolicy REGISTRY_ONLY)"
                        .to_owned()
                });
                Connection::Refuse(Reply::closed())
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

fn serve<R: Record>(server: &Arc<CompiledServer>, place: Place, record: &mut R) -> Connection {
    let tcp = server.tcp.as_ref().map(|target| Tcp(Relayed::To(Arc::clone(target))));
    tell(record, &server.data.origin, Verdict::Matched, || match server.data.port {
        Some(port) => format!("server {} for port {port}", server.data.name),
        None => format!("server {}", server.data.name),
    });
    let scope = Scope { place, tcp, edge: server.data.edge };
    match (server.data.protocol, scope.tcp.clone()) {
        (Protocol::Http, _) => Connection::Http(scope),
        (Protocol::Detect, _) => Connection::Detect(scope),
        (Protocol::Tcp, Some(tcp)) => Connection::Tcp(tcp),
        (Protocol::Tcp, None) => Connection::Refuse(Reply::closed()),
    }
}

/// What explanations name when the mesh's settings decide about the outside.
pub(crate) fn outside_origin() -> Origin {
    Origin::new("MeshConfig", "outboundTrafficPolicy")
}
