//! Copies of requests, which are sent besides and whose answers nobody gets.
//!
//! The exchange that is copied never waits for a copy. A copy follows the request's body as that
//! is read, and is given up when it falls behind, takes too long, or when there are too many.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Version, request::Parts};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;
use weft_decide::{CompiledBackend, arrive::fields::mark_copy, protocol, retry};

use super::{
    UpstreamRequest,
    attempt::{self, HttpVersion},
};
use crate::{
    connection::downstream::Downstream,
    http::{
        body::Incoming,
        deadline::Deadline,
        request_body::{RequestBody, Source},
        upgrade::SWITCHING,
    },
    upstream::{
        endpoint_selection::{self, Selected, Wanted},
        pool::{PooledConnection, Unanswered, UpstreamResponse},
    },
};

/// Copies of a worker that are under way at once.
const MOST_COPIES: usize = 512;
/// The same, to one backend.
const MOST_TO_ONE: usize = 256;
/// How long an answer may take from when the request is complete, where the rule says nothing.
const LONGEST: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read. After more of them its connection is not used again.
const MOST_DISCARDED: u64 = 1 << 20;
/// How many connections may be closed by the server before a request is sent on them.
const MOST_CLOSED: usize = 2;

/// The copies of a worker that are under way, by backend.
#[derive(Debug, Default)]
pub struct Copies {
    all: Cell<usize>,
    to_one: RefCell<HashMap<Arc<str>, usize>>,
}

/// One of them.
struct Counted {
    copies: Rc<Copies>,
    backend: Arc<str>,
}

impl Copies {
    /// Counts one more to `backend`, if there may be one.
    fn enter(self: &Rc<Self>, backend: &Arc<str>) -> Option<Counted> {
        let mut to_one = self.to_one.borrow_mut();
        let known = to_one.get(backend).copied().unwrap_or_default();
        if self.all.get() >= MOST_COPIES || known >= MOST_TO_ONE {
            return None;
        }
        self.all.set(self.all.get() + 1);
        to_one.insert(Arc::clone(backend), known + 1);
        Some(Counted { copies: Rc::clone(self), backend: Arc::clone(backend) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.copies.all.set(self.copies.all.get().saturating_sub(1));
        let mut to_one = self.copies.to_one.borrow_mut();
        if let Some(count) = to_one.get_mut(&self.backend) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                to_one.remove(&self.backend);
            }
        }
    }
}

/// A copy that is to be sent.
struct RequestCopy {
    downstream: Rc<Downstream>,
    backend: Arc<CompiledBackend>,
    head: Parts,
    authority: Option<HeaderValue>,
    source: Option<Rc<Source>>,
    body: RequestBody,
    /// By which its endpoint is picked, where it is by one.
    hash: Option<u64>,
}

/// The connection of a copy, which does not outlive it: a server that takes nothing could hold as
/// many as there are copies in the time that its connections are given.
struct Exchange(Option<PooledConnection>);

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.abort();
        }
    }
}

/// Sends copies of `request`, of which nothing has been read yet, to where it is mirrored.
pub fn begin(request: &UpstreamRequest) {
    let worker = &request.downstream.worker;
    for backend in request.routed.mirrors() {
        if request.upgrade.is_some() || !worker.buffers.are_mostly_empty() {
            return;
        }
        let Some(counted) = worker.copies.enter(&backend.name) else { continue };
        let source = request.source.clone();
        let mut head = request.parts.clone();
        mark_copy(&mut head.headers);
        head.extensions.remove::<OnUpgrade>();
        let sent = (&head, request.authority.as_ref());
        let hash = backend.affinity(sent, &request.arrival).hash;
        let copy = RequestCopy {
            hash,
            downstream: request.downstream.besides(),
            backend: Arc::clone(backend),
            head,
            authority: request.authority.clone(),
            body: RequestBody::following(source.as_ref()),
            source: source.clone(),
        };
        let limit = request.routed.rule().data.timeout.unwrap_or(LONGEST).min(LONGEST);
        tokio::task::spawn_local(async move {
            let _counted = counted;
            within(limit, source.as_ref(), copy.send()).await;
        });
    }
}

