//! An answer on its way to its client.
//!
//! Until it has been taken, its connection is busy, and its request has its turn. A client
//! that does not take what is there for it is cut off with its connection: HTTP/1.1 has no
//! other way to end an answer, and an HTTP/2 stream whose window is closed none to say so.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::task::JoinHandle;
use weft_process::peers::{Busy, Connection, Turn};

use super::reply::Body;

/// A client that takes nothing for so long, although there is something, is cut off.
pub const STALLED: Duration = Duration::from_secs(30);

/// How often it is looked at in that time, so that a stall is noticed soon after it.
const LOOKS: u32 = 4;

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It is there at once, and has a turn until it has been taken.
    Short,
    /// It grows as long as the client wants it, and has to be taken as it grows.
    Watch,
    /// It may also rest with the client: logs that are paged, forwarded bytes.
    Session,
}

/// The body of an answer.
pub struct Delivery {
    body: Body,
    progress: Arc<Progress>,
    watchdog: Option<JoinHandle<()>>,
    _busy: Busy,
    _turn: Option<Turn>,
}

/// The state of an answer: an even number while the client has to take something.
#[derive(Debug, Default)]
struct Progress(AtomicU64);

impl Delivery {
    /// Delivers an answer to the client of a connection.
    pub fn of(
        response: Response<Body>,
        busy: Busy,
        (pace, turn): (Pace, Option<Turn>),
    ) -> Response<Self> {
        let progress = Arc::new(Progress::default());
        let may_stall = pace != Pace::Session && !response.body().is_end_stream();
        let watchdog = may_stall.then(|| {
            let (progress, connection) = (Arc::clone(&progress), busy.connection().clone());
            tokio::spawn(cut_off_when_stalled(progress, connection))
        });
        response.map(|body| Self { body, progress, watchdog, _busy: busy, _turn: turn })
    }
}

async fn cut_off_when_stalled(progress: Arc<Progress>, connection: Connection) {
    let (mut before, mut unchanged) = (u64::MAX, 0);
    while unchanged < LOOKS {
        tokio::time::sleep(STALLED / LOOKS).await;
        let now = progress.0.load(Relaxed);
        unchanged = if now == before && now.is_multiple_of(2) { unchanged + 1 } else { 0 };
        before = now;
    }
    tracing::debug!("a client of the API server does not read: closing its connection");
    connection.close();
}

impl hyper::body::Body for Delivery {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // It is polled when there is room for more, so that now the source has to move.
        let before = self.progress.0.load(Relaxed);
        let is_with_client = before.is_multiple_of(2);
        let step = match (polled.is_ready(), is_with_client) {
            (true, true) => 2,
            (true, false) | (false, true) => 1,
            (false, false) => 0,
        };
        self.progress.0.store(before + step, Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.abort();
        }
    }
}
