//! What follows an answer that begins another protocol.

use http::Response;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use crate::{
    admin::drain::Guard, connection::relay, http::response_body::Payload, record::outcome::Outcome,
};

/// Hands the answer to the client, and relays whatever is spoken then. Without a
/// client that asked for it, the answer makes no sense and is passed on as it is.
/// The connection counts as one until both sides are done.
pub fn relay(
    mut response: Response<Incoming>,
    client: Option<(OnUpgrade, Guard)>,
    mut outcome: Box<Outcome>,
) -> Response<Payload> {
    let server = hyper::upgrade::on(&mut response);
    let (parts, _) = response.into_parts();
    if let Some((client, guard)) = client {
        tokio::task::spawn_local(async move {
            let _counted = guard;
            let passed = relay::Passed::default();
            if let (Ok(client), Ok(server)) = (client.await, server.await) {
                let ended = relay::relay(TokioIo::new(client), TokioIo::new(server), &passed).await;
                if let Err(error) = ended {
                    tracing::debug!(%error, "an upgraded connection broke");
                }
            }
            outcome.relayed(passed.received.get(), passed.sent.get());
        });
    } else {
        outcome.complete();
    }
    Response::from_parts(parts, Payload::Empty)
}
