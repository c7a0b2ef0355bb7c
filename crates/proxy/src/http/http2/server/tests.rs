//! How much of what a client sends is dealt with before others have their turn.

use std::io::Write;

use socket2::SockRef;
use tokio::{net::TcpListener, task::yield_now};
use weft_testkit::http2::{END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame, get};

use super::*;
use crate::{http::metered_stream::TURN, worker::open_connections::OpenConnections};

/// Requests that have come, with what answers them: a stream that is dropped would be reset.
type Begun = Vec<(Request<RecvStream>, SendResponse<Bytes>)>;

/// A connection whose client has sent all that it sends: a preface and `frames`. The client's end
/// is kept open beside it.
async fn serving(frames: &[u8]) -> (Serving, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // It takes all of them, although nothing is read.
    SockRef::from(&client).set_send_buffer_size(2 * frames.len()).unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let settings = frame(SETTINGS, 0, 0, &[]);
    client.write_all(&[weft_testkit::http2::PREFACE, &settings, frames].concat()).unwrap();
    let (stream, meter) = MeteredStream::in_turns(PeekedStream::new(near), PREFACE);
    meter.begin_turn();
    let connection = Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
    let limits = Limits::default();
    let bounds = Bounds::of(&limits, usize::MAX, &Tally::new(&Arc::default()));
    let guard = Rc::new(OpenConnections::default()).enter(None);
    (Serving::new(connection, meter, &limits, bounds, guard), client)
}

/// How many requests are begun as the connection is polled once.
async fn begun(serving: &mut Serving, all: &mut Begun) -> usize {
    let before = all.len();
    poll_fn(|context| {
        let begin = |_: &mut Serving, request, respond| all.push((request, respond));
        assert!(serving.poll_requests(context, begin).is_pending());
        Poll::Ready(all.len() - before)
    })
    .await
}

#[tokio::test]
async fn others_have_their_turn_after_some_requests_of_one_client() {
    let request = |number: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &get());
    let requests: Vec<u8> = (0..20).flat_map(request).collect();
    let (mut serving, _client) = serving(&requests).await;
    let mut all = Begun::new();
    for expected in [MOST_BEGUN, MOST_BEGUN, 20 - 2 * MOST_BEGUN] {
        assert_eq!(begun(&mut serving, &mut all).await, expected);
        // What its own streams do wakes the connection before others have had their turn.
        assert_eq!(begun(&mut serving, &mut all).await, 0);
        yield_now().await;
    }
}

#[tokio::test]
async fn others_have_their_turn_after_some_bytes_of_one_client() {
    // RFC 9113, section 5.5: frames of unknown types are skipped.
    let unknown = frame(0xee, 0, 0, &[0; 16_000]);
    let (mut serving, _client) = serving(&unknown.repeat(10)).await;
    let mut turns = 0;
    while turns < 2 {
        let before = serving.meter.read();
        begun(&mut serving, &mut Begun::new()).await;
        let read = serving.meter.read();
        // The last read of a turn may go beyond it.
        assert!(read - before < 2 * TURN as u64, "{} bytes", read - before);
        if serving.meter.is_exhausted() {
            begun(&mut serving, &mut Begun::new()).await;
            assert_eq!(serving.meter.read(), read, "others have not had their turn");
            turns += 1;
        }
        yield_now().await;
    }
}
