//! HTTP on a client's connection: the codec's settings, and its orderly end.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    server::conn::{http1 as codec1, http2 as codec2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};
use weft_decide::{Flag, Flags};

use crate::{
    admin::drain::Guard,
    connection::downstream::{Downstream, IdleTimer},
    http::{exchange::exchange, executor::Local},
    io::peeked::PeekedStream,
    record::outcome::{Kind, Outcome},
};

/// The head of a request, and the time between two of them.
const HEAD_DEADLINE: Duration = Duration::from_secs(3600);
/// Bytes of a head.
const MOST_HEAD: u32 = 60 * 1024;
/// Requests under way on one connection.
const MOST_STREAMS: u32 = 256;
/// Bytes under way in each direction, per stream and per connection.
const WINDOW: u32 = 256 * 1024;

/// Serves HTTP/1.
pub async fn http1(downstream: Rc<Downstream>, stream: PeekedStream, guard: Guard) {
    let requests = Rc::clone(&downstream);
    let service = service_fn(move |request| exchange(Rc::clone(&requests), request));
    let connection = codec1::Builder::new()
        .preserve_header_case(true)
        .half_close(false)
        .auto_date_header(false)
        .max_header_size(MOST_HEAD as usize)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = until_drained(guard, connection.as_mut(), |it| it.graceful_shutdown());
    tokio::select! {
        biased;
        ended = served => if let Err(error) = ended {
            note(&downstream, &error);
        },
        () = silence(&downstream.idle_timer) => {
            tracing::debug!(client = %downstream.client, "a client was silent for too long");
        }
    }
}

/// Serves HTTP/2.
pub async fn http2(downstream: Rc<Downstream>, stream: PeekedStream, guard: Guard) {
    let requests = Rc::clone(&downstream);
    let service = service_fn(move |request| exchange(Rc::clone(&requests), request));
    let connection = codec2::Builder::new(Local)
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_send_buf_size(WINDOW as usize)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = until_drained(guard, connection.as_mut(), |it| it.graceful_shutdown()).await;
    if let Err(error) = ended {
        tracing::debug!(%error, client = %downstream.client, "an HTTP/2 connection broke");
    }
}

/// Ends when the client owes a head for too long. The codec's own deadline would
/// set up a timer for each request; this one is set up again only as it goes off.
async fn silence(idle_timer: &IdleTimer) {
    loop {
        let since = idle_timer.silent_since().map_or_else(Instant::now, Instant::from_std);
        let deadline = since + HEAD_DEADLINE;
        if deadline <= Instant::now() {
            return;
        }
        sleep_until(deadline).await;
    }
}

/// Drives `connection` to its end, and tells it once that this should be soon.
async fn until_drained<C: Future>(
    guard: Guard,
    mut connection: Pin<&mut C>,
    tell: impl Fn(Pin<&mut C>),
) -> C::Output {
    let mut told = false;
    poll_fn(move |context: &mut Context<'_>| -> Poll<C::Output> {
        if !told && guard.poll(context) {
            told = true;
            tell(connection.as_mut());
        }
        connection.as_mut().poll(context)
    })
    .await
}

/// A request that the codec could not read is one of the log's lines.
fn note(downstream: &Rc<Downstream>, error: &hyper::Error) {
    if !error.is_parse() {
        tracing::debug!(%error, client = %downstream.client, "an HTTP/1 connection broke");
        return;
    }
    let mut outcome = Outcome::blank(downstream, Kind::Request);
    outcome.flags = Flags::of(Flag::Protocol);
    (outcome.status, outcome.details) = match error.is_parse_too_large() {
        true => (431, "http1.headers_too_large".into()),
        false => (400, "http1.codec_error".into()),
    };
    outcome.complete();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_may_be_silent_while_it_is_owed_an_answer_and_not_long_after() {
        let idle_timer = IdleTimer::default();
        let long_ago = Instant::now().into_std().checked_sub(HEAD_DEADLINE).unwrap();
        let at_once = async || tokio::time::timeout(Duration::ZERO, silence(&idle_timer)).await;
        assert!(at_once().await.is_err(), "it has only just connected");
        idle_timer.end(long_ago);
        assert!(at_once().await.is_ok());
        idle_timer.begin();
        assert!(at_once().await.is_err(), "the answer takes its time");
    }
}
