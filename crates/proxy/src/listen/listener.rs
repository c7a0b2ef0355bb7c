//! A listener as its connections see it.

use std::{net::SocketAddr, sync::Arc};

use weft_config::{Destination, Layer, Limits, Scope};

use crate::{connection::direction::Direction, upstream::pool_key::Transport};

/// A listener as its connections see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// How the real destination is learnt.
    pub destination: Destination,
    /// What is taken off its connections before anything is decided.
    pub layers: Arc<[Layer]>,
    /// What its clients may use up.
    pub limits: Limits,
    /// What these mean for connections to servers.
    pub transport: Transport,
    /// The direction of its traffic.
    pub direction: Direction,
    /// The address and port that its connections are for, where the sockets are those of another
    /// process.
    pub lent: Option<SocketAddr>,
}

impl Listener {
    /// What connections need to know of `listener`.
    pub fn of(listener: &weft_config::Listener) -> Self {
        let direction = match &listener.scope {
            Scope::Directory => Direction::Outbound,
            Scope::Servers(servers) if servers.iter().any(|server| server.edge) => Direction::Edge,
            Scope::Servers(_) => Direction::Inbound,
        };
        let name = Arc::from(listener.name.as_str());
        Self {
            name,
            destination: listener.destination,
            layers: listener.layers.as_slice().into(),
            limits: listener.limits,
            transport: Transport::of(&listener.limits),
            direction,
            lent: None,
        }
    }

    /// Whether a destination behind this listener is the application of this proxy, as
    /// opposed to some other place.
    pub fn leads_to_application(&self) -> bool {
        self.direction == Direction::Inbound && self.destination == Destination::Kernel
    }
}
