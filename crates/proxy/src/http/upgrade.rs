//! What follows an answer that begins another protocol.

use std::rc::Rc;

use http::{Response, StatusCode, response};
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    connection::{
        downstream::Downstream,
        relay::{self, RelayError},
    },
    http::{
        body::Incoming,
        http1::{early_response::EarlyResponse, error_bodies::ErrorBodies},
        metered_stream::MeteredStream,
    },
    io::{gathered::GatheredWriter, peeked::PeekedStream, stream::Stream},
    telemetry::outcome::Outcome,
    upstream::pool::PooledConnection,
    worker::{live_relays::LiveRelay, open_connections::ConnectionGuard},
};

/// The status of a response that begins another protocol.
pub const SWITCHING: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

/// What a request that was upgraded holds of its client and of what it goes by.
pub struct UpgradedRequest {
    /// The client's connection, once the client has the answer.
    pub client: OnUpgrade,
    /// Counts the connection until both sides are done.
    pub guard: ConnectionGuard,
    /// Keeps what the request goes by in use.
    pub used: Option<LiveRelay>,
}

/// Relays whatever is spoken after `response`, once the client has it, which must be soon, until
/// nothing has passed for too long; the head for the client. The connection counts as one until both
/// sides are done, so does the request at its endpoint, and what it goes by as used.
pub fn relay(
    mut response: Response<Incoming>,
    request: UpgradedRequest,
    connection: PooledConnection,
    mut outcome: Box<Outcome>,
    downstream: Rc<Downstream>,
) -> response::Parts {
    let UpgradedRequest { client, guard, used } = request;
    let server = hyper::upgrade::on(&mut response);
    let (parts, _) = response.into_parts();
    tokio::task::spawn_local(async move {
        let _counted = (connection, used);
        let passed = relay::Passed::default();
        let limit = downstream.listener.limits.stalled;
        let begun = tokio::select! {
            // Until the client has the answer, the connection may be one too many.
            () = guard.shed() => None,
            begun = timeout(limit, async { (client.await.ok()).zip(server.await.ok()) }) => {
                begun.ok().flatten()
            }
        };
        if let Some((client, server)) = begun {
            guard.idle_timer().begin();
            let (mut client, mut server) = (of_client(client), of_server(server));
            let limits = downstream.relay_limits();
            let ended = relay::relay(&mut client, &mut server, &passed, limits).await;
            if let Err(error) = ended {
                tracing::debug!(%error, "an upgraded connection broke");
                match error {
                    RelayError::Client(_) => server.stream().reset_on_drop(),
                    RelayError::Server(_) => client.stream().reset_on_drop(),
                    RelayError::Idle(_) => {}
                }
            }
        }
        outcome.relayed(passed.received.get(), passed.sent.get());
    });
    parts
}

/// The client's connection without the codec, which may have read too far.
fn of_client(upgraded: Upgraded) -> PeekedStream {
    match upgraded.downcast::<TokioIo<MeteredStream<ErrorBodies<PeekedStream>>>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let (stream, held) = io.into_inner().into_inner().into_inner();
            stream.with_unread(&held).with_unread(&read_buf)
        }
        Err(upgraded) => PeekedStream::new(Stream::layered(TokioIo::new(upgraded))),
    }
}

/// The same of the server's.
fn of_server(upgraded: Upgraded) -> PeekedStream {
    match upgraded.downcast::<TokioIo<MeteredStream<EarlyResponse<GatheredWriter>>>>() {
        Ok(Parts { io, read_buf, .. }) => {
            PeekedStream::new(io.into_inner().into_inner().into_inner().0).with_unread(&read_buf)
        }
        Err(upgraded) => PeekedStream::new(Stream::layered(TokioIo::new(upgraded))),
    }
}
