//! Relays between streams in memory.

use super::*;
use socket2::SockRef;
use std::{pin::Pin, task::Context, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    net::TcpListener,
};

const IDLE: Duration = Duration::from_secs(3600);

fn limits(buffers: &Arc<Buffers>) -> RelayLimits<'_> {
    RelayLimits { idle: IDLE, buffers }
}

async fn relayed(
    (mut client, mut server): (DuplexStream, DuplexStream),
    passed: &Passed,
) -> Result<(), RelayError> {
    relay(&mut client, &mut server, passed, limits(&Arc::default())).await
}

#[tokio::test]
async fn an_answer_still_comes_after_the_client_has_ended() {
    let (mut client, near) = duplex(64);
    let (mut server, far) = duplex(64);
    let passed = Passed::default();
    let talking = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question");
        server.write_all(b"long answer").await.unwrap();
        drop(server);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "long answer");
    };
    let (relayed, ()) = tokio::join!(relayed((near, far), &passed), talking);
    relayed.unwrap();
    assert_eq!((passed.received.get(), passed.sent.get()), (8, 11));
}

/// Both peers send what is given, end, and read to the end what the other has sent.
async fn exchange<C, S>(client: &mut C, server: &mut S, (up, down): (&[u8], &[u8]))
where
    C: RelayStream,
    S: RelayStream,
{
    async fn talk<T: RelayStream>(peer: &mut T, says: &[u8], hears: &[u8]) {
        let (mut from, mut to) = tokio::io::split(peer);
        let mut heard = Vec::new();
        let saying = async {
            to.write_all(says).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(saying, from.read_to_end(&mut heard));
        read.unwrap();
        assert!(heard == hears);
    }
    tokio::join!(talk(client, up, down), talk(server, down, up));
}

#[tokio::test]
async fn much_passes_a_side_that_takes_little_in_order_in_both_directions() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut client, near) = duplex(777);
    let (mut server, far) = duplex(100_001);
    let passed = Passed::default();
    let talking = exchange(&mut client, &mut server, (&bytes, &bytes));
    let (relayed, ()) = tokio::join!(relayed((near, far), &passed), talking);
    relayed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_passes_ends_and_one_that_trickles_does_not() {
    let (mut client, near) = duplex(64);
    let (mut server, far) = duplex(64);
    let passed = Passed::default();
    let began = tokio::time::Instant::now();
    let talking = async {
        for _ in 0..10 {
            sleep(IDLE / 2).await;
            client.write_all(b"x").await.unwrap();
            server.read_u8().await.unwrap();
        }
    };
    let (relayed, ()) = tokio::join!(relayed((near, far), &passed), talking);
    assert!(matches!(relayed, Err(RelayError::Idle(_))), "{relayed:?}");
    let lasted = began.elapsed();
    assert!(lasted >= IDLE * 6 && lasted < IDLE * 13 / 2, "{lasted:?}");
}

/// The proxy's end of a connection whose client has sent 6400 bytes, and reset it.
async fn of_reset_client() -> PeekedStream {
    let (mut client, near) = connection().await;
    client.write_all(&[7; 6400]).await.unwrap();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    near
}

/// What a client has sent before its reset is passed on as long as the server takes some of it.
#[tokio::test(start_paused = true)]
async fn a_client_that_resets_is_gone_once_the_server_takes_nothing_more() {
    for reads in [false, true] {
        let mut near = of_reset_client().await;
        let (mut server, mut far) = duplex(64);
        let (passed, buffers) = (Passed::default(), Arc::default());
        let began = tokio::time::Instant::now();
        let relaying = async {
            let relayed = relay(&mut near, &mut far, &passed, limits(&buffers)).await;
            (relayed, began.elapsed())
        };
        let reading = async {
            for _ in 1..100 * usize::from(reads) {
                sleep(AFTER_RESET / 2).await;
                server.read_exact(&mut [0; 64]).await.unwrap();
            }
        };
        let ((relayed, lasted), ()) = tokio::join!(relaying, reading);
        assert!(matches!(relayed, Err(RelayError::Client(_))), "{relayed:?}");
        let (least, bytes) = if reads { (49, 6400) } else { (1, 64) };
        assert_eq!(passed.received.get(), bytes);
        assert!(lasted >= AFTER_RESET * least && lasted < IDLE / 2, "{lasted:?}");
        assert_eq!(buffers.waiting(), 0);
    }
}

