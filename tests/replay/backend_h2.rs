//! The same backends over HTTP/2 without TLS.

use std::net::TcpStream;

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::time::{Instant, sleep_until};

use crate::backend::{Heard, Notes, latin1};

/// Serves a connection that has begun with the preface.
pub fn serve(stream: TcpStream, at: &str, notes: &Notes) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        stream.set_nonblocking(true).expect("a socket can be");
        let stream = tokio::net::TcpStream::from_std(stream).expect("a socket is one");
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let mut running = futures::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, reply))) => running.push(answer(request, reply, at, notes)),
                    _ => return,
                },
                Some(()) = futures::StreamExt::next(&mut running) => {}
            }
        }
    });
}

async fn answer(
    request: Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    at: &str,
    notes: &Notes,
) {
    let (head, mut body) = request.into_parts();
    let mut heard = Heard {
        at: at.to_owned(),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority: head.uri.authority().map(ToString::to_string),
        protocol: "HTTP/2".to_owned(),
        ..Heard::default()
    };
    for (name, value) in &head.headers {
        let values = heard.fields.entry(name.to_string()).or_default();
        values.push(latin1(value.as_bytes()));
    }
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        heard.body += piece.len();
        let _ = body.flow_control().release_capacity(piece.len());
    }
    let order = notes.note(heard);
    sleep_until(Instant::from_std(order.due)).await;
    if order.is_reset {
        return reply.send_reset(h2::Reason::INTERNAL_ERROR);
    }
    let mut response = Response::builder().status(order.status);
    for (name, value) in order.all_fields() {
        response = response.header(name, value);
    }
    let response = response.body(()).expect("a head");
    let text = order.body();
    // A client that has left needs no answer.
    let Ok(mut stream) = reply.send_response(response, text.is_empty()) else { return };
    if !text.is_empty() {
        let _ = stream.send_data(text.into(), true);
    }
}
