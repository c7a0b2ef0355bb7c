//! Clients that hold on to what they have, read nothing, or send slowly.

use std::io::ErrorKind;

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{delivery::STALLED, *};
use crate::{
    MASTERS,
    node::{ExecIo, Io, LogOptions, NodeError, PodRef},
};

/// A node whose commands never end, and whose logs never stop.
struct Endless;

impl Node for Endless {
    fn logs(
        &self,
        _: PodRef,
        _: String,
        _: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, NodeError>> {
        let lines: BoxStream<'static, Bytes> =
            Box::pin(futures::stream::repeat(Bytes::from_static(&[b'x'; 1024])));
        Box::pin(async { Ok(lines) })
    }

    fn exec(
        &self,
        _: PodRef,
        _: String,
        _: Vec<String>,
        io: ExecIo,
    ) -> BoxFuture<'static, Result<i32, NodeError>> {
        Box::pin(async move {
            let _io = io;
            std::future::pending().await
        })
    }

    fn attach(
        &self,
        pod: PodRef,
        container: String,
        io: ExecIo,
    ) -> BoxFuture<'static, Result<i32, NodeError>> {
        self.exec(pod, container, Vec::new(), io)
    }

    fn connect(&self, _: PodRef, _: u16) -> BoxFuture<'static, Result<Box<dyn Io>, NodeError>> {
        Box::pin(async {
            let (near, far) = duplex(64);
            tokio::spawn(async move {
                let _far = far;
                std::future::pending::<()>().await
            });
            Ok(Box::new(near) as Box<dyn Io>)
        })
    }
}

impl Dial for Endless {
    fn service(&self, _: &str, _: &str, _: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        Box::pin(async { Err(ErrorKind::ConnectionRefused.into()) })
    }
}

const PEER: [u8; 4] = [10, 0, 0, 1];
const OTHER: [u8; 4] = [10, 0, 0, 2];
const POD: &str = "/api/v1/namespaces/default/pods/p";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn server(limits: Limits) -> Arc<Server> {
    let (store, authority) = (Store::new(), Arc::new(Authority::new().expect("an authority")));
    let node = Arc::new(Endless);
    let server = Server::new(store, authority, node.clone(), node).expect("a server");
    let pod = json!({"metadata": {"name": "p", "namespace": "default"},
                     "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = server.store.resource("", "pods").expect("pods are served");
    server.store.create(&pods, pod).expect("a pod");
    Arc::new(Server { peers: Peers::new(limits), ..server })
}

fn write_map(server: &Server, name: &str, bytes: usize) {
    let maps = server.store.resource("", "configmaps").expect("they are served");
    let map = json!({"metadata": {"name": name, "namespace": "default"},
                     "data": {"text": "x".repeat(bytes)}});
    server.store.create(&maps, map).expect("a map");
}

/// The client's end of a connection of `peer`, who may do everything.
async fn connect(server: &Arc<Server>, peer: [u8; 4]) -> DuplexStream {
    let arrival = server.peers.arrive(peer.into()).expect("few wait");
    let connection = arrival.enter().now_or_never().flatten().expect("room at once");
    let (own, other) = duplex(4 << 10);
    let user = User {
        name: "admin".to_owned(),
        uid: String::new(),
        groups: vec![MASTERS.to_owned()],
        extra: serde_json::Value::Null,
    };
    let (server, user) = (Arc::clone(server), Some(Arc::new(user)));
    tokio::spawn(async move {
        let closing = connection.clone();
        tokio::select! {
            () = closing.closed() => {}
            _ = server.converse(other, (Version::HTTP_11, user), connection) => {}
        }
    });
    own
}

fn has_room(server: &Arc<Server>, peer: [u8; 4]) -> bool {
    let entered = server.peers.arrive(peer.into()).map(|one| one.enter().now_or_never().flatten());
    entered.flatten().is_some()
}

/// A connection that has sent a request, and what its answer begins with.
async fn ask(server: &Arc<Server>, peer: [u8; 4], request: &str) -> (DuplexStream, String) {
    let mut stream = connect(server, peer).await;
    let request = format!("{request}\r\n").replace('\n', "\r\n").replace("\r\r", "\r");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("an answer");
    (stream, String::from_utf8_lossy(&first).into_owned())
}

async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass, in steps in which all tasks get to what they have to do.
async fn pass(time: Duration) {
    let step = STALLED / 8;
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        tokio::time::advance(step).await;
        settle().await;
    }
}

fn upgrade(path: &str, protocol: &str) -> String {
    format!(
        "GET {POD}/{path} HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: websocket\n\
         sec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\
         sec-websocket-protocol: {protocol}\n"
    )
}

#[tokio::test]
async fn sessions_stay_connections_of_their_peer_until_they_end() {
    for path in ["exec?command=x&stdout=true", "attach?stdout=true", "portforward?ports=80"] {
        let server = server(Limits { of_peer: 1, ..LIMITS });
        let (session, answer) = ask(&server, PEER, &upgrade(path, "v4.channel.k8s.io")).await;
        assert_eq!(answer, "HTTP/1.1 101", "{path}");
        settle().await;
        assert_eq!(server.peers.connections(), 1, "{path}");
        assert!(!has_room(&server, PEER) && has_room(&server, OTHER), "{path}");
        drop(session);
        settle().await;
        assert!(has_room(&server, PEER), "{path}");
    }
}

#[tokio::test]
async fn a_session_of_a_greedy_peer_ends_to_make_room() {
    let server = server(Limits { connections: 3, ..LIMITS });
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let request = upgrade("exec?command=x&stdout=true", "v5.channel.k8s.io");
        sessions.push(ask(&server, PEER, &request).await.0);
    }
    settle().await;
    let mut other = connect(&server, OTHER).await;
    let mut rest = Vec::new();
    sessions[0].read_to_end(&mut rest).await.expect("the oldest ends");
    other.write_all(b"GET /version HTTP/1.0\r\n\r\n").await.expect("it reads");
    other.read_to_end(&mut rest).await.expect("an answer");
    assert!(String::from_utf8_lossy(&rest).contains("HTTP/1.0 200 OK"));
    settle().await;
    assert_eq!(server.peers.connections(), 2, "its peer has the others");
}

