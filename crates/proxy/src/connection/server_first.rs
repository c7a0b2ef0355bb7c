//! Undeclared ports: who speaks first?
//!
//! The application is dialled while the client is listened to. If the client
//! speaks first, its bytes are looked at and the connection is kept for its
//! first request; if the application does, everything is relayed. The selected
//! endpoint is kept in any case, since load balancing has counted it.

use std::{rc::Rc, time::Duration};

use tokio::{io::Interest, net::TcpStream, time::timeout};
use weft_decide::Tcp;

use crate::{
    connection::{downstream::Downstream, tcp},
    io::peeked::PeekedStream,
};

/// How long a client of an application that cannot be reached may still begin a
/// request, which then gets a proper answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which side sent the first bytes.
pub enum First {
    /// The client.
    Client,
    /// The application, on this connection.
    Server(Box<Connected>),
    /// The client left, or neither side will send anything.
    Neither,
}

/// A connection to the application, made before it was known what is spoken.
pub struct Connected {
    /// The connection.
    pub stream: TcpStream,
    /// What it was made for.
    pub target: tcp::Target,
}

/// The endpoint selected during protocol detection, when the client spoke first.
pub struct Preconnected {
    /// The connection, if there was one by then.
    pub stream: Option<TcpStream>,
    /// What it was made for.
    pub target: tcp::Target,
}

/// Waits until one of the two speaks.
pub async fn listen(downstream: &Rc<Downstream>, client: &mut PeekedStream, target: &Tcp) -> First {
    let Ok(target) = tcp::target(downstream, target).await else { return heard(client).await };
    let stream = tokio::select! {
        biased;
        stream = target.line.connect(target.limit()) => stream,
        spoken = client.look() => {
            downstream.preconnected.replace(Some(Preconnected { stream: None, target }));
            return after(spoken);
        }
    };
    let Ok(stream) = stream else { return heard(client).await };
    let spoken = tokio::select! {
        biased;
        spoken = client.look() => Some(spoken),
        _ = stream.ready(Interest::READABLE) => None,
    };
    match spoken {
        Some(spoken) => {
            downstream.preconnected.replace(Some(Preconnected { stream: Some(stream), target }));
            after(spoken)
        }
        None => First::Server(Box::new(Connected { stream, target })),
    }
}

/// Waits for the client alone: the application cannot be reached.
async fn heard(client: &mut PeekedStream) -> First {
    match timeout(PATIENCE, client.look()).await {
        Ok(spoken) => after(spoken),
        Err(_) => First::Neither,
    }
}

fn after(spoken: std::io::Result<bool>) -> First {
    match spoken {
        Ok(true) => First::Client,
        Ok(false) | Err(_) => First::Neither,
    }
}
