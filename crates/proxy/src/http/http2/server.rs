//! HTTP/2 on a client's connection.
//!
//! One task drives the connection; each stream has a task of its own, which answers one
//! request and sends the answer's body as the client takes it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, Connection, SendResponse},
};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use tokio::time::{Sleep, sleep, timeout};
use weft_config::Limits;
use weft_decide::{Flag, Flags};

use super::{
    FRAME_BUDGET, MOST_WINDOW, REMEMBERED_RESETS, RESETS_OF_CLIENTS, RESETS_OF_TURN,
    connection_window,
    connection_window::ConnectionWindow,
    incoming_body::{Bodies, Owed, ReceivedBody},
    keep_alive::{KeepAlive, Verdict},
    outgoing_body::{Sending, Share, Unsent},
    premature_resets::{Open, Resets},
    windows::Windows,
};
use crate::{
    connection::{direction::Direction, downstream::Downstream},
    http::{
        body::Incoming,
        grpc, headers,
        metered_stream::{Greeting, Meter, MeteredStream},
        pause::Pause,
        response_body::Payload,
        serve_request::serve_request,
    },
    io::{peeked::PeekedStream, tally::Tally},
    telemetry::outcome::{Kind, Outcome},
    worker::open_connections::ConnectionGuard,
};

/// Bytes that come before a client's first frame (RFC 9113, section 3.4).
const PREFACE: u64 = 24;
/// Requests that a connection begins before others have their turn: what it costs to serve one
/// depends on its head, which the client makes.
const MOST_BEGUN: usize = 8;

/// Serves HTTP/2 until the connection ends.
pub async fn serve(downstream: Rc<Downstream>, stream: PeekedStream, guard: ConnectionGuard) {
    let limits = &downstream.listener.limits;
    let (stream, meter) = MeteredStream::in_turns(stream, PREFACE);
    meter.begin_turn();
    let tally = &downstream.worker.tally;
    let most = most_waiting(&downstream);
    let bounds = Bounds::of(limits, most, tally);
    let mut builder = Builder::new();
    builder
        .initial_window_size(bounds.windows.size())
        .initial_connection_window_size(bounds.window.size())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head_bytes)
        .max_send_buffer_size(limits.buffer as usize)
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        // Beyond these the codec ends all streams of the connection, so it is `Resets` that
        // counts.
        .max_pending_accept_reset_streams(RESETS_OF_TURN)
        .max_local_error_reset_streams(Some(RESETS_OF_CLIENTS))
        .data_frame_budget(FRAME_BUDGET);
    let begun = timeout(limits.head, builder.handshake::<_, Bytes>(stream)).await;
    let connection = match begun {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            return note(&downstream, &error);
        }
        Err(_) => {
            return tracing::debug!(client = %downstream.client, "no HTTP/2 preface in time");
        }
    };
    let mut serving = Serving::new(connection, meter, limits, bounds, guard);
    poll_fn(|context| serving.poll(context, &downstream)).await;
}

/// How many bytes of bodies may wait in each direction of a client's connection. A client outside
/// has a small part of all there may be; one of the mesh speaks for many.
fn most_waiting(downstream: &Downstream) -> usize {
    match downstream.direction() {
        Direction::Edge => downstream.worker.tally.most_of_client(),
        Direction::Inbound | Direction::Outbound => usize::MAX,
    }
}

/// What bounds the bodies of a connection, in both directions.
struct Bounds {
    bodies: Bodies,
    windows: Windows,
    window: ConnectionWindow,
    streams: u32,
    /// Whether the connection's window is larger than that.
    widened: bool,
    share: Rc<Share>,
}

impl Bounds {
    /// What bounds the bodies of a connection where `most` bytes may wait in each direction.
    fn of(limits: &Limits, most: usize, tally: &Rc<Tally>) -> Self {
        // A third is left for when much is not read.
        let bound = u32::try_from(most / 3 * 2).unwrap_or(u32::MAX).max(limits.stream_window);
        let most_window = connection_window(limits.streams, limits.stream_window).min(bound);
        let window = ConnectionWindow::begin(most_window, limits.stream_window, tally);
        let windows = Windows::begin(limits.stream_window, (window.size(), limits.streams), tally);
        Self {
            bodies: Bodies::counted_in(tally),
            windows,
            window,
            streams: limits.streams,
            widened: false,
            share: Share::of(most),
        }
    }
}

