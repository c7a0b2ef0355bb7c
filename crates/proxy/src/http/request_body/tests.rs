//! Readers of one body, each at its own pace.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
};

use h2::SendStream;
use tokio::io::duplex;

use super::*;
use crate::http::http2::incoming_body::{Bodies, Owed, ReceivedBody};

/// A body, and the stream that it comes from.
async fn body() -> (Rc<Source>, SendStream<Bytes>) {
    body_in(&Arc::default()).await
}

/// The same, with what is kept counted in `buffers`.
async fn body_in(buffers: &Arc<Buffers>) -> (Rc<Source>, SendStream<Bytes>) {
    let (near, far) = duplex(64 * 1024);
    let (begun, connection) = tokio::join!(client(near), async {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 20);
        builder.handshake::<_, Bytes>(far).await.unwrap()
    });
    let mut connection = connection;
    let (request, respond) = connection.accept().await.unwrap().unwrap();
    tokio::task::spawn_local(async move {
        // The answer is never given; it holds the stream open.
        let _respond = respond;
        while connection.accept().await.is_some() {}
    });
    let bodies = Bodies::default();
    let limit = std::time::Duration::from_secs(5);
    let body = ReceivedBody::new(request.into_body(), Owed::Nothing, &bodies, limit);
    (Source::of(Incoming::http2(body), buffers).unwrap(), begun)
}