/// Waits for `sending` for at most `limit`, from when the request is complete.
async fn within(limit: Duration, source: Option<&Rc<Source>>, sending: impl Future<Output = ()>) {
    let began = Instant::now().into_std();
    let Some(mut deadline) = Deadline::of(Some(limit), None, began, source) else { return };
    let mut sending = pin!(sending);
    poll_fn(|context| match sending.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => deadline.poll(context).map(|_| ()),
    })
    .await;
}

impl RequestCopy {
    /// Sends it, and reads its answer.
    async fn send(self) {
        let Self { downstream, backend, mut head, authority, source, body, hash } = self;
        let version = match protocol::onwards(backend.data.upstream, head.version, false) {
            Version::HTTP_2 => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        };
        if version == HttpVersion::Http2 {
            let Ok(target) = attempt::absolute(&head.uri, authority.as_ref()) else { return };
            head.uri = target;
        }
        attempt::suit(&mut head, version, authority.as_ref(), source.is_some());
        let wanted = Wanted { hash, tried: &[], authority: authority.as_ref() };
        let selected = endpoint_selection::select(&downstream, &backend, wanted).await;
        let Ok(Selected { pool, endpoint }) = selected else { return };
        let report = |outcome: retry::Outcome| {
            if let (Some(endpoint), Some(reported)) = (&endpoint, outcome.reported()) {
                endpoint.report(reported, Instant::now().into_std());
            }
        };
        let mut message = Request::from_parts(head, body);
        for _ in 0..=MOST_CLOSED {
            let opened = attempt::open((&downstream, &backend), &pool, version, false).await;
            let mut exchange = match opened {
                Ok(connection) => Exchange(Some(connection)),
                Err(failed) => return report(failed.outcome),
            };
            let Some(connection) = &mut exchange.0 else { return };
            match connection.send(message).await {
                Ok(UpstreamResponse { response, upload }) => {
                    let status = response.status();
                    report(retry::Outcome::Answered { status: status.as_u16(), grpc: None });
                    let is_over = status != SWITCHING && discard(response.into_body()).await;
                    // A server may answer before it has taken the request.
                    let is_taken = !source.as_ref().is_some_and(|source| source.is_followed());
                    if let Some(connection) = exchange.0.take_if(|_| is_over && is_taken) {
                        connection.release(source.as_deref());
                    }
                    drop(upload);
                    return;
                }
                Err(unanswered) => {
                    let Unanswered { unsent, .. } = *unanswered;
                    // The connection was closed before anything was sent: nobody's failure.
                    let Some(unsent) = unsent else { return };
                    message = unsent;
                }
            }
        }
    }
}

/// Reads an answer; whether all of it was read.
async fn discard(mut body: Incoming) -> bool {
    let mut left = MOST_DISCARDED;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) else {
            return false;
        };
        left = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_bounded_for_each_backend_and_for_all() {
        let copies: Rc<Copies> = Rc::default();
        let [one, two, three] = ["one", "two", "three"].map(Arc::from);
        let enter = |backend: &Arc<str>, count: usize| -> Vec<Counted> {
            (0..count).map_while(|_| copies.enter(backend)).collect()
        };
        let mut held = enter(&one, MOST_COPIES);
        assert_eq!(held.len(), MOST_TO_ONE);
        held.extend(enter(&two, MOST_COPIES));
        assert!(copies.enter(&three).is_none());
        held.pop();
        assert!(copies.enter(&one).is_none());
        drop(copies.enter(&three).expect("there is room for one"));
        drop(held);
        assert!(copies.to_one.borrow().is_empty() && copies.all.get() == 0);
    }
}
