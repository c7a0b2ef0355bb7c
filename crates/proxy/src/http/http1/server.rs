//! HTTP/1 on a client's connection: the codec's settings, its deadlines, and its orderly end.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::{server::conn::http1 as codec1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};
use weft_config::Limits;
use weft_decide::Failure;

use crate::{
    connection::downstream::{Downstream, IdleTimer},
    http::{
        body::Incoming,
        http1::error_bodies::ErrorBodies,
        http1::exchange::Exchanges,
        http1::head_timeout,
        http1::pending_upgrade::{self, PendingUpgrade},
        http1::raw_head::Violation,
        metered_stream::{Meter, MeteredStream},
        serve_request::serve_request,
        stall_timer::StallTimer,
    },
    io::{peeked::PeekedStream, shared_tcp::SharedTcp, tally::Tally},
    telemetry::outcome::{Kind, Outcome},
    worker::open_connections::ConnectionGuard,
};

/// Serves HTTP/1 on a client's connection.
pub async fn serve(downstream: Rc<Downstream>, stream: PeekedStream, guard: ConnectionGuard) {
    let limits = &downstream.listener.limits;
    let requests = Rc::clone(&downstream);
    let upgrade = Arc::<PendingUpgrade>::default();
    let left = left(stream.stream().socket().cloned(), &downstream.idle_timer);
    let exchanges = Exchanges::default();
    let stream = ErrorBodies::new(stream, &exchanges, &upgrade);
    let (stream, meter) = MeteredStream::giving_way(stream);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let limit = requests.listener.limits.stalled;
        let exchange = exchanges.begin();
        let upgrade = pending_upgrade::asks_for_upgrade(&request).then(|| Arc::clone(&upgrade));
        let request = request.map(|body| Incoming::request(body, limit));
        let answering = serve_request(Rc::clone(&requests), request);
        async move {
            let answer = answering.await;
            if let (Some(upgrade), Ok(answer)) = (upgrade, &answer) {
                upgrade.answer(answer.status());
            }
            answer.map(|answer| answer.map(|payload| exchange.with(payload)))
        }
    });
    let mut connection = codec1::Builder::new()
        .preserve_header_case(true)
        .half_close(false)
        .auto_date_header(false)
        .max_header_size(limits.head_bytes as usize)
        .max_buf_size(limits.buffer as usize)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let served = until_drained(guard, &meter, Pin::new(&mut connection), |it| {
        it.graceful_shutdown();
    });
    let mut patience =
        Patience::new(limits, &downstream.idle_timer, &meter, &downstream.worker.tally);
    let overdue = tokio::select! {
        biased;
        ended = served => {
            if let Err(error) = ended {
                let parts = connection.into_parts();
                let stream = parts.as_ref().map(|parts| parts.io.inner().stream());
                note(&downstream, &error, stream.and_then(ErrorBodies::violation));
            }
            return;
        }
        overdue = poll_fn(|context| patience.poll(context)) => overdue,
        () = left => {
            tracing::debug!(client = %downstream.client, "a client left before it was answered");
            return;
        }
    };
    tracing::debug!(client = %downstream.client, ?overdue, "a client was silent for too long");
    // Bytes of an earlier answer that the client has not taken would come first.
    if overdue == Overdue::Head
        && !meter.is_blocked()
        && let Some(parts) = connection.into_parts()
    {
        head_timeout::answer(&downstream, &mut parts.io.into_inner()).await;
    }
}

/// Ready once the client has ended `socket` while it is owed an answer: the codec, which does
/// not read while it has bytes that follow a request, or more of a body than the server takes,
/// does not see it. Must be polled after the connection, since without an exchange under way it
/// is the codec that reads to the end.
async fn left(socket: Option<SharedTcp>, idle_timer: &IdleTimer) {
    match socket {
        Some(socket) => socket.ended().await,
        None => std::future::pending().await,
    }
    poll_fn(|_| match idle_timer.silent_since() {
        None => Poll::Ready(()),
        // An exchange begins as the connection is polled.
        Some(_) => Poll::Pending,
    })
    .await;
}

/// What a client did not do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    /// Finish a head that it has begun.
    Head,
    /// Take an answer.
    Taking,
    /// Ask for anything.
    Idle,
}

/// Bytes of a request's head that is not complete, counted among those that wait.
struct UnfinishedHead<'a> {
    tally: &'a Tally,
    bytes: usize,
}

