//! The client's end of an exchange: who it is, where it wanted to go, and how
//! it came here.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use weft_config::{Destination, Listener, Scope as Servers};
use weft_decide::Scope;

use crate::{side::Side, worker::Worker};

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
}

impl Downstream {
    /// Which way its traffic goes.
    pub fn side(&self) -> Side {
        match &self.scope {
            Some(scope) if scope.edge => Side::Edge,
            Some(_) if self.door.side == Side::Edge => Side::Incoming,
            _ => self.door.side,
        }
    }
}
