//! HTTP/2 under load: chatty, stalled and hostile peers, and servers that leave.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest, server::SendResponse};
use http::{Method, Request, Response};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

use crate::world::{Running, World, ok, server};

/// Nothing here takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(60);
/// Windows of the peers of a proxy, so that only the proxy's own stop anything.
pub const LARGE: u32 = 1 << 30;
/// A small window, which is soon full.
const SMALL: u32 = 65_535;
const MESSAGES: usize = 50_000;

/// A client of `address`.
pub async fn client(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(LARGE);
    builder.data_frame_budget(usize::MAX / 2);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

/// A server whose streams have windows of this size; connections are counted.
pub async fn h2_server<F, A>(window: u32, answer: A) -> (SocketAddr, Arc<AtomicUsize>)
where
    A: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.initial_window_size(window).initial_connection_window_size(LARGE);
                builder.data_frame_budget(usize::MAX / 2);
                let Ok(mut connection) = builder.handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond));
                }
            });
        }
    });
    (address, connections)
}

fn proxy_of(server: SocketAddr) -> Running {
    World::new().spoken("http2", server).start()
}

pub fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://x{path}")).body(()).unwrap()
}

fn answer_of(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

/// Reads to the end; how many bytes came.
async fn drain(body: &mut RecvStream) -> Result<usize, h2::Error> {
    let mut total = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        total += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(total)
}

/// Waits until so much has come that nothing more can.
async fn full(body: &mut RecvStream, bytes: usize) {
    while body.flow_control().used_capacity() < bytes {
        tokio::task::yield_now().await;
    }
}

/// Sends `count` messages of `size` bytes, each as a frame of its own, without waiting.
fn chat(stream: &mut SendStream<Bytes>, count: usize, size: usize) {
    for number in 1..=count {
        stream.send_data(Bytes::from(vec![b'm'; size]), number == count).unwrap();
    }
}

/// A server that is sent many messages, and looks at them at once or once it can get no
/// more.
async fn check_upload(size: usize, late: bool) {
    let (address, _) = h2_server(SMALL, move |request, mut respond| async move {
        let mut body = request.into_body();
        if late {
            full(&mut body, SMALL as usize).await;
        }
        let total = drain(&mut body).await.unwrap();
        let mut stream = respond.send_response(answer_of(200), false).unwrap();
        stream.send_data(Bytes::from(total.to_string()), true).unwrap();
    })
    .await;
    let proxy = proxy_of(address);
    let mut sender = client(proxy.at("test"), LARGE).await;
    let (response, mut stream) = sender.send_request(request(Method::POST, "/"), false).unwrap();
    chat(&mut stream, MESSAGES, size);
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), (MESSAGES * size).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_messages_reach_a_server_however_late_it_looks_at_them() {
    for (size, late) in [(10, false), (10, true), (2, true)] {
        timeout(HANGS, check_upload(size, late)).await.expect("no end");
    }
}

/// A client that is sent many messages, and looks at them at once or once it can get no
/// more; another client's stream on the same connection to the server is not disturbed.
async fn check_download(size: usize, late: bool) {
    let (address, connections) = h2_server(LARGE, move |request, mut respond| async move {
        let mut stream = respond.send_response(answer_of(200), false).unwrap();
        match request.uri().path() {
            "/chat" => chat(&mut stream, MESSAGES, size),
            _ => {
                let total = drain(&mut request.into_body()).await.unwrap();
                stream.send_data(Bytes::from(total.to_string()), true).unwrap();
            }
        }
    })
    .await;
    let proxy = proxy_of(address);
    let mut other = client(proxy.at("test"), LARGE).await;
    let (held, mut holding) = other.send_request(request(Method::POST, "/hold"), false).unwrap();
    let held = held.await.unwrap();
    let mut sender = client(proxy.at("test"), SMALL).await;
    let (response, _) = sender.send_request(request(Method::GET, "/chat"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    if late {
        full(&mut body, SMALL as usize).await;
    }
    assert_eq!(drain(&mut body).await.unwrap(), MESSAGES * size);
    holding.send_data(Bytes::from_static(b"still there"), true).unwrap();
    assert_eq!(held.into_body().data().await.unwrap().unwrap(), "11");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_messages_reach_a_client_however_late_it_looks_at_them() {
    for (size, late) in [(10, false), (10, true), (2, true)] {
        timeout(HANGS, check_download(size, late)).await.expect("no end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_http_1_that_read_late_do_not_end_a_chatty_servers_connection() {
    let (address, connections) = h2_server(LARGE, |request, mut respond| async move {
        let mut stream = respond.send_response(answer_of(200), false).unwrap();
        match request.uri().path() {
            "/chat" => chat(&mut stream, 4 * MESSAGES, 10),
            _ => stream.send_data(Bytes::from_static(b"here"), true).unwrap(),
        }
    })
    .await;
    let proxy = proxy_of(address);
    let at = proxy.at("test");
    let stalled: Vec<_> = (0..8).map(|_| stalled_http1(at, "/chat")).collect();
    assert_eq!(small(at).await, "here");
    drop(stalled);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_leave_others_a_connection_with_large_windows() {
    let (address, connections) = h2_server(LARGE, |request, mut respond| async move {
        let mut stream = respond.send_response(answer_of(200), false).unwrap();
        match request.uri().path() {
            "/large" => chat(&mut stream, 64, 16 * 1024),
            _ => stream.send_data(Bytes::from_static(b"here"), true).unwrap(),
        }
    })
    .await;
    let proxy = proxy_of(address);
    let mut unread = client(proxy.at("test"), SMALL).await;
    let mut stalled = Vec::new();
    for _ in 0..34 {
        stalled.push(unread.send_request(request(Method::GET, "/large"), true).unwrap());
        unread = unread.ready().await.unwrap();
    }
    let others = async {
        while connections.load(Ordering::SeqCst) < 2 {
            assert_eq!(small(proxy.at("test")).await, "here");
        }
    };
    timeout(HANGS, others).await.expect("one connection for all");
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_nobody_reads_stop_no_others_of_a_client_outside() {
    let (address, _) = h2_server(SMALL, |request, mut respond| async move {
        if request.uri().path() == "/stalled" {
            return std::future::pending().await;
        }
        let total = drain(&mut request.into_body()).await.unwrap();
        let mut stream = respond.send_response(answer_of(200), false).unwrap();
        stream.send_data(Bytes::from(total.to_string()), true).unwrap();
    })
    .await;
    let proxy = World::new().spoken("http2", address).server("edge", json!(true)).start();
    let mut sender = client(proxy.at("test"), LARGE).await;
    let mut stalled = Vec::new();
    for _ in 0..60 {
        let (answer, mut stream) =
            sender.send_request(request(Method::POST, "/stalled"), false).unwrap();
        chat(&mut stream, 64, 16 * 1024);
        stalled.push((answer, stream));
        sender = sender.ready().await.unwrap();
    }
    for _ in 0..3 {
        let (answer, mut stream) = sender.send_request(request(Method::POST, "/"), false).unwrap();
        chat(&mut stream, 64, 16 * 1024);
        let answer = timeout(HANGS, answer).await.expect("it is stopped by others").unwrap();
        assert_eq!(answer.into_body().data().await.unwrap().unwrap(), (1 << 20).to_string());
        sender = sender.ready().await.unwrap();
    }
    drop(stalled);
}

/// A client of HTTP/1 that has the head of the answer, and reads no further.
fn stalled_http1(at: SocketAddr, path: &str) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    stream
}

/// What a client gets that asks for little.
async fn small(at: SocketAddr) -> Bytes {
    let mut sender = client(at, LARGE).await;
    let (response, _) = sender.send_request(request(Method::GET, "/small"), true).unwrap();
    response.await.unwrap().into_body().data().await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_stop_no_other_client_of_the_same_server() {
    let (address, connections) = h2_server(LARGE, |request, mut respond| async move {
        let mut stream = respond.send_response(answer_of(200), false).unwrap();
        let size = if request.uri().path() == "/big" { 4 * 1024 * 1024 } else { 2048 };
        let mut rest = Bytes::from(vec![b'x'; size]);
        while !rest.is_empty() {
            let frame = rest.split_to(rest.len().min(16_384));
            stream.send_data(frame, rest.is_empty()).unwrap();
        }
    })
    .await;
    let proxy = proxy_of(address);
    let at = proxy.at("test");
    let mut sender = client(at, SMALL).await;
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let (response, _) = sender.send_request(request(Method::GET, "/big"), true).unwrap();
        stalled.push(response.await.unwrap().into_body());
    }
    for body in &mut stalled {
        full(body, SMALL as usize).await;
    }
    let live = timeout(HANGS, small(at)).await.expect("a live exchange beside the stalled ones");
    assert_eq!(live.len(), 2048);
    let last = drain(&mut stalled[49]).await.unwrap();
    assert_eq!(last, 4 * 1024 * 1024, "a stalled one goes on as soon as it is read");
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections <= 8, "{connections} connections, for 8 full windows each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_are_not_read_stop_no_other_upload_of_the_same_connection() {
    let gate = Arc::new(Notify::new());
    let (opened, waiting) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let arrived = Arc::clone(&waiting);
    let (address, connections) = h2_server(SMALL, move |request, mut respond| {
        let (gate, arrived) = (Arc::clone(&gate), Arc::clone(&arrived));
        async move {
            let stalled = request.uri().path() == "/stalled";
            let mut body = request.into_body();
            if stalled {
                full(&mut body, SMALL as usize).await;
                arrived.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
            }
            let total = drain(&mut body).await.unwrap();
            let mut stream = respond.send_response(answer_of(200), false).unwrap();
            stream.send_data(Bytes::from(total.to_string()), true).unwrap();
        }
    })
    .await;
    let proxy = proxy_of(address);
    let mut sender = client(proxy.at("test"), LARGE).await;
    let mut upload = |path: &str, bytes: usize| {
        let (response, mut stream) =
            sender.send_request(request(Method::POST, path), false).unwrap();
        stream.send_data(Bytes::from(vec![b'x'; bytes]), true).unwrap();
        response
    };
    let stalled: Vec<_> = (0..50).map(|_| upload("/stalled", 2 * 1024 * 1024)).collect();
    while waiting.load(Ordering::SeqCst) < 50 {
        tokio::task::yield_now().await;
    }
    let live = timeout(HANGS, upload("/live", 1024 * 1024)).await.expect("beside the stalled ones");
    let total = live.unwrap().into_body().data().await.unwrap().unwrap();
    assert_eq!(total, (1024 * 1024).to_string());
    opened.notify_waiters();
    for response in stalled {
        let total = response.await.unwrap().into_body().data().await.unwrap().unwrap();
        assert_eq!(total, (2 * 1024 * 1024).to_string());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_all_it_asks_for_is_not_served_for_long() {
    let silent = server(&["hang"]);
    let limits = serde_json::json!({ "prematureResets": 100 });
    let proxy = World::new().limits(limits).spoken("http1", silent.address).start();
    let mut sender = client(proxy.at("test"), LARGE).await;
    let mut streams = 0;
    let error = loop {
        let mut round = Vec::new();
        for _ in 0..50 {
            match sender.send_request(request(Method::GET, "/"), true) {
                Ok(begun) => round.push(begun),
                Err(_) => break,
            }
        }
        if round.is_empty() {
            break std::future::poll_fn(|context| sender.poll_ready(context)).await.unwrap_err();
        }
        streams += round.len();
        assert!(streams <= 400, "no end");
        // Each lives until it has reached the server, or the connection ends.
        while silent.connections() < streams {
            tokio::task::yield_now().await;
            if std::future::poll_fn(|context| sender.poll_ready(context)).await.is_err() {
                break;
            }
        }
        round.iter_mut().for_each(|(_, stream)| stream.send_reset(h2::Reason::CANCEL));
    };
    assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR), "{error}");
    assert!(silent.connections() <= streams, "{} of {streams}", silent.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_now_and_then_is_served_on() {
    let server = server(&[&ok("x")]);
    let limits = serde_json::json!({ "prematureResets": 100 });
    let proxy = World::new().limits(limits).spoken("http1", server.address).start();
    let mut sender = client(proxy.at("test"), LARGE).await;
    for _ in 0..150 {
        for reset in [false, false, true] {
            let (response, mut stream) =
                sender.send_request(request(Method::GET, "/"), true).unwrap();
            match reset {
                true => stream.send_reset(h2::Reason::CANCEL),
                false => assert_eq!(response.await.unwrap().status(), 200),
            }
        }
    }
}
