//! Undeclared ports: who speaks first?
//!
//! The application is dialled while the client is listened to. If the client
//! speaks first, its bytes are looked at and the connection is kept for its
//! first request; if the application does, everything is relayed. Where it was
//! dialled is kept in any case, since that endpoint has had its turn.

use std::{rc::Rc, time::Duration};

use tokio::{io::Interest, net::TcpStream, time::timeout};
use weft_decide::Tcp;

use crate::{
    connection::{downstream::Downstream, tcp},
    io::peeked::Replay,
};

/// How long a client of an application that cannot be reached may still begin a
/// request, which then gets a proper answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who spoke first.
pub enum First {
    /// The client.
    Client,
    /// The application, on this connection.
    Server(Box<Connected>),
    /// The client left, or nobody will ever speak.
    Nobody,
}

/// A connection to the application, made before it was known what is spoken.
pub struct Connected {
    /// The connection.
    pub stream: TcpStream,
    /// What it was made for.
    pub target: tcp::Target,
}

/// What there is towards the application when the client spoke first.
pub struct Spare {
    /// The connection, if there was one by then.
    pub stream: Option<TcpStream>,
    /// What it was made for.
    pub target: tcp::Target,
}

/// Waits until one of the two speaks.
pub async fn listen(downstream: &Rc<Downstream>, client: &mut Replay, target: &Tcp) -> First {
    let Ok(target) = tcp::target(downstream, target).await else { return heard(client).await };
    let stream = tokio::select! {
        biased;
        stream = target.line.connect(target.limit()) => stream,
        spoken = client.look() => {
            downstream.spare.replace(Some(Spare { stream: None, target }));
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
            downstream.spare.replace(Some(Spare { stream: Some(stream), target }));
            after(spoken)
        }
        None => First::Server(Box::new(Connected { stream, target })),
    }
}

/// Nobody but the client can speak.
async fn heard(client: &mut Replay) -> First {
    match timeout(PATIENCE, client.look()).await {
        Ok(spoken) => after(spoken),
        Err(_) => First::Nobody,
    }
}

fn after(spoken: std::io::Result<bool>) -> First {
    match spoken {
        Ok(true) => First::Client,
        Ok(false) | Err(_) => First::Nobody,
    }
}
