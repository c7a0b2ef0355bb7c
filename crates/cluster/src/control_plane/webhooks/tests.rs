//! Peers that ask too much, too slowly, or for what is not theirs.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use weft_process::shutdown;

use super::{review::MOST, *};
use crate::control_plane::scripted::{self, Reply};

/// A server whose API server has namespace `late` with a label, and counts what it is asked.
struct Server {
    webhooks: Arc<Webhooks>,
    peers: Arc<Peers>,
    asked: Arc<AtomicUsize>,
    stop: shutdown::Stop,
    stopping: Stopping,
}

async fn server() -> Server {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let cluster = scripted::serve(move |path, _| {
        count.fetch_add(1, Ordering::Relaxed);
        assert_eq!(path, "/api/v1/namespaces/late");
        Reply::Json(200, json!({"metadata": {"labels": {"istio-injection": "enabled"}}}))
    })
    .await;
    let inputs = Arc::new(InjectionInputs::new());
    let namespace = |name: &str, labels: Value| {
        let metadata = json!({"name": name, "labels": labels});
        weft_api::read(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
    };
    let enabled = json!({"istio-injection": "enabled"});
    inputs.applied(&namespace("shop", enabled).expect("a namespace"));
    inputs.applied(&namespace("late", json!({})).expect("a namespace"));
    inputs.listed(weft_api::Kind::Namespace);
    inputs.listed(weft_api::Kind::ConfigMap);
    let (stop, stopping) = shutdown::channel();
    let (webhooks, peers) = (Arc::new(Webhooks::new(cluster, inputs)), Peers::new(LIMITS));
    Server { webhooks, peers, asked, stop, stopping }
}

const API_SERVER: [u8; 4] = [10, 0, 0, 1];

impl Server {
    /// The other end of a connection that is being served.
    fn connect(&self) -> DuplexStream {
        self.connect_from(API_SERVER)
    }

    fn connect_from(&self, peer: [u8; 4]) -> DuplexStream {
        let (own, other) = duplex(1 << 20);
        let (webhooks, mut stopping) = (Arc::clone(&self.webhooks), self.stopping.clone());
        let arrival = self.peers.arrive(peer.into()).expect("few wait");
        tokio::spawn(async move {
            let Some(connection) = arrival.enter().await else { return };
            converse(other, &connection, &webhooks, &mut stopping).await;
        });
        own
    }

    /// The status and the body that are answered to one request.
    async fn ask(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(request(path, body).as_bytes()).await.expect("it reads");
        answer_of(&mut stream).await
    }
}

fn request(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn answer_of(stream: &mut DuplexStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status, body.unwrap_or_default())
}

fn pod_in(namespace: &str) -> String {
    let pod = json!({
        "metadata": {"name": "cart"},
        "spec": {"containers": [{"name": "cart", "image": "cart"}]},
    });
    json!({"request": {"uid": "7", "namespace": namespace, "object": pod}}).to_string()
}

#[tokio::test]
async fn a_namespace_that_is_no_name_is_refused_and_asked_for_nowhere() {
    let server = server().await;
    for odd in ["x/pods?watch=1", "../../nodes", "istio-system/secrets/istio-ca-secret", "", "A"] {
        let (status, body) = server.ask("/inject", &pod_in(odd)).await;
        assert_eq!(status, 400, "{odd}: {body}");
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_pod_costs_no_request_unless_it_would_be_left_out() {
    let server = server().await;
    let (status, body) = server.ask("/inject", &pod_in("shop")).await;
    assert_eq!((status, body.contains("JSONPatch")), (200, true), "{body}");
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
    // The watch has not brought the label yet, for which the API server asks.
    let (status, body) = server.ask("/inject", &pod_in("late")).await;
    assert_eq!((status, body.contains("JSONPatch")), (200, true), "{body}");
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn reviews_that_are_too_large_are_refused() {
    let server = server().await;
    let many = format!("[{}0]", "{},".repeat(MOST.maps + 1));
    let (status, body) = server.ask("/validate", &many).await;
    assert_eq!(status, 413, "{body}");

    let mut stream = server.connect();
    let head = request("/validate", "").replace("length: 0", &format!("length: {}", 64 << 20));
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut writing = stream;
    let piece = vec![b' '; 1 << 20];
    for _ in 0..8 {
        if writing.write_all(&piece).await.is_err() {
            break;
        }
    }
    let mut text = Vec::new();
    let _ = writing.read_to_end(&mut text).await;
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 413"));
    assert_eq!(server.peers.free_bytes(), BYTES, "nothing is held any more");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_has_a_deadline() {
    let server = server().await;
    let mut stream = server.connect();
    let whole = request("/validate", &pod_in("shop"));
    stream.write_all(&whole.as_bytes()[..whole.len() - 1]).await.expect("it reads");
    let begun = tokio::time::Instant::now();
    let (status, _) = answer_of(&mut stream).await;
    assert_eq!((status, begun.elapsed()), (504, DEADLINE));
    assert_eq!(server.peers.free_bytes(), BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_slowly_holds_off_only_itself() {
    let server = server().await;
    let begun = tokio::time::Instant::now();
    let body = vec![b' '; 1 << 20];
    let mut slow = Vec::new();
    for _ in 0..2 * BYTES / body.len() {
        let mut stream = server.connect_from([10, 0, 0, 2]);
        let head =
            request("/validate", "").replace("length: 0", &format!("length: {}", body.len()));
        stream.write_all(head.as_bytes()).await.expect("it reads");
        // All but the last byte, as far as the other end reads it.
        let _ = futures::poll!(std::pin::pin!(stream.write_all(&body[1..])));
        slow.push(stream);
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let held = BYTES - server.peers.free_bytes();
    assert!(held > 0 && held <= LONGEST_REVIEW, "{held} bytes are held for one peer");
    let (status, body) = server.ask("/validate", &pod_in("shop")).await;
    assert_eq!((status, begun.elapsed()), (200, Duration::ZERO), "{body}");
    drop(slow);
}

/// Requests of `peer` whose bodies have all but the last byte.
async fn stall(
    server: &Server,
    peer: [u8; 4],
    (count, length): (usize, usize),
) -> Vec<DuplexStream> {
    let body = vec![b' '; length - 1];
    let mut stalled = Vec::new();
    for _ in 0..count {
        let mut stream = server.connect_from(peer);
        let head = request("/validate", "").replace("length: 0", &format!("length: {length}"));
        stream.write_all(head.as_bytes()).await.expect("it reads");
        stalled.push(stream);
    }
    for _ in 0..2 + length / (64 << 10) {
        tokio::task::yield_now().await;
    }
    for stream in &mut stalled {
        let _ = futures::poll!(std::pin::pin!(stream.write_all(&body)));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stalled
}

#[tokio::test(start_paused = true)]
async fn a_small_review_waits_for_no_bytes_that_other_peers_hold() {
    let server = server().await;
    let begun = tokio::time::Instant::now();
    let mut held = Vec::new();
    for peer in 2..8 {
        held.push(stall(&server, [10, 0, 0, peer], (8, 1 << 20)).await);
        held.push(stall(&server, [10, 0, 0, peer], (8, SMALL)).await);
    }
    assert_eq!(server.peers.free_bytes(), 0, "all that is shared is taken");
    let (status, body) = server.ask("/validate", &pod_in("shop")).await;
    assert_eq!((status, begun.elapsed()), (200, Duration::ZERO), "{body}");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn four_peers_that_keep_all_connections_busy_hold_off_nobody() {
    let server = server().await;
    let begun = tokio::time::Instant::now();
    let mut held = Vec::new();
    for peer in 2..6 {
        held.push(stall(&server, [10, 0, 0, peer], (LIMITS.of_peer, 2)).await);
    }
    for peer in 2..6 {
        held.push(stall(&server, [10, 0, 0, peer], (LIMITS.waiting_of_peer, 2)).await);
    }
    let (status, body) = server.ask("/validate", &pod_in("shop")).await;
    assert_eq!((status, begun.elapsed()), (200, Duration::ZERO), "{body}");
    drop(held);
}

#[tokio::test]
async fn hostile_reviews_at_once_are_judged_few_at_a_time_and_all_answered() {
    let server = server().await;
    let hosts: Vec<String> = (0..20_000).map(|one| format!("\"h{one}.example\"")).collect();
    let object = format!(
        r#"{{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{{"name":"x"}},"spec":{{"hosts":[{}],"http":[{{"hedaers":1}}]}}}}"#,
        hosts.join(",")
    );
    let review = format!(r#"{{"request":{{"uid":"7","namespace":"shop","object":{object}}}}}"#);
    let asking = (0..20).map(|_| server.ask("/validate", &review));
    for (status, body) in futures::future::join_all(asking).await {
        assert!(status == 200 || status == 504, "{status} {body}");
    }
    // A turn ends with the work on it, which may be after the answer.
    let connection = server.peers.arrive(API_SERVER.into()).expect("few wait").enter().await;
    let connection = connection.expect("there is room");
    let turns = futures::future::join_all((0..AT_ONCE).map(|_| connection.turn())).await;
    assert_eq!(turns.len(), AT_ONCE, "no turn is lost");
    drop(turns);
    let (status, body) = server.ask("/validate", &pod_in("shop")).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn at_the_end_what_was_asked_is_answered_and_idle_connections_close() {
    let server = server().await;
    let (mut idle, mut asking) = (server.connect(), server.connect());
    let whole = request("/validate", &pod_in("shop")).replace("connection: close\r\n", "");
    let (begin, end) = whole.as_bytes().split_at(whole.len() - 5);
    asking.write_all(begin).await.expect("it reads");
    idle.write_all(whole.as_bytes()).await.expect("it reads");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop.stop();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("the connection is closed");
    asking.write_all(end).await.expect("it is still read");
    assert_eq!(answer_of(&mut asking).await.0, 200);
}