impl UnfinishedHead<'_> {
    /// So many bytes of it have come, or none of the next one.
    fn set(&mut self, bytes: u64) {
        // The codec keeps them, with as much room again or beside the copy of a long line.
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_mul(2);
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.tally.add(more),
            None => self.tally.remove(self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for UnfinishedHead<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// How long the client is waited for. No timer is set up for a request: one that goes off
/// looks again.
struct Patience<'a> {
    limits: &'a Limits,
    idle_timer: &'a IdleTimer,
    meter: &'a Meter,
    /// Bytes that had been read when the client was last owed an answer.
    read: u64,
    /// Exchanges that had ended when they were last counted.
    ended: u64,
    idle: Pin<Box<Sleep>>,
    /// Since a head has begun.
    head: StallTimer,
    unfinished: UnfinishedHead<'a>,
    /// Since the client takes nothing of an answer.
    taking: StallTimer,
    written: u64,
}

impl<'a> Patience<'a> {
    fn new(
        limits: &'a Limits,
        idle_timer: &'a IdleTimer,
        meter: &'a Meter,
        tally: &'a Tally,
    ) -> Self {
        Self {
            limits,
            idle_timer,
            meter,
            read: 0,
            ended: 0,
            idle: Box::pin(sleep_until(Instant::now() + limits.idle)),
            head: StallTimer::default(),
            unfinished: UnfinishedHead { tally, bytes: 0 },
            taking: StallTimer::default(),
            written: 0,
        }
    }

    /// Ready once the client has timed out. Must be polled after the connection.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Overdue> {
        if self.idle_timer.ended() != self.ended {
            (self.ended, self.read) = (self.idle_timer.ended(), self.meter.read());
        }
        match self.idle_timer.silent_since() {
            None => {
                self.read = self.meter.read();
                self.unfinished.set(0);
            }
            Some(_) if self.meter.read_text() > self.read => {
                self.unfinished.set(self.meter.read() - self.read);
                if self.head.poll(context, self.limits.head).is_ready() {
                    return Poll::Ready(Overdue::Head);
                }
            }
            Some(_) => {
                self.head.moved();
                self.unfinished.set(0);
            }
        }
        if self.meter.is_blocked() {
            if self.meter.written() != self.written {
                self.written = self.meter.written();
                self.taking.moved();
            }
            let deadline = self.idle_timer.deadline().map(Instant::from_std);
            let overdue = deadline.is_some_and(|at| at <= Instant::now());
            if overdue || self.taking.poll(context, self.limits.stalled).is_ready() {
                return Poll::Ready(Overdue::Taking);
            }
            if let Some(at) = deadline {
                self.idle.as_mut().reset(at);
            }
        } else {
            self.taking.moved();
        }
        self.poll_idle(context).map(|()| Overdue::Idle)
    }

    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.idle.as_mut().poll(context).is_ready() {
            let since = self.idle_timer.silent_since().map_or_else(Instant::now, Instant::from_std);
            let due = since + self.limits.idle;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.idle.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// Drives `connection` to its end, in turns, and tells it once that this should be soon.
async fn until_drained<C: Future>(
    guard: ConnectionGuard,
    meter: &Meter,
    mut connection: Pin<&mut C>,
    tell: impl Fn(Pin<&mut C>),
) -> C::Output {
    let mut told = false;
    poll_fn(move |context: &mut Context<'_>| -> Poll<C::Output> {
        if !told && guard.poll(context) {
            told = true;
            tell(connection.as_mut());
        }
        meter.begin_turn();
        connection.as_mut().poll(context)
    })
    .await
}

/// A request that the codec could not read is one of the log's lines.
fn note(downstream: &Rc<Downstream>, error: &hyper::Error, violation: Option<Violation>) {
    if !error.is_parse() {
        tracing::debug!(%error, client = %downstream.client, "an HTTP/1 connection broke");
        return;
    }
    let mut outcome = Outcome::blank(downstream, Kind::Request);
    let failure = match (error.is_parse_too_large(), violation) {
        (true, Some(Violation::TooManyFields)) => Failure::TooManyFields("http1.too_many_headers"),
        (true, _) => Failure::HeadTooLarge,
        (false, Some(Violation::LengthAndChunks)) => {
            Failure::BadRequest("http1.content_length_and_chunked_not_allowed")
        }
        (false, Some(Violation::Character)) => Failure::BadRequest("http1.invalid_characters"),
        (false, _) => Failure::BadRequest("http1.codec_error"),
    };
    (outcome.status, outcome.sent) = (failure.status(), failure.reply().body.len() as u64);
    outcome.failed(&failure);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::io::buffer_limit::Buffers;

    #[tokio::test]
    async fn a_client_may_be_silent_while_it_is_owed_an_answer_and_not_long_after() {
        let idle_timer = IdleTimer::default();
        let limits = Limits { idle: Duration::from_secs(3600), ..Limits::default() };
        let (meter, tally) = (Meter::default(), Tally::default());
        let long_ago = Instant::now().into_std().checked_sub(limits.idle).unwrap();
        let at_once = async || {
            let mut patience = Patience::new(&limits, &idle_timer, &meter, &tally);
            patience.idle.as_mut().reset(Instant::now());
            let waits = poll_fn(|context| patience.poll(context));
            tokio::time::timeout(Duration::ZERO, waits).await
        };
        assert!(at_once().await.is_err(), "it has only just connected");
        idle_timer.end(long_ago);
        assert!(at_once().await.is_ok());
        idle_timer.begin();
        assert!(at_once().await.is_err(), "the answer takes its time");
    }
    #[tokio::test]
    async fn a_head_that_is_not_complete_counts_among_what_waits() {
        let (idle_timer, limits) = (IdleTimer::default(), Limits::default());
        let buffers = Arc::<Buffers>::default();
        let tally = Tally::new(&buffers);
        let (mut client, near) = tokio::io::duplex(1 << 16);
        let (mut stream, meter) = MeteredStream::giving_way(near);
        let mut patience = Patience::new(&limits, &idle_timer, &meter, &tally);
        let mut waiting = || {
            let mut context = Context::from_waker(std::task::Waker::noop());
            assert!(patience.poll(&mut context).is_pending());
            buffers.waiting()
        };
        client.write_all(&[b'x'; 40_000]).await.unwrap();
        stream.read_exact(&mut [0; 40_000]).await.unwrap();
        assert_eq!(waiting(), 80_000);
        idle_timer.begin();
        assert_eq!(waiting(), 0, "it is complete: a request is there");
        idle_timer.end(Instant::now().into_std());
        assert_eq!(waiting(), 0);
        client.write_all(&[b'x'; 40_000]).await.unwrap();
        stream.read_exact(&mut [0; 40_000]).await.unwrap();
        assert_eq!(waiting(), 80_000, "of the next one");
        drop(patience);
        drop(tally);
        assert_eq!(buffers.waiting(), 0);
    }
}
