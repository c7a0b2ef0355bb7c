//! Peers that are slow, one-sided or many, and what the others beside them get.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;

use crate::{
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, Peer, RST_STREAM, frame},
    streams::{LARGE, client, h2_server, request},
    world::{Client, Running, World, alone, brief, get, lines, memory, ok, rule, server, serving},
};

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

/// Reads until the end of a head.
pub fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// An address at which nobody ever listens: a socket keeps it to the end of the process.
pub fn nobody() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

/// Requests under way at all endpoints, as the proxy counts them.
pub fn busy(proxy: &Running) -> usize {
    let text = proxy.get("admin", "/backends");
    let counts = text.split("\"busy\": ").skip(1);
    counts.map(|rest| rest.split([',', '\n', ' ']).next().unwrap().parse::<usize>().unwrap()).sum()
}

const CLIENTS: usize = 10_000;

/// The other end of the test below, in a process of its own: a process can have too few
/// descriptors for both. Does nothing without an address.
#[test]
#[ignore = "the clients of the test below"]
fn clients_with_half_a_head() {
    let mut address = String::new();
    std::io::stdin().read_line(&mut address).unwrap();
    let Ok(address) = address.trim().parse::<SocketAddr>() else { return };
    let connect = |_| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-half: ").unwrap();
        client
    };
    let clients: Vec<TcpStream> = (0..CLIENTS).map(connect).collect();
    println!("\n{} are there", clients.len());
    // Until the other process has seen enough.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn many_clients_with_half_a_head_cost_little_and_others_are_served() {
    alone("peers::half_heads_in_a_process_of_their_own");
}

#[test]
#[ignore = "run alone by another test, for others would use memory as well"]
fn half_heads_in_a_process_of_their_own() {
    let server = server(&[&ok("x")]);
    let proxy = World::new().spoken("http1", server.address).start();
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 x");
    let before = memory();
    let mut others = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "peers::clients_with_half_a_head", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = others.stdin.take().unwrap();
    writeln!(input, "{}", proxy.at("test")).unwrap();
    let output = std::io::BufReader::new(others.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(output);
    assert!(lines.any(|line| line.unwrap().ends_with(" are there")));
    // It comes behind all of them.
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 x");
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 x");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    let each = memory().saturating_sub(before) / CLIENTS as u64;
    // Futures are larger without optimization.
    assert!(each < 32 * 1024, "{each} bytes for each");
    drop(input);
    assert!(others.wait().unwrap().success());
}

#[test]
fn a_client_that_half_closes_during_its_answer_has_left_as_in_envoy() {
    let (sender, ended) = channel();
    let address = serving(move |mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun").unwrap();
        let _ = stream.read(&mut [0]);
        sender.send(()).unwrap();
    });
    let (world, log) = World::new().spoken("http1", address).log(LOG);
    let proxy = world.start();
    let mut client = proxy.client();
    client.say(&get("x", "/"));
    client.0.read_exact(&mut [0; 12]).unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    client.rest();
    assert_eq!(lines(&log, 1), ["200 DC downstream_remote_disconnect"]);
    ended.recv().unwrap();
    assert_eq!(busy(&proxy), 0);
}

const LENGTH: usize = 4 << 20;

/// A client uploads while its server, which has answered before it has read the body, reads on
/// to the end, or no further. What the server has read in the end.
fn early_answer(reads_on: bool) -> (Running, Client, Receiver<usize>) {
    let (sender, read) = channel();
    let address = serving(move |mut stream| {
        read_head(&mut stream);
        stream.write_all(ok("early").as_bytes()).unwrap();
        if reads_on {
            let mut body = vec![0; LENGTH];
            stream.read_exact(&mut body).unwrap();
            sender.send(body.len()).unwrap();
        }
        thread::park();
    });
    let limits = json!({ "stalled": "0.3s" });
    let proxy = World::new().limits(limits).spoken("http1", address).start();
    let mut client = proxy.client();
    client.say(&format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {LENGTH}\r\n\r\n"));
    assert_eq!(brief(&client.hear()), "200 early");
    (proxy, client, read)
}

#[test]
fn an_answer_before_the_end_of_an_upload_reaches_the_client_and_the_upload_the_server() {
    let (_proxy, mut client, read) = early_answer(true);
    client.0.write_all(&vec![b'x'; LENGTH]).unwrap();
    assert_eq!(read.recv().unwrap(), LENGTH);
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 early", "the next request");
}

#[test]
fn a_server_that_answers_and_reads_no_further_does_not_hold_its_client_for_long() {
    let (proxy, mut client, _) = early_answer(false);
    // It is taken as far as there is room, and then the connection is of no more use.
    let _ = client.0.write_all(&vec![b'x'; 8 * LENGTH]);
    client.rest();
    assert_eq!(busy(&proxy), 0);
}

#[test]
fn a_server_that_trickles_its_head_has_the_rules_time_and_no_more() {
    let address = serving(|mut stream| {
        read_head(&mut stream);
        // The client says nothing more: waiting for it is a pause.
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-long: ".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            let _ = stream.read(&mut [0]);
        }
    });
    let mut rule = rule("one");
    rule["timeout"] = json!("0.3s");
    let world = World::new().backend("one", &[address]).route(&["*"], json!([rule]));
    let (world, log) = world.log(LOG);
    let proxy = world.start();
    let began = Instant::now();
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "504 upstream request timeout");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(lines(&log, 1), ["504 UT response_timeout"]);
    assert_eq!(busy(&proxy), 0);
}

