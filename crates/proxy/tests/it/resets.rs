//! Clients of HTTP/2 that throw away what they have begun, and those beside them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    frames::{
        DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, Peer, RST_STREAM, block, code, frame,
        get, post,
    },
    world::{Running, World},
};

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
/// Streams that may be reset early.
const ALLOWED: u32 = 20;

/// A server of HTTP/2, its streams that have arrived, and what lets it end its answers.
struct Served {
    address: SocketAddr,
    arrived: Arc<AtomicUsize>,
    gate: Arc<Notify>,
}

/// Answers at once where `begins`, and ends the answer when it may.
async fn served(begins: bool) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let served = Served { address, arrived: Arc::clone(&arrived), gate: Arc::clone(&gate) };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (arrived, gate) = (Arc::clone(&arrived), Arc::clone(&gate));
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (arrived, gate) = (Arc::clone(&arrived), Arc::clone(&gate));
                    tokio::spawn(async move {
                        let may_end = gate.notified();
                        let early = begins.then(|| respond.send_response(ok(), false).unwrap());
                        arrived.fetch_add(1, SeqCst);
                        may_end.await;
                        let late = || respond.send_response(ok(), false);
                        if let Ok(mut stream) = early.map_or_else(late, Ok) {
                            let _ = stream.send_data("whole".into(), true);
                        }
                        drop(request);
                    });
                }
            });
        }
    });
    served
}

fn ok() -> http::Response<()> {
    http::Response::new(())
}

fn proxy_of(served: &Served) -> Running {
    World::new()
        .limits(json!({ "prematureResets": ALLOWED }))
        .spoken("http2", served.address)
        .start()
}

/// Opens streams from `first` on, each with `open`, and ends it with `end` once it is in
/// the server's hands, until the proxy takes no more. Gives the code that it names, and the
/// next stream.
fn abuse(
    peer: &mut Peer,
    served: &Served,
    first: u32,
    open: impl Fn(u32) -> Vec<u8>,
    end: impl Fn(u32) -> Vec<u8>,
) -> (u32, u32) {
    let before = served.arrived.load(SeqCst);
    for number in 0..3 * ALLOWED {
        let stream = first + 2 * number;
        peer.say(&open(stream));
        while served.arrived.load(SeqCst) <= before + number as usize {
            std::thread::yield_now();
            if peer.has_more()
                && let Some(goodbye) = peer.next().filter(|frame| frame.kind == GOAWAY)
            {
                return (code(&goodbye), stream + 2);
            }
        }
        peer.say(&[end(stream), frame(PING, 0, 0, &[7; 8])].concat());
        let heard = loop {
            let heard = peer.next_of(&[GOAWAY, PING]).expect("a sign of life");
            // PINGs of the proxy's own are of no interest.
            if heard.kind == GOAWAY || heard.payload == [7; 8] {
                break heard;
            }
        };
        if heard.kind == GOAWAY {
            return (code(&heard), stream + 2);
        }
    }
    panic!("{} streams, and no end", 3 * ALLOWED);
}

fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL)
}

fn begun(fields: &[u8]) -> impl Fn(u32) -> Vec<u8> {
    move |stream| frame(HEADERS, END_HEADERS, stream, fields)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_of_requests_with_bodies_count() {
    let served = served(false).await;
    let proxy = proxy_of(&served);
    let mut peer = Peer::greeted(proxy.at("test"));
    let (code, _) = abuse(&mut peer, &served, 1, begun(&post()), cancel);
    assert_eq!(code, NO_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_of_answers_that_have_begun_count() {
    let served = served(true).await;
    let proxy = proxy_of(&served);
    let mut peer = Peer::greeted(proxy.at("test"));
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
    let (code, _) = abuse(&mut peer, &served, 1, open, cancel);
    assert_eq!(code, NO_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_count_as_resets() {
    let served = served(false).await;
    let proxy = proxy_of(&served);
    let mut peer = Peer::greeted(proxy.at("test"));
    let three = [&post()[..], &block(&[("content-length", "3")])].concat();
    let more = |stream| frame(DATA, END_STREAM, stream, b"more than three");
    let (code, _) = abuse(&mut peer, &served, 1, begun(&three), more);
    assert_eq!(code, NO_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_resets_too_much_ends_no_other_request_of_its_connection() {
    let served = served(false).await;
    let proxy = proxy_of(&served);
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get()));
    while served.arrived.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
    let (code, next) = abuse(&mut peer, &served, 3, open, cancel);
    assert_eq!(code, NO_ERROR);
    // Whatever the client has sent before it knew can go to another connection.
    peer.say(&open(next));
    let refused = loop {
        let reset = peer.until(RST_STREAM).expect("the refusal");
        if reset.stream == next {
            break reset;
        }
    };
    assert_eq!(crate::frames::code(&refused), REFUSED_STREAM);
    served.gate.notify_waiters();
    let whole = peer.until(DATA).expect("the other request's answer");
    assert_eq!((whole.stream, &whole.payload[..]), (1, &b"whole"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_goes_on_after_that_is_left() {
    let served = served(false).await;
    let proxy = proxy_of(&served);
    let mut peer = Peer::greeted(proxy.at("test"));
    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get()));
    while served.arrived.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get());
    let (_, next) = abuse(&mut peer, &served, 3, open, cancel);
    // The PING that comes with the first GOAWAY stays without an answer. Each refusal is
    // read before more is said: a connection that closes on what it has not read is reset,
    // and its last word with it.
    let last = (0..2000).find_map(|number| {
        peer.say(&open(next + 2 * number));
        let heard = peer.next_of(&[GOAWAY, RST_STREAM]).expect("a refusal, or the end");
        (heard.kind == GOAWAY).then_some(heard)
    });
    const ENHANCE_YOUR_CALM: u32 = 11;
    assert_eq!(last.map(|last| crate::frames::code(&last)), Some(ENHANCE_YOUR_CALM));
}