/// A connection that is served.
struct Serving {
    connection: Connection<MeteredStream<PeekedStream>, Bytes>,
    meter: Arc<Meter>,
    /// After a turn, in which a bounded number of bytes is read and of requests is begun.
    pause: Pause,
    /// Whether requests may be left that came in the last turn.
    has_more: bool,
    bounds: Bounds,
    guard: ConnectionGuard,
    keep_alive: KeepAlive,
    /// Until the client's first SETTINGS have come.
    greeting: Option<Pin<Box<Sleep>>>,
    resets: Rc<Resets>,
    /// Whether the client knows that the connection is to end.
    ending: bool,
    /// Whether new streams are refused, since the client reset too many.
    refusing: bool,
}

impl Serving {
    fn new(
        mut connection: Connection<MeteredStream<PeekedStream>, Bytes>,
        meter: Arc<Meter>,
        limits: &Limits,
        bounds: Bounds,
        guard: ConnectionGuard,
    ) -> Self {
        let keep_alive = KeepAlive::new(connection.ping_pong(), limits, Some(limits.idle));
        let resets = Resets::new(limits.premature_resets);
        let greeting = Some(Box::pin(sleep(limits.head)));
        Self {
            connection,
            meter,
            pause: Pause::default(),
            has_more: false,
            bounds,
            guard,
            keep_alive,
            greeting,
            resets,
            ending: false,
            refusing: false,
        }
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>, downstream: &Rc<Downstream>) -> Poll<()> {
        if !self.ending && self.guard.poll(context) {
            self.ending = true;
            self.connection.graceful_shutdown();
        }
        if !self.refusing && self.resets.are_too_many() {
            (self.refusing, self.ending) = (true, true);
            self.connection.graceful_shutdown();
        }
        let begin = |this: &mut Self, request, respond| this.begin(request, respond, downstream);
        if let Poll::Ready(ended) = self.poll_requests(context, begin) {
            if let Err(error) = ended {
                note(downstream, &error);
            }
            return Poll::Ready(());
        }
        self.bounds.bodies.after_turn(&self.meter);
        self.change_windows(context);
        if self.poll_greeting(context, downstream).is_ready() {
            return Poll::Ready(());
        }
        match self.keep_alive.poll(context, &self.meter, self.resets.is_in_use()) {
            Poll::Ready(Verdict::Dead) => return Poll::Ready(()),
            Poll::Ready(Verdict::Idle) => {
                self.ending = true;
                self.connection.graceful_shutdown();
                context.waker().wake_by_ref();
            }
            Poll::Pending => self.resets.wake_on_excess(context),
        }
        Poll::Pending
    }

    /// Reads and writes, and has `begin` serve the requests that have come, as far as this turn
    /// goes; ready when the connection has ended.
    fn poll_requests(
        &mut self,
        context: &mut Context<'_>,
        mut begin: impl FnMut(&mut Self, Request<RecvStream>, SendResponse<Bytes>),
    ) -> Poll<Result<(), h2::Error>> {
        if self.pause.is_under_way() {
            // Answers are written meanwhile.
            return self.connection.poll_closed(context);
        }
        if !std::mem::take(&mut self.has_more) {
            self.meter.begin_turn();
        }
        for _ in 0..MOST_BEGUN {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok((_, mut respond)))) if self.refusing => {
                    respond.send_reset(Reason::REFUSED_STREAM);
                    if self.resets.refuse() {
                        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                }
                Poll::Ready(Some(Ok((request, respond)))) => begin(self, request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    if self.meter.is_exhausted() {
                        // There is more to read, after the streams have had their turn.
                        self.pause.begin(context);
                    }
                    return Poll::Pending;
                }
            }
        }
        self.has_more = true;
        self.pause.begin(context);
        Poll::Pending
    }

    /// Changes the windows of uploads, as far as that is due.
    fn change_windows(&mut self, context: &mut Context<'_>) {
        let Bounds { bodies, windows, window, streams, widened, .. } = &mut self.bounds;
        let mut changes = window.grow(bodies.came(), bodies.unread());
        if changes {
            windows.share(window.size(), *streams);
        }
        if let Some(size) = windows.change(bodies.tally(), bodies.unread()) {
            if self.connection.set_initial_window_size(size).is_ok() {
                windows.changed(size);
                context.waker().wake_by_ref();
            }
        } else if windows.is_crowded() != *widened {
            // What came before the client knew of small windows may have filled the connection's:
            // there is room again for those of all streams.
            *widened = !*widened;
            changes = true;
        }
        if changes {
            let more = if *widened { window.size() / 2 } else { 0 };
            let size = window.size().saturating_add(more).min(MOST_WINDOW);
            self.connection.set_target_window_size(size);
            context.waker().wake_by_ref();
        }
    }

    /// Ready when the client's first SETTINGS take too long.
    fn poll_greeting(
        &mut self,
        context: &mut Context<'_>,
        downstream: &Rc<Downstream>,
    ) -> Poll<()> {
        let Some(greeting) = &mut self.greeting else { return Poll::Pending };
        match self.meter.greeting() {
            Greeting::Incomplete => return greeting.as_mut().poll(context),
            Greeting::Complete => {}
            Greeting::Invalid => {
                log_violation(downstream);
                // What the codec says of it is this side's doing, and makes no second line.
                self.connection.abrupt_shutdown(Reason::PROTOCOL_ERROR);
                context.waker().wake_by_ref();
            }
        }
        self.greeting = None;
        Poll::Pending
    }

    fn begin(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        downstream: &Rc<Downstream>,
    ) {
        let (parts, stream) = request.into_parts();
        let limit = downstream.listener.limits.stalled;
        let body = match stream.is_end_stream() {
            true => Incoming::empty(),
            false => {
                let owed = match grpc::is_grpc(&parts.headers) {
                    true => Owed::Nothing,
                    false => Owed::End,
                };
                let owed = owed.or_bytes(headers::announced(&parts.headers));
                Incoming::http2(ReceivedBody::new(stream, owed, &self.bounds.bodies, limit))
            }
        };
        let open = Open::new(&self.resets);
        let request = Request::from_parts(parts, body);
        let stream = ServedStream { respond, open, limit, share: Rc::clone(&self.bounds.share) };
        tokio::task::spawn_local(stream.serve(Rc::clone(downstream), request));
    }
}

