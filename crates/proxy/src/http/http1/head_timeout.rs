//! The answer to a client that does not finish its request's head in time.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use weft_decide::Failure;

use crate::{
    connection::downstream::Downstream,
    telemetry::outcome::{Kind, Outcome},
};

/// How long the client may take to accept the answer, which needs one packet.
const GRACE: Duration = Duration::from_secs(1);

/// Answers 408 on `stream`, ends it, and leaves a line in the access log.
pub async fn answer(downstream: &Rc<Downstream>, stream: &mut (impl AsyncWrite + Unpin)) {
    let server = downstream.direction().server();
    let failure = Failure::LateHead;
    let body = failure.reply().body;
    let length = body.len();
    let text = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-length: {length}\r\ncontent-type: text/plain\r\n\
         server: {server}\r\nconnection: close\r\n\r\n{body}"
    );
    let mut outcome = Outcome::blank(downstream, Kind::Request);
    (outcome.status, outcome.sent) = (failure.status(), length as u64);
    outcome.failed(&failure);
    let answering = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    if !matches!(timeout(GRACE, answering).await, Ok(Ok(()))) {
        tracing::debug!(client = %downstream.client, "a client takes no answer");
    }
}