#[test]
fn streams_that_are_stalled_by_their_client_and_then_reset_leave_nothing_behind() {
    const STREAMS: u32 = 100;
    let large = ok(&"x".repeat(1 << 20));
    let server = server(&[&large]);
    let proxy = World::new().spoken("http1", server.address).start();
    let mut peer = Peer::greeted(proxy.at("test"));
    let of = |number: u32| 2 * number + 1;
    for number in 0..STREAMS {
        peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, of(number), &crate::frames::get()));
    }
    // No window is ever opened again: the connection's is full.
    let mut heard = 0;
    while heard < 65_535 {
        heard += peer.until(DATA).unwrap().payload.len();
    }
    server.until_heard(STREAMS as usize);
    assert_eq!(busy(&proxy), STREAMS as usize);
    let other = proxy.ask(&get("x", "/"));
    assert!(other.starts_with("HTTP/1.1 200") && other.len() > 1 << 20);
    for number in 0..STREAMS {
        peer.say(&frame(RST_STREAM, 0, of(number), &8_u32.to_be_bytes()));
    }
    peer.say(&frame(PING, 0, 0, &[7; 8]));
    while peer.until(PING).unwrap().payload != [7; 8] {}
    while busy(&proxy) > 0 {
        thread::yield_now();
    }
}

#[test]
fn a_thousand_requests_at_once_are_answered_in_order_to_a_slow_reader() {
    const REQUESTS: usize = 1000;
    let address = serving(|mut stream| {
        loop {
            let head = read_head(&mut stream);
            let Some(path) = head.split(' ').nth(1) else { return };
            let body = format!("{path} {}", "x".repeat(20_000));
            if stream.write_all(ok(&body).as_bytes()).is_err() {
                return;
            }
        }
    });
    let proxy = World::new().spoken("http1", address).start();
    let mut client = proxy.client();
    let requests: String = (0..REQUESTS).map(|number| get("x", &format!("/{number}"))).collect();
    let mut writing = client.0.try_clone().unwrap();
    let writer = thread::spawn(move || writing.write_all(requests.as_bytes()).unwrap());
    // Nothing is read yet, and another client is served.
    assert!(brief(&proxy.ask(&get("x", "/other"))).starts_with("200 /other "));
    for number in 0..REQUESTS {
        let answer = brief(&client.hear());
        assert!(answer.starts_with(&format!("200 /{number} ")), "{}", &answer[..20]);
    }
    writer.join().unwrap();
}

const TRAILERS: &str = "POST / HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntrailer: x-sum\r\n\
    transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: up\r\n\r\n";

#[test]
fn trailers_pass_both_ways_between_peers_of_http_1() {
    let (sender, heard) = channel();
    let address = serving(move |mut stream| {
        let request = read_head(&mut stream) + &read_head(&mut stream);
        sender.send(request).unwrap();
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                3\r\nabc\r\n0\r\nx-sum: down\r\n\r\n",
            )
            .unwrap();
        thread::park();
    });
    let proxy = World::new().spoken("http1", address).start();
    let mut client = proxy.client();
    client.say(TRAILERS);
    let answer = client.head() + &client.head();
    assert!(answer.ends_with("3\r\nabc\r\n0\r\nx-sum: down\r\n\r\n"), "{answer}");
    let heard = heard.recv().unwrap();
    assert!(heard.ends_with("3\r\nabc\r\n0\r\nx-sum: up\r\n\r\n"), "{heard}");
}

fn sums(value: &'static str) -> http::HeaderMap {
    http::HeaderMap::from_iter([("x-sum".parse().unwrap(), value.parse().unwrap())])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways_between_peers_of_http_2() {
    let (address, _) = h2_server(LARGE, |request, mut respond| async move {
        let mut body = request.into_body();
        while body.data().await.is_some() {}
        assert_eq!(body.trailers().await.unwrap(), Some(sums("up")));
        let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
        stream.send_data("abc".into(), false).unwrap();
        stream.send_trailers(sums("down")).unwrap();
    })
    .await;
    let proxy = World::new().spoken("http2", address).start();
    let mut sender = client(proxy.at("test"), LARGE).await;
    let (response, mut stream) = sender.send_request(request(Method::POST, "/"), false).unwrap();
    stream.send_data("abc".into(), false).unwrap();
    stream.send_trailers(sums("up")).unwrap();
    let mut body = response.await.unwrap().into_body();
    while body.data().await.is_some() {}
    assert_eq!(body.trailers().await.unwrap(), Some(sums("down")));
}

/// What a client that waits for leave to send its body gets, from a server that answers
/// before it has read any.
#[track_caller]
fn check_leave(answer: &str, expected: &str) {
    let answer = answer.to_owned();
    let address = serving(move |mut stream| {
        read_head(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let proxy = World::new().spoken("http1", address).start();
    let mut client = proxy.client();
    client.say("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    let mut head = client.head();
    if head.starts_with("HTTP/1.1 100") {
        // The proxy asks for the body itself, as Envoy does.
        client.say("body");
        head = client.head();
    }
    assert!(head.starts_with(expected), "{head}");
}

#[test]
fn a_client_that_waits_for_leave_gets_the_answer_of_a_server_that_gives_none() {
    let refusal = "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n";
    check_leave(refusal, "HTTP/1.1 417");
    check_leave(&ok("early"), "HTTP/1.1 200");
    check_leave(
        "HTTP/1.1 413 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 413",
    );
    check_leave(&format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("late")), "HTTP/1.1 200");
}