/// A server may say more than it waits for, before it reads on.
#[tokio::test(start_paused = true)]
async fn what_a_client_sent_before_its_reset_is_passed_on_though_the_server_speaks() {
    for reads in [false, true] {
        let mut near = of_reset_client().await;
        let (mut server, mut far) = duplex(64);
        let (passed, buffers) = (Passed::default(), Arc::default());
        let began = tokio::time::Instant::now();
        let relaying = async {
            let relayed = relay(&mut near, &mut far, &passed, limits(&buffers)).await;
            let lasted = began.elapsed();
            let write = |context: &mut Context<'_>| {
                Poll::Ready(Pin::new(&mut far).poll_write(context, &[]))
            };
            let is_shut = matches!(poll_fn(write).await, Poll::Ready(Err(_)));
            assert!(!is_shut, "a reset is no end in order");
            drop(far);
            (relayed, lasted)
        };
        let mut heard = Vec::new();
        let talking = async {
            server.write_all(&[8; 640]).await.unwrap();
            if reads {
                server.read_to_end(&mut heard).await.unwrap();
            }
        };
        let ((relayed, lasted), ()) = tokio::join!(relaying, talking);
        assert!(matches!(relayed, Err(RelayError::Client(_))), "{relayed:?}");
        let bytes = if reads { 6400 } else { 64 };
        assert_eq!((passed.received.get(), passed.sent.get()), (bytes, 0));
        assert!(heard == vec![7; if reads { 6400 } else { 0 }], "{} bytes", heard.len());
        assert!(lasted < AFTER_RESET * 2, "{lasted:?}");
        assert_eq!(buffers.waiting(), 0);
    }
}

/// Memory: an idle relay is its future and nothing else.
#[tokio::test]
async fn an_idle_relay_keeps_no_buffer() {
    let (mut client, mut near) = duplex(64);
    let (mut server, mut far) = duplex(64);
    let passed = Passed::default();
    let buffers = Arc::default();
    let relaying = relay(&mut near, &mut far, &passed, limits(&buffers));
    assert!(size_of_val(&relaying) < 1024, "{} bytes", size_of_val(&relaying));
    let talking = async {
        client.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
    };
    tokio::select! {
        _ = relaying => panic!("it ended"),
        () = talking => {}
    }
    assert_eq!(buffers.waiting(), 0);
}

/// What is left over goes back as soon as it is written.
#[tokio::test]
async fn memory_for_what_waits_is_given_back() {
    let (mut from, mut source) = duplex(10_000);
    let (mut to, mut sink) = duplex(100);
    let (count, buffers) = (Rc::default(), Arc::default());
    let mut half = Half::new(&count, &buffers);
    source.write_all(&[7; 10_000]).await.unwrap();
    let mut copy = async |half: &mut Half| {
        poll_fn(|context| {
            let _ = half.poll_copy(context, &mut from, &mut to, &mut TURN.clone());
            Poll::Ready(())
        })
        .await;
    };
    copy(&mut half).await;
    assert_eq!((buffers.waiting(), count.get()), (9_900, 100));
    let mut heard = [0; 100];
    // Not more than the runtime lets one task do at a time.
    let copying = async {
        for _ in 0..100 {
            sink.read_exact(&mut heard).await.unwrap();
            copy(&mut half).await;
        }
    };
    tokio::task::unconstrained(copying).await;
    assert_eq!((buffers.waiting(), count.get()), (0, 10_000));
}

/// Many clients that do not read cost no more than the limit and a little each.
#[tokio::test]
async fn what_waits_in_all_relays_together_is_bounded() {
    let buffers = Arc::new(Buffers::default());
    buffers.limit(&weft_config::ProcessLimits { buffers: 300_000, ..Default::default() });
    let mut kept = Vec::new();
    for _ in 0..100 {
        let mut to = duplex(1);
        let mut half = Half::new(&Rc::default(), &buffers);
        let copy = |context: &mut Context<'_>| {
            let _ = half.poll_copy(context, &mut Endless, &mut to.0, &mut TURN.clone());
            Poll::Ready(())
        };
        poll_fn(copy).await;
        kept.push((half, to));
    }
    let waiting = buffers.waiting();
    assert!((300_000..300_000 + 128 * 1024 + 100 * 2048).contains(&waiting), "{waiting}");
    drop(kept);
    assert_eq!(buffers.waiting(), 0);
}

impl RelayStream for DuplexStream {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// A stream that always has bytes, and one that takes all.
struct Endless;

impl RelayStream for Endless {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        buffer.advance(room);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Between two requests beside it, a bulk stream moves at most one turn, sockets are
/// looked at in between, and a turn is short.
#[tokio::test]
async fn a_bulk_stream_lets_others_in_after_each_turn() {
    let passed = Passed::default();
    let counted = passed.clone();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            let bulk = tokio::task::spawn_local(async move {
                relay(&mut Endless, &mut Endless, &passed, limits(&Arc::default())).await
            });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut peer = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut near, _) = listener.accept().await.unwrap();
            for _ in 0..100 {
                let before = counted.received.get() + counted.sent.get();
                let began = Instant::now();
                peer.write_all(b"request").await.unwrap();
                near.read_exact(&mut [0; 7]).await.unwrap();
                let moved = counted.received.get() + counted.sent.get() - before;
                let turns = moved / (TURN as u64);
                assert!(turns <= 4, "{turns} turns in {:?} before a request", began.elapsed());
            }
            bulk.abort();
        })
        .await;
}