/// As kube-apiserver, which ends watches whose clients do not keep up.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_never_read_is_closed() {
    for initial in [0, 100] {
        let server = server(LIMITS);
        (0..initial).for_each(|number| write_map(&server, &format!("i{number}"), 10_000));
        let watch = format!("GET {MAPS}?watch=true HTTP/1.1\nhost: a\n");
        let (mut stream, answer) = ask(&server, PEER, &watch).await;
        assert_eq!(answer, "HTTP/1.1 200");
        (0..100).for_each(|number| write_map(&server, &format!("m{number}"), 10_000));
        let begun = tokio::time::Instant::now();
        pass(3 * STALLED).await;
        assert_eq!(server.peers.connections(), 0, "after {:?}", begun.elapsed());
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("its end");
        assert!(rest.len() < 200_000, "{} bytes were kept for it", rest.len());
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it does not pass for a watch that is over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_read_slowly_or_has_nothing_to_tell_stays() {
    let server = server(LIMITS);
    let watch = format!("GET {MAPS}?watch=true&resourceVersion=9 HTTP/1.1\nhost: a\n");
    let (mut slow, _) = ask(&server, PEER, &watch).await;
    let (_quiet, _) = ask(&server, OTHER, &watch.replace("configmaps", "secrets")).await;
    (0..40).for_each(|number| write_map(&server, &format!("m{number}"), 10_000));
    for _ in 0..20 {
        pass(STALLED / 2).await;
        slow.read_exact(&mut vec![0; 20_000]).await.expect("more of it");
    }
    assert_eq!(server.peers.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_log_may_rest_with_its_client() {
    let server = server(LIMITS);
    let request = format!("GET {POD}/log?follow=true HTTP/1.1\nhost: a\n");
    let (mut paged, answer) = ask(&server, PEER, &request).await;
    assert_eq!(answer, "HTTP/1.1 200");
    pass(20 * STALLED).await;
    paged.read_exact(&mut vec![0; 1 << 20]).await.expect("it goes on");
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_taken_are_bounded_and_end() {
    let server = server(Limits { turns_of_peer: 2, ..LIMITS });
    (0..20).for_each(|number| write_map(&server, &format!("m{number}"), 100_000));
    let list = format!("GET {MAPS} HTTP/1.1\nhost: a\n");
    let (_first, _second) = (ask(&server, PEER, &list).await, ask(&server, PEER, &list).await);
    let begun = tokio::time::Instant::now();
    let (_, of_other) = ask(&server, OTHER, &list).await;
    assert_eq!((of_other.as_str(), begun.elapsed()), ("HTTP/1.1 200", Duration::ZERO));
    let (_, third) = ask(&server, PEER, &list).await;
    assert_eq!(third, "HTTP/1.1 200", "when the first two have been cut off");
    assert!(begun.elapsed() >= STALLED && begun.elapsed() <= STALLED * 3 / 2);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_come_slowly_time_out_and_hold_off_no_other_peer() {
    let server = server(LIMITS);
    let head = |length| {
        format!(
            "POST {MAPS} HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-length: {length}\n"
        )
    };
    let mut slow = Vec::new();
    for _ in 0..32 {
        let mut stream = connect(&server, PEER).await;
        let text = head(LONGEST).replace('\n', "\r\n") + "\r\n{";
        stream.write_all(text.as_bytes()).await.expect("it reads");
        slow.push(stream);
    }
    settle().await;
    let begun = tokio::time::Instant::now();
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(1 << 20)}}).to_string();
    let mut honest = connect(&server, OTHER).await;
    let text = head(map.len()).replace('\n', "\r\n") + "\r\n" + &map;
    honest.write_all(text.as_bytes()).await.expect("it reads");
    let mut first = [0; 12];
    honest.read_exact(&mut first).await.expect("an answer");
    assert_eq!((&first, begun.elapsed()), (b"HTTP/1.1 201", Duration::ZERO));
    for stream in &mut slow {
        stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 408");
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(60), "each has its deadline from its head on");
}
