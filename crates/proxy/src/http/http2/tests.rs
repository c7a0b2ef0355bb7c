//! Peers that send much and take nothing, while the process has too many bytes waiting.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::SendStream;
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::LocalSet,
    time::{Instant, timeout},
};
use weft_config::{Limits, ProcessLimits};

use super::{
    client::Client,
    outgoing_body::{Outgoing, Sending, Share, Unsent},
};
use crate::{
    http::{body::Incoming, error::Error},
    io::{buffer_limit::Buffers, tally::Tally},
};

/// What may wait.
const ROOM: usize = 1 << 20;
/// More than waits.
const MUCH: usize = 1 << 30;

/// Counts in a process of its own.
fn tally() -> (Arc<Buffers>, Rc<Tally>) {
    let buffers = Arc::new(Buffers::default());
    buffers.limit(&ProcessLimits { buffers: ROOM as u64, ..ProcessLimits::new() });
    let tally = Tally::new(&buffers);
    (buffers, tally)
}

/// Requests without a body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

impl Outgoing for Nothing {
    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// A body without an end.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 1000])))))
    }
}

impl Outgoing for Endless {
    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Sends what the windows allow, and says how much that was.
async fn as_allowed(stream: &mut SendStream<Bytes>) -> usize {
    let mut sent = 0;
    loop {
        stream.reserve_capacity(1 << 20);
        // Time stands still while anything moves.
        let capacity = timeout(Duration::from_secs(1), async {
            loop {
                match poll_fn(|context| stream.poll_capacity(context)).await {
                    Some(Ok(0)) => {}
                    other => return other,
                }
            }
        });
        let Ok(Some(Ok(room))) = capacity.await else { return sent };
        stream.send_data(Bytes::from(vec![7; room]), false).unwrap();
        sent += room;
    }
}

/// A connection to a server, whose end of a stream is given to `answer`.
async fn server<F: Future<Output = ()> + 'static>(
    far: DuplexStream,
    answer: impl Fn(SendStream<Bytes>) -> F + 'static,
) {
    let mut connection = h2::server::handshake(far).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let stream = respond.send_response(Response::new(()), false).unwrap();
        tokio::task::spawn_local(answer(stream));
    }
}

async fn answer_of(client: &Rc<Client>) -> (Response<Incoming>, super::client::StreamSlot) {
    let slot = client.slot().unwrap();
    let sent = slot.send(Request::get("http://x/").body(Nothing).unwrap()).await.unwrap();
    (sent.response, slot)
}

/// A client of a server that sends on each stream what it may, and is known for bodies that are
/// read; after each stream it says how much it sent.
struct Unread {
    client: Rc<Client>,
    sent: UnboundedReceiver<usize>,
    /// How much of what was last sent at once has come.
    came: usize,
}

impl Unread {
    async fn new(tally: &Rc<Tally>) -> Self {
        let (near, far) = duplex(16 * 1024);
        let (sender, sent) = unbounded_channel();
        let answer = move |mut stream| {
            let sender = sender.clone();
            async move {
                sender.send(as_allowed(&mut stream).await).unwrap();
                // The stream stays open.
                std::future::pending::<()>().await;
            }
        };
        tokio::task::spawn_local(server(far, answer));
        let limits = Limits { stream_window: 256 * 1024, ..Limits::default() };
        Self { client: Rc::new(Client::begin(near, &limits, tally).await.unwrap()), sent, came: 0 }
    }

    /// Reads some of one body, so that windows may be of the usual size.
    async fn read_some(&mut self) {
        let (mut response, slot) = answer_of(&self.client).await;
        let mut read = 0;
        while read <= 16 * 1024 {
            let frame = poll_fn(|context| Pin::new(response.body_mut()).poll_frame(context));
            read += frame.await.unwrap().unwrap().data_ref().map_or(0, Bytes::len);
        }
        drop((response, slot));
        self.sent.recv().await.unwrap();
    }

    /// How much comes on one more stream that is not read.
    async fn one_more(&mut self) -> (impl Sized + use<>, usize) {
        let answer = answer_of(&self.client).await;
        (answer, self.sent.recv().await.unwrap())
    }