/// Both ends of a connection: the peer's, and the one that is relayed.
async fn connection() -> (TcpStream, PeekedStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    (peer, PeekedStream::new(near))
}

#[tokio::test]
async fn much_passes_between_sockets_in_order_and_ends_in_both_directions() {
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|number| (number % 251) as u8).collect();
    let ((mut client, mut near), (mut server, mut far)) = (connection().await, connection().await);
    let passed = Passed::default();
    let buffers = Arc::default();
    let relaying = relay(&mut near, &mut far, &passed, limits(&buffers));
    let more = [&bytes, &b"a little more"[..]].concat();
    let talking = exchange(&mut client, &mut server, (&more, &bytes));
    let (relayed, ()) = tokio::join!(relaying, talking);
    relayed.unwrap();
    assert_eq!((passed.received.get(), passed.sent.get()), (9_000_013, 9_000_000));
    assert_eq!(buffers.waiting(), 0);
}

/// Copies for one turn, as far as it goes at once; whether the source has ended.
async fn turn(half: &mut Half, from: &mut PeekedStream, to: &mut PeekedStream) -> bool {
    poll_fn(|context| {
        let copied = half.poll_copy(context, from, to, &mut TURN.clone());
        Poll::Ready(copied.is_ready())
    })
    .await
}

/// Bytes that a peer does not take stay in the kernel, are counted, and hold a pipe; when
/// there can be no more pipes, they are copied as before.
#[tokio::test]
async fn what_a_peer_does_not_take_holds_pipes_up_to_a_bound() {
    let buffers = Arc::new(Buffers::default());
    let mut stalled = Vec::new();
    for number in 0..40 {
        let ((mut client, mut near), (server, mut far)) = (connection().await, connection().await);
        let count = Rc::default();
        let mut half = Half::new(&count, &buffers);
        let before = buffers.waiting();
        let block = vec![7; 1 << 16];
        let copying = async {
            while buffers.waiting() == before {
                turn(&mut half, &mut near, &mut far).await;
                yield_now().await;
            }
        };
        tokio::select! {
            () = copying => {}
            () = async { while client.write_all(&block).await.is_ok() {} } => {}
        }
        assert_eq!(half.holds_pipe(), number < 32, "connection {number}");
        stalled.push((half, client, near, server, far));
    }
    let (mut half, client, mut near, mut server, mut far) = stalled.swap_remove(0);
    drop(stalled);
    drop(client);
    // One of them takes what was held, and the end.
    let copying = async {
        while !turn(&mut half, &mut near, &mut far).await {
            yield_now().await;
        }
    };
    let mut heard = Vec::new();
    // The end is passed on before the half is done.
    let ((), read) = tokio::join!(copying, server.read_to_end(&mut heard));
    read.unwrap();
    assert!(heard.len() > 1 << 16 && heard.iter().all(|&byte| byte == 7), "{}", heard.len());
    assert_eq!((buffers.waiting(), half.holds_pipe()), (0, false));
}

/// A read ends before urgent data. The byte itself is skipped, as by Envoy.
#[tokio::test]
async fn what_follows_urgent_data_passes_as_soon_as_it_is_there() {
    for much in [3, 3_000_000] {
        let ((client, mut near), (mut server, mut far)) = (connection().await, connection().await);
        let mut client = client.into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        let (passed, buffers) = (Passed::default(), Arc::default());
        let sending = std::thread::spawn(move || {
            std::io::Write::write_all(&mut client, &vec![7; much]).unwrap();
            SockRef::from(&client).send_out_of_band(&[8]).unwrap();
            std::io::Write::write_all(&mut client, &[7; 3]).unwrap();
            client
        });
        // So little is sent before anything is read.
        let early = if much == 3 { Some(sending.join().unwrap()) } else { None };
        let mut heard = vec![0; much + 3];
        let hearing = tokio::time::timeout(Duration::from_secs(20), server.read_exact(&mut heard));
        tokio::select! {
            relayed = relay(&mut near, &mut far, &passed, limits(&buffers)) => panic!("{relayed:?}"),
            heard = hearing => drop(heard.expect("it does not stall").unwrap()),
        }
        assert!(heard.iter().all(|&byte| byte == 7));
        drop(early);
    }
}
