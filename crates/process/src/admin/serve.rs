//! Connections of a port: taken in, answered, ended.
//!
//! Accepting never waits for a connection that hangs, and each has a deadline for
//! its head, for its answer, and for being idle.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, interval, sleep_until},
};

use super::{
    Asked, Paths,
    body::{Body, BrokenOff},
    slots::{Limits, Phase, Signals, Slots},
};
use crate::shutdown::Stopping;

/// What hyper may gather of a head, and of an answer that is not read.
const BUFFER: usize = 64 * 1024;
/// How often large answers are checked for a stall while others wait.
const LOOK: Duration = Duration::from_millis(250);

impl Paths {
    /// Serves `listener` until the end is asked for.
    pub async fn serve(self, listener: TcpListener, stopping: Stopping) {
        self.serve_within(listener, stopping, Limits::default()).await;
    }

    /// Serves `listener` within `limits` until the end is asked for.
    pub async fn serve_within(self, listener: TcpListener, mut stopping: Stopping, limits: Limits) {
        let paths = Arc::new(self);
        let slots = Arc::new(Mutex::new(Slots::new(limits)));
        let mut look = interval(LOOK);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = look.tick() => {
                    locked(&slots).grant(Instant::now().into_std());
                    continue;
                }
                () = stopping.stopped() => return,
            };
            while connections.try_join_next().is_some() {}
            let now = Instant::now().into_std();
            let Ok((stream, peer)) = accepted else {
                // Out of descriptors or memory: one that idles makes room.
                locked(&slots).shed_idlest(now);
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (id, signals) = locked(&slots).enter(peer.ip(), now);
            let place = SlotGuard { slots: Arc::clone(&slots), signals, id };
            connections.spawn(connection(Arc::clone(&paths), stream, peer, place));
        }
    }
}

fn locked(slots: &Mutex<Slots>) -> std::sync::MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's place among the others of its port, until this is dropped.
struct SlotGuard {
    slots: Arc<Mutex<Slots>>,
    signals: Signals,
    id: u64,
}

impl SlotGuard {
    fn is_in(&self, phase: Phase) {
        locked(&self.slots).is_in(self.id, phase, Instant::now().into_std());
    }

    /// Returns when a large answer may begin.
    async fn begin_large(&self) {
        self.is_in(Phase::Queued);
        self.signals.turn.notified().await;
    }

    fn moved(&self) {
        locked(&self.slots).moved(self.id, Instant::now().into_std());
    }

    /// Returns when what the connection does takes too long, or when it was shed.
    async fn overdue(&self) {
        loop {
            let Some(deadline) = locked(&self.slots).deadline(self.id) else { return };
            let deadline = Instant::from_std(deadline);
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        locked(&self.slots).leave(self.id, Instant::now().into_std());
    }
}

async fn connection(paths: Arc<Paths>, stream: TcpStream, peer: SocketAddr, place: SlotGuard) {
    let place = Arc::new(place);
    let head = locked(&place.slots).limits().head;
    let service = service_fn(|request| respond(&paths, request, peer, &place));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        () = place.signals.shed.notified() => {}
        () = place.overdue() => {}
    }
}

async fn respond(
    paths: &Paths,
    request: Request<Incoming>,
    peer: SocketAddr,
    place: &Arc<SlotGuard>,
) -> Result<Response<Placed>, Infallible> {
    place.is_in(Phase::Short);
    let (head, _) = request.into_parts();
    let head_only = head.method == Method::HEAD;
    let asked = Asked { method: head.method, uri: head.uri, headers: head.headers, peer };
    let answer = paths.answer(asked).await;
    // Of an answer to HEAD nothing is made.
    if answer.body.is_streamed() && !head_only {
        place.begin_large().await;
    }
    let mut response = Response::new(Placed { body: answer.body, place: Arc::clone(place) });
    *response.status_mut() = answer.status;
    let content_type = HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// A body that says when it has been handed over.
struct Placed {
    body: Body,
    place: Arc<SlotGuard>,
}

impl hyper::body::Body for Placed {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() && self.body.is_streamed() {
            self.place.moved();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.place.is_in(Phase::Waiting);
    }
}
