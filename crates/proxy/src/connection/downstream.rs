//! The client's end of an exchange: who it is, where it wanted to go, and how
//! it came here.

use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use http::HeaderValue;
use tokio::net::TcpStream;
use weft_config::{Destination, Listener, Scope as Servers};
use weft_decide::{CompiledBackend, Scope};

use crate::{
    connection::{direction::Side, server_first::Spare, tcp::Picked},
    upstream::dial::Way,
    worker::Worker,
};

/// A place where connections arrive, as far as connections care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Its name.
    pub name: Arc<str>,
    /// How the real destination is learnt.
    pub destination: Destination,
    /// Which way its traffic goes.
    pub side: Side,
    /// The port that its connections are for, where the socket has another.
    pub port: Option<u16>,
}

impl Door {
    /// The door of `listener`.
    pub fn of(listener: &Listener) -> Self {
        let side = match &listener.scope {
            Servers::Directory => Side::Outgoing,
            Servers::Servers(servers) if servers.iter().any(|server| server.edge) => Side::Edge,
            Servers::Servers(_) => Side::Incoming,
        };
        let name = Arc::from(listener.name.as_str());
        Self { name, destination: listener.destination, side, port: None }
    }

    /// Whether a destination behind this door is the application of this proxy, as
    /// opposed to some other place.
    pub fn leads_to_application(&self) -> bool {
        self.side == Side::Incoming && self.destination == Destination::Kernel
    }
}

/// The client's end.
pub struct Downstream {
    /// Who serves it.
    pub worker: Rc<Worker>,
    /// Where it came in.
    pub door: Arc<Door>,
    /// The other end of the connection.
    pub client: SocketAddr,
    /// The address that the client dialled.
    pub destination: SocketAddr,
    /// This end of the connection.
    pub local: SocketAddr,
    /// Which hosts are in play; none for what is relayed as it is.
    pub scope: Option<Scope>,
    /// The client's address as header fields have it, once it was needed.
    pub text: OnceCell<HeaderValue>,
    /// Whose turn it is to say something.
    pub turn: Turn,
    /// What there is towards a server since before it was known what is spoken.
    pub spare: RefCell<Option<Spare>>,
}

/// Whose turn it is: the proxy's while exchanges are under way, else the client's.
#[derive(Debug)]
pub struct Turn {
    exchanges: Cell<usize>,
    since: Cell<Instant>,
}

impl Default for Turn {
    fn default() -> Self {
        Self { exchanges: Cell::new(0), since: Cell::new(Instant::now()) }
    }
}

impl Turn {
    /// An exchange begins.
    pub fn begin(&self) {
        self.exchanges.set(self.exchanges.get() + 1);
    }

    /// An exchange ends, at this moment.
    pub fn end(&self, now: Instant) {
        self.exchanges.set(self.exchanges.get().saturating_sub(1));
        self.since.set(now);
    }

    /// Since when the client is silent; none while the proxy owes it something.
    pub fn silent_since(&self) -> Option<Instant> {
        (self.exchanges.get() == 0).then(|| self.since.get())
    }
}

impl Downstream {
    /// The client's address as header fields have it.
    pub fn client_text(&self) -> HeaderValue {
        let text = || {
            HeaderValue::try_from(self.client.ip().to_string())
                .expect("an address is made of visible characters")
        };
        self.text.get_or_init(text).clone()
    }

    /// Where `backend` led before it was known what is spoken, if nobody has gone there yet.
    pub fn turn_of(&self, backend: &Arc<CompiledBackend>) -> Option<Picked> {
        self.spare.borrow().as_ref()?.target.of(backend)
    }

    /// The connection that was made before it was known what is spoken, if it leads there;
    /// else it is closed.
    pub fn take_spare(&self, way: Way) -> Option<TcpStream> {
        let Spare { stream, target } = self.spare.take()?;
        stream.filter(|_| target.line.way() == way)
    }

    /// Which way its traffic goes.
    pub fn side(&self) -> Side {
        match &self.scope {
            Some(scope) if scope.edge => Side::Edge,
            Some(_) if self.door.side == Side::Edge => Side::Incoming,
            _ => self.door.side,
        }
    }
}
