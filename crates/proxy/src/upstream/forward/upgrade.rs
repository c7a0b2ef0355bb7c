//! What follows an answer that begins another protocol.

use std::rc::Rc;

use http::Response;
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Parts, Upgraded},
};
use hyper_util::rt::TokioIo;

use crate::{
    admin::drain::Guard,
    connection::{
        downstream::Downstream,
        relay::{self, RelayError},
    },
    http::response_body::Payload,
    io::{gathered::GatheredWriter, peeked::PeekedStream, stream::Stream},
    record::outcome::Outcome,
};

/// Hands the answer to the client, and relays whatever is spoken then, until nothing has
/// passed for too long. Without a client that asked for it, the answer makes no sense and is
/// passed on as it is. The connection counts as one until both sides are done.
pub fn relay(
    mut response: Response<Incoming>,
    client: Option<(OnUpgrade, Guard)>,
    mut outcome: Box<Outcome>,
    downstream: Rc<Downstream>,
) -> Response<Payload> {
    let server = hyper::upgrade::on(&mut response);
    let (parts, _) = response.into_parts();
    if let Some((client, guard)) = client {
        tokio::task::spawn_local(async move {
            let _counted = guard;
            let passed = relay::Passed::default();
            if let (Ok(client), Ok(server)) = (client.await, server.await) {
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
    } else {
        outcome.complete();
    }
    Response::from_parts(parts, Payload::Empty)
}

/// The client's connection without the codec, which may have read too far.
fn of_client(upgraded: Upgraded) -> PeekedStream {
    match upgraded.downcast::<TokioIo<PeekedStream>>() {
        Ok(Parts { io, read_buf, .. }) => io.into_inner().with_unread(&read_buf),
        Err(upgraded) => PeekedStream::new(Stream::layered(TokioIo::new(upgraded))),
    }
}

/// The same of the server's.
fn of_server(upgraded: Upgraded) -> PeekedStream {
    match upgraded.downcast::<TokioIo<GatheredWriter>>() {
        Ok(Parts { io, read_buf, .. }) => {
            PeekedStream::new(io.into_inner().0).with_unread(&read_buf)
        }
        Err(upgraded) => PeekedStream::new(Stream::layered(TokioIo::new(upgraded))),
    }
}