async fn client(near: tokio::io::DuplexStream) -> SendStream<Bytes> {
    let (sender, connection) = h2::client::handshake(near).await.unwrap();
    tokio::task::spawn_local(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = http::Request::post("http://x/").body(()).unwrap();
    let (response, stream) = sender.send_request(request, false).unwrap();
    tokio::task::spawn_local(async move { (response.await, sender).0.map(|_| ()) });
    stream
}

/// The next bytes, or what is there instead.
async fn next(reader: &mut RequestBody) -> String {
    match poll_fn(|context| Pin::new(&mut *reader).poll_frame(context)).await {
        None => "end".to_owned(),
        Some(Ok(frame)) => String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap(),
        Some(Err(error)) => error.to_string(),
    }
}

/// How many bytes come until the end; or what ends it early.
async fn count(reader: &mut RequestBody) -> Result<usize, String> {
    let mut total = 0;
    loop {
        match poll_fn(|context| Pin::new(&mut *reader).poll_frame(context)).await {
            None => return Ok(total),
            Some(Ok(frame)) => total += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
}

fn local<F: Future>(future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(Default::default());
    runtime.unwrap().block_on(future)
}

#[test]
fn a_short_body_is_read_again_from_the_start_until_it_is_let_go() {
    local(async {
        let (source, mut stream) = body().await;
        stream.send_data("one".into(), true).unwrap();
        for _ in 0..2 {
            let mut reader = RequestBody::of(Some(&source));
            assert_eq!(next(&mut reader).await, "one");
            assert_eq!(next(&mut reader).await, "end");
        }
        assert!(source.is_repeatable() && source.has_ended());
        source.let_go();
        assert!(!source.is_repeatable());
        assert_eq!(source.kept.borrow().held.bytes(), 0);
    });
}

#[test]
fn a_body_in_memory_is_read_like_any_other() {
    local(async {
        assert!(Source::of(Incoming::full(Bytes::new()), &Arc::default()).is_none());
        let source = Source::of(Incoming::full("text".into()), &Arc::default()).unwrap();
        for _ in 0..2 {
            let mut reader = RequestBody::of(Some(&source));
            assert_eq!(next(&mut reader).await, "text");
            assert_eq!(next(&mut reader).await, "end");
        }
    });
}

#[test]
fn a_long_body_is_not_kept() {
    local(async {
        let (source, mut stream) = body().await;
        stream.send_data(vec![b'x'; 300_000].into(), true).unwrap();
        let mut reader = RequestBody::of(Some(&source));
        assert_eq!(count(&mut reader).await, Ok(300_000));
        assert!(!source.is_repeatable());
        assert_eq!(source.kept.borrow().held.bytes(), 0);
    });
}

#[test]
fn what_all_requests_keep_together_is_bounded_and_given_back() {
    local(async {
        let buffers: Arc<Buffers> = Arc::default();
        buffers.limit(&weft_config::ProcessLimits { buffers: 5, ..Default::default() });
        let (first, mut stream) = body_in(&buffers).await;
        stream.send_data("kept of".into(), true).unwrap();
        let mut reader = RequestBody::of(Some(&first));
        assert_eq!(next(&mut reader).await, "kept of");
        assert_eq!((first.is_repeatable(), buffers.waiting()), (true, 7));
        let (second, mut stream) = body_in(&buffers).await;
        stream.send_data("passed on".into(), true).unwrap();
        assert_eq!(next(&mut RequestBody::of(Some(&second))).await, "passed on");
        assert_eq!((second.is_repeatable(), buffers.waiting()), (false, 7));
        drop((reader, first));
        assert_eq!(buffers.waiting(), 0);
        let (third, mut stream) = body_in(&buffers).await;
        stream.send_data("kept".into(), true).unwrap();
        assert_eq!(next(&mut RequestBody::of(Some(&third))).await, "kept");
        assert!(third.is_repeatable(), "there is room again");
    });
}

#[test]
fn two_readers_get_the_same_bytes_whoever_is_first() {
    local(async {
        let (source, mut stream) = body().await;
        let (mut one, mut two) =
            (RequestBody::of(Some(&source)), RequestBody::beside(Some(&source)));
        let send = async {
            for number in 0..20 {
                tokio::task::yield_now().await;
                stream.send_data(vec![b'x'; 10_000].into(), number == 19).unwrap();
            }
        };
        let (first, second, ()) = tokio::join!(count(&mut one), count(&mut two), send);
        assert_eq!((first, second), (Ok(200_000), Ok(200_000)));
        assert_eq!(source.kept.borrow().held.bytes(), 0, "nobody needs them any more");
    });
}

#[test]
fn a_reader_beside_the_try_neither_runs_far_ahead_nor_holds_it_up() {
    local(async {
        let (source, mut stream) = body().await;
        stream.send_data(vec![b'x'; 300_000].into(), true).unwrap();
        let (mut main, mut beside) =
            (RequestBody::of(Some(&source)), RequestBody::beside(Some(&source)));
        let ahead = tokio::time::timeout(std::time::Duration::ZERO, count(&mut beside)).await;
        assert!(ahead.is_err(), "it waits for the try");
        assert!(source.received() < 3 * MOST_KEPT as u64);
        assert_eq!(count(&mut main).await, Ok(300_000));
        assert!(count(&mut beside).await.is_err(), "it missed something");
    });
}

/// What polling once gives, if anything.
async fn at_once(reader: &mut RequestBody) -> Option<String> {
    tokio::time::timeout(std::time::Duration::ZERO, next(reader)).await.ok()
}

#[test]
fn a_reader_that_follows_gets_what_the_try_has_read_and_asks_for_nothing() {
    local(async {
        let (source, mut stream) = body().await;
        let mut following = RequestBody::following(Some(&source));
        stream.send_data("one".into(), false).unwrap();
        assert_eq!((at_once(&mut following).await, source.received()), (None, 0));
        let mut main = RequestBody::of(Some(&source));
        assert_eq!(next(&mut main).await, "one");
        assert_eq!(next(&mut following).await, "one");
        let fields = [(http::HeaderName::from_static("x-a"), "1".parse().unwrap())];
        stream.send_trailers(fields.into_iter().collect()).unwrap();
        for reader in [&mut main, &mut following] {
            let frame = poll_fn(|context| Pin::new(&mut *reader).poll_frame(context)).await;
            assert_eq!(frame.unwrap().unwrap().into_trailers().unwrap()["x-a"], "1");
            assert!(reader.is_end_stream());
        }
        assert_eq!(next(&mut following).await, "end");
    });
}

#[test]
fn a_reader_that_follows_too_slowly_is_left_behind_and_holds_nothing_up() {
    local(async {
        let (source, mut stream) = body().await;
        let mut following = RequestBody::following(Some(&source));
        let mut main = RequestBody::of(Some(&source));
        let send = async {
            stream.send_data(vec![b'x'; MOST_FOLLOWED].into(), false).unwrap();
            stream.send_data(vec![b'x'; 100_000].into(), true).unwrap();
        };
        let (all, ()) = tokio::join!(count(&mut main), send);
        assert_eq!(all, Ok(MOST_FOLLOWED + 100_000));
        assert!(source.kept.borrow().held.bytes() <= MOST_FOLLOWED);
        assert!(count(&mut following).await.unwrap_err().contains("longer than is kept"));
        // Within the bound it gets all, long after the try.
        let (source, mut stream) = body().await;
        let mut following = RequestBody::following(Some(&source));
        stream.send_data(vec![b'x'; 900_000].into(), true).unwrap();
        assert_eq!(count(&mut RequestBody::of(Some(&source))).await, Ok(900_000));
        source.exchange_ends();
        assert!(source.is_followed());
        assert_eq!(count(&mut following).await, Ok(900_000));
        assert!(!source.is_followed());
        assert_eq!(source.kept.borrow().held.bytes(), 0);
    });
}

#[test]
fn readers_that_follow_are_the_first_to_go_where_room_is_short() {
    local(async {
        let buffers: Arc<Buffers> = Arc::default();
        buffers.limit(&weft_config::ProcessLimits { buffers: 40_000, ..Default::default() });
        let (source, mut stream) = body_in(&buffers).await;
        let mut following = RequestBody::following(Some(&source));
        let mut main = RequestBody::of(Some(&source));
        for (piece, is_last) in [(9_000, false), (2_000, false), (100, true)] {
            stream.send_data(vec![b'x'; piece].into(), is_last).unwrap();
            assert_eq!(next(&mut main).await.len(), piece);
        }
        assert!(source.is_repeatable(), "there is room for another try");
        assert!(count(&mut following).await.is_err(), "and none for who is slow");
    });
}

#[test]
fn a_reader_that_follows_fails_where_nobody_reads_the_rest() {
    local(async {
        let (source, mut stream) = body().await;
        let (mut main, mut following) =
            (RequestBody::of(Some(&source)), RequestBody::following(Some(&source)));
        stream.send_data("one".into(), false).unwrap();
        assert_eq!(
            (next(&mut main).await, next(&mut following).await),
            ("one".into(), "one".into())
        );
        drop(main);
        assert_eq!(at_once(&mut following).await, None, "there may be another try");
        let over = async { source.exchange_ends() };
        let (failed, ()) = tokio::join!(next(&mut following), over);
        assert_eq!(failed, Error::Abandoned.to_string());
    });
}

#[test]
fn a_reader_goes_on_when_the_one_that_waited_for_the_body_is_gone() {
    local(async {
        let (source, mut stream) = body().await;
        let (mut one, two) = (RequestBody::of(Some(&source)), RequestBody::of(Some(&source)));
        let mut two = Some(two);
        let reading = next(&mut one);
        let leaving = async {
            let waits = next(two.as_mut().unwrap());
            let waited = tokio::time::timeout(std::time::Duration::ZERO, waits).await;
            assert!(waited.is_err());
            two.take();
            stream.send_data("late".into(), true).unwrap();
        };
        let (read, ()) = tokio::join!(reading, leaving);
        assert_eq!(read, "late");
    });
}

#[test]
fn trailers_say_no_more_than_a_head_that_goes_the_same_way_may() {
    local(async {
        for direction in [Direction::Edge, Direction::Outbound] {
            let (source, mut stream) = body().await;
            source.goes(direction);
            let mut reader = RequestBody::of(Some(&source));
            let names = ["x-a", "x-forwarded-client-cert", "x-envoy-retry-on", "host"];
            let fields = names.map(|name| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static("1"))
            });
            stream.send_trailers(fields.into_iter().collect()).unwrap();
            let frame = poll_fn(|context| Pin::new(&mut reader).poll_frame(context)).await;
            let trailers = frame.unwrap().unwrap().into_trailers().unwrap();
            assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-a"]);
        }
    });
}

#[test]
fn trailers_have_no_more_fields_than_a_head() {
    local(async {
        for (count, is_kept) in [(100, true), (101, false)] {
            let (source, mut stream) = body().await;
            let mut reader = RequestBody::of(Some(&source));
            let field = |at| {
                let name = http::HeaderName::try_from(format!("x-{at}")).unwrap();
                (name, http::HeaderValue::from_static("1"))
            };
            stream.send_trailers((0..count).map(field).collect()).unwrap();
            let frame = poll_fn(|context| Pin::new(&mut reader).poll_frame(context)).await;
            assert_eq!(frame.unwrap().is_ok(), is_kept, "{count}");
        }
    });
}

/// A buffer that a codec read into; it is counted while it is there.
struct ReadBuffer(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn small_pieces_are_kept_without_the_buffers_that_they_came_in() {
    const PIECES: usize = 60_000;
    local(async {
        let source = Source::of(Incoming::full("end".into()), &Arc::default()).unwrap();
        let first = RequestBody::of(Some(&source));
        let id = first.source.as_ref().unwrap().1;
        let buffers: Arc<AtomicUsize> = Arc::default();
        let mut sent = Vec::new();
        for number in 0..PIECES {
            sent.push(b'a' + u8::try_from(number % 26).unwrap());
            buffers.fetch_add(1, Ordering::Relaxed);
            let buffer = ReadBuffer(vec![sent[number]; 8192], Arc::clone(&buffers));
            source.keep(&Bytes::from_owner(buffer).slice(100..101), number as u64);
            source.advance(id, 1);
        }
        assert_eq!(buffers.load(Ordering::Relaxed), 0, "buffers that are still there");
        assert_eq!((source.kept.borrow().held.bytes(), source.is_repeatable()), (PIECES, true));
        drop(first);
        let mut again = RequestBody::of(Some(&source));
        assert!(next(&mut again).await.as_bytes() == sent, "order and content");
        assert_eq!((next(&mut again).await, next(&mut again).await), ("end".into(), "end".into()));
    });
}

#[test]
fn nothing_is_kept_of_a_request_that_will_not_be_sent_again() {
    local(async {
        let (source, mut stream) = body().await;
        source.may_be_sent_again(false);
        assert!(source.is_repeatable(), "nothing of it was sent");
        source.may_be_sent_again(true);
        source.may_be_sent_again(false);
        stream.send_data("gone".into(), true).unwrap();
        let mut reader = RequestBody::of(Some(&source));
        assert_eq!(next(&mut reader).await, "gone");
        assert_eq!((source.kept.borrow().held.bytes(), source.is_repeatable()), (0, false));
        source.may_be_sent_again(true);
        assert!(!source.is_repeatable());
        let mut late = RequestBody::of(Some(&source));
        assert_eq!(
            next(&mut late).await,
            Error::Overflow.to_string(),
            "not a body without a start"
        );
    });
}