    /// How much comes on `streams` streams, opened all at once.
    async fn at_once(&mut self, streams: usize) -> usize {
        let answers: Vec<_> = (0..streams)
            .map(|_| {
                let client = Rc::clone(&self.client);
                tokio::task::spawn_local(async move { answer_of(&client).await })
            })
            .collect();
        let (mut all, mut total) = (Vec::new(), 0);
        for answer in answers {
            all.push(answer.await.unwrap());
            total += self.sent.recv().await.unwrap();
        }
        self.came = self.client.unread();
        total
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_received_and_nobody_takes_is_counted_and_makes_windows_small() {
    let test = async {
        let (buffers, tally) = tally();
        let mut unread = Unread::new(&tally).await;
        unread.read_some().await;
        let (mut all, mut total) = (Vec::new(), 0);
        for _ in 0..8 {
            let (answer, sent) = unread.one_more().await;
            all.push(answer);
            total += sent;
        }
        // Four full windows are all that may wait, of which a little is still in the codec: one
        // more is not small yet, and the next ones are.
        assert_eq!(total, 5 * 256 * 1024 + 3 * 16 * 1024);
        assert!(buffers.waiting() >= ROOM as u64, "{}", buffers.waiting());
        drop(all);
        // The process hears only of much.
        tally.add(ROOM);
        tally.remove(ROOM);
        assert_eq!(buffers.waiting(), 0, "nothing is left of them");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_of_one_connection_is_little_however_many_streams_it_has() {
    let test = async {
        let mut unread = Unread::new(&Rc::default()).await;
        assert_eq!(unread.at_once(100).await, 100 * 16 * 1024);
        let mut unread = Unread::new(&Rc::default()).await;
        unread.read_some().await;
        unread.at_once(100).await;
        // Eight full windows, and a little that was under way.
        let total = unread.came;
        assert!(total > 8 * 256 * 1024 && total < (8 * 256 + 512) * 1024, "{total}");
        let mut unread = Unread::new(&Rc::default()).await;
        unread.read_some().await;
        let (mut all, mut total) = (Vec::new(), 0);
        for _ in 0..100 {
            let (answer, sent) = unread.one_more().await;
            all.push(answer);
            total += sent;
        }
        assert_eq!(total, (10 * 256 + 90 * 16) * 1024);
        assert!(unread.client.is_crowded());
        drop(all);
        let (_answer, sent) = unread.one_more().await;
        assert_eq!((sent, unread.client.is_crowded()), (256 * 1024, false));
    };
    LocalSet::new().run_until(test).await;
}

/// A stream to a client that takes nothing.
async fn to_one_who_takes_nothing() -> (SendStream<Bytes>, impl Sized) {
    let (near, far) = duplex(64 * 1024);
    let client = async {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(0);
        let (mut sender, connection) = builder.handshake::<_, Bytes>(near).await.unwrap();
        tokio::task::spawn_local(connection);
        let (response, _) = sender.send_request(Request::new(()), true).unwrap();
        (sender, response)
    };
    let server = async {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let stream = respond.send_response(Response::new(()), false).unwrap();
        tokio::task::spawn_local(async move { while connection.accept().await.is_some() {} });
        stream
    };
    let (client, stream) = tokio::join!(client, server);
    (stream, client)
}

/// For how long a body is offered to a client that takes nothing, where `more` bytes wait
/// elsewhere in the process, and only `most` may wait for the client.
async fn patience(more: usize, most: usize) -> Duration {
    let (buffers, tally) = tally();
    tally.add(more);
    let (stream, _kept) = to_one_who_takes_nothing().await;
    let began = Instant::now();
    let share = Share::of(most);
    let mut sending = Sending::new(stream, Endless, Duration::from_secs(300), &tally, &share);
    let ended = poll_fn(|context| sending.poll(context)).await;
    assert!(matches!(ended, Err(Unsent::Peer(Error::Stalled))), "{ended:?}");
    drop(sending);
    tally.remove(more);
    drop(tally);
    assert_eq!(buffers.waiting(), 0);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_who_takes_nothing_is_waited_for_until_memory_is_short_or_more_than_its_share_waits() {
    let test = async {
        assert_eq!(patience(0, MUCH).await.as_secs(), 300);
        assert_eq!(patience(ROOM, MUCH).await.as_secs(), 30);
        assert_eq!(patience(ROOM + ROOM / 2, MUCH).await.as_secs(), 5);
        assert_eq!(patience(0, 100).await.as_secs(), 5);
    };
    LocalSet::new().run_until(test).await;
}

/// A body of which one small piece came in a large buffer.
struct Piece(Option<Bytes>);

impl Body for Piece {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
    }
}

impl Outgoing for Piece {
    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_piece_that_waits_to_be_sent_keeps_no_buffer() {
    let test = async {
        let (stream, _kept) = to_one_who_takes_nothing().await;
        let buffer = Bytes::from(vec![7; 8192]);
        let (share, tally) = (Share::of(MUCH), tally().1);
        let piece = Piece(Some(buffer.slice(10..11)));
        let mut sending = Sending::new(stream, piece, Duration::from_secs(300), &tally, &share);
        let sent = timeout(Duration::from_secs(1), poll_fn(|context| sending.poll(context))).await;
        assert!(sent.is_err(), "it waits");
        assert!(buffer.is_unique());
    };
    LocalSet::new().run_until(test).await;
}
