//! Undeclared ports: who speaks first?
//!
//! The application is dialled while the client is listened to. If the client
//! speaks first, its bytes are looked at and the connection is kept for its
//! first request; if the application does, everything is relayed. The selected
//! endpoint is kept in any case, since load balancing has counted it.
//!
//! Where the backend limits its connections, this one is given up as soon as the client speaks or
//! something waits for a connection: it serves nothing yet, and perhaps never will.

use std::{io, rc::Rc, time::Duration};

use tokio::time::timeout;
use weft_decide::Tcp;

use crate::{
    connection::{close_reason::CloseReason, downstream::Downstream, tcp},
    io::{peeked::PeekedStream, stream::Stream},
    upstream::endpoint_selection::UpstreamTarget,
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
    /// Neither, and neither will.
    Neither(CloseReason),
}

/// A connection to the application, made before it was known which protocol is used.
pub struct Connected {
    /// The connection, with the first bytes of the application.
    pub stream: PeekedStream,
    /// What it was made for.
    pub target: UpstreamTarget,
}

/// The endpoint selected during protocol detection, when the client spoke first.
pub struct Preconnected {
    /// The connection, if there was one by then.
    pub stream: Option<Stream>,
    /// What it was made for.
    pub target: UpstreamTarget,
}

/// What happens once there is a connection to the application.
enum Heard {
    /// The client spoke, or left.
    Client(io::Result<bool>),
    /// The application spoke.
    Server,
    /// Something waits for a connection.
    Wanted,
}

/// Waits until one of the two speaks.
pub async fn listen(downstream: &Rc<Downstream>, client: &mut PeekedStream, target: &Tcp) -> First {
    if !client.seen().is_empty() {
        // It came with what a layer has read.
        return First::Client;
    }
    let Ok(mut target) = tcp::target(downstream, target).await else {
        return client_only(client).await;
    };
    let stream = tokio::select! {
        biased;
        stream = target.connect(downstream) => Ok(stream),
        spoken = client.look() => Err(spoken),
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(spoken) => {
            downstream.preconnected.replace(Some(Preconnected { stream: None, target }));
            return after(spoken);
        }
    };
    let Ok(stream) = stream else { return client_only(client).await };
    let mut server = PeekedStream::new(stream);
    let heard = tokio::select! {
        biased;
        spoken = client.look() => Heard::Client(spoken),
        // An application that ends at once, or breaks, has spoken as well.
        _ = server.look() => Heard::Server,
        () = target.pool.wanted() => Heard::Wanted,
    };
    let spoken = match heard {
        Heard::Server => return First::Server(Box::new(Connected { stream: server, target })),
        Heard::Client(spoken) => {
            let stream = (!target.pool.is_counted()).then(|| server.into_stream());
            downstream.preconnected.replace(Some(Preconnected { stream, target }));
            spoken
        }
        Heard::Wanted => {
            drop(server);
            downstream.preconnected.replace(Some(Preconnected { stream: None, target }));
            client.look().await
        }
    };
    after(spoken)
}

/// Waits for the client alone: the application cannot be reached.
async fn client_only(client: &mut PeekedStream) -> First {
    match timeout(PATIENCE, client.look()).await {
        Ok(spoken) => after(spoken),
        Err(_) => First::Neither(CloseReason::Silent),
    }
}

fn after(spoken: io::Result<bool>) -> First {
    match spoken {
        Ok(true) => First::Client,
        Ok(false) => First::Neither(CloseReason::ClientLeft),
        Err(_) => First::Neither(CloseReason::Broken),
    }
}