/// The connection broke. Where its client broke the rules of HTTP/2, that is a line of the access
/// log, beside those of the requests that were under way, as Envoy has it.
fn note(downstream: &Rc<Downstream>, error: &h2::Error) {
    tracing::debug!(%error, client = %downstream.client, "HTTP/2 broke");
    if error.is_library() {
        log_violation(downstream);
    }
}

fn log_violation(downstream: &Rc<Downstream>) {
    Outcome::blank(downstream, Kind::Connection).flags = Flags::of(Flag::Protocol);
}

/// One stream.
struct ServedStream {
    respond: SendResponse<Bytes>,
    open: Open,
    limit: Duration,
    share: Rc<Share>,
}

impl ServedStream {
    async fn serve(mut self, downstream: Rc<Downstream>, request: Request<Incoming>) {
        let tally = Rc::clone(&downstream.worker.tally);
        let head = request.method() == Method::HEAD;
        if !request.body().is_end_stream() && expects_continue(request.headers()) {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::CONTINUE;
            let _ = self.respond.send_informational(response);
        }
        let mut answering = pin!(serve_request(downstream, request));
        let answered = poll_fn(|context| {
            let answer = answering.as_mut().poll(context);
            // A reset breaks the request's body, too, which gives an answer nobody takes.
            match self.respond.poll_reset(context) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => answer.map(|Ok(response)| Some(response)),
            }
        });
        // Without one, the request is dropped, and all that was begun for it.
        let Some(response) = answered.await else { return self.open.was_reset() };
        let (parts, payload) = response.into_parts();
        let bodiless = head || matches!(parts.status.as_u16(), 204 | 304);
        let end = bodiless || payload.is_end_stream();
        let sent = self.respond.send_response(Response::from_parts(parts, ()), end);
        match sent {
            Ok(_) if end => {}
            Ok(stream) => {
                let sending = Sending::new(stream, payload, self.limit, &tally, &self.share);
                if send(sending).await == Delivery::Reset {
                    self.open.was_reset();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "an answer cannot be sent on HTTP/2");
                self.respond.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }
}

/// How sending a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    /// The client reset the stream, or made this side do so.
    Reset,
    /// In any other way.
    Ended,
}

async fn send(mut sending: Sending<Payload>) -> Delivery {
    let ended = poll_fn(|context| sending.poll(context)).await;
    if sending.is_reset() {
        return Delivery::Reset;
    }
    match ended {
        Ok(()) | Err(Unsent::Peer(crate::http::error::Error::Http2(_))) => {}
        Err(Unsent::Peer(error)) => {
            tracing::debug!(%error, "an HTTP/2 client takes no answer");
            sending.reset(Reason::CANCEL);
        }
        // The answer broke off: the client must not take it for whole.
        Err(Unsent::Body(_) | Unsent::Expired) => sending.reset(Reason::INTERNAL_ERROR),
    }
    Delivery::Ended
}

/// A body that waits for leave (RFC 9110, section 10.1.1).
fn expects_continue(headers: &HeaderMap) -> bool {
    let expect = headers.get(header::EXPECT);
    expect.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests;
