//! What the strict reading of heads lets pass is what the codecs can send, and servers can read.

use std::net::SocketAddr;

use http::{Request, Response};
use weft_balance::Rng;

use crate::{
    hostile::{FIELDS, HOSTS, SEGMENTS, any, request, several},
    streams::{LARGE, client, h2_server},
    world::{Client, World, ok, server},
};

/// How many heads are tried of each kind.
const HEADS: u64 = 400;
/// Fewer served ones show nothing.
const FEW: usize = 20;
const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

/// Whether a line of the log is of a request that was answered by its server; it fails where a
/// request passed the reading of its head and then could not be sent or was not understood.
fn is_served(line: &str) -> bool {
    let mut words = line.split(' ');
    let [code, flags, details] = [(); 3].map(|()| words.next().unwrap_or_default());
    let refused = matches!(code, "400" | "403" | "404" | "426" | "431" | "501");
    let left = code == "0" && flags == "DC";
    let served = code == "200" && flags == "-";
    assert!(refused || left || served, "{line}");
    assert!(!refused || details != "via_upstream", "{line}");
    served
}

/// How many of many heads are served, which `ask` asks for by their numbers.
async fn served<F>(upstream: &str, ask: impl Fn(u64, SocketAddr) -> F) -> usize
where
    F: Future<Output = ()>,
{
    let http1 = server(&[&ok("")]);
    let (http2, _) = h2_server(LARGE, |_, mut respond| async move {
        let _ = respond.send_response(Response::new(()), true);
    })
    .await;
    let address = if upstream == "http1" { http1.address } else { http2 };
    let (world, folder) = World::new().spoken(upstream, address).log(LOG);
    let proxy = world.start();
    for number in 0..HEADS {
        ask(number, proxy.at("test")).await;
    }
    proxy.end();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    log.lines().filter(|line| is_served(line)).count()
}

/// Asks over HTTP/1 for the head with this number.
async fn ask_http1(number: u64, at: SocketAddr, upgrades: bool) {
    let head = request(&mut Rng::new(number));
    // Nothing is upgraded on a stream of HTTP/2.
    if upgrades || !head.contains("upgrade: websocket") {
        let asking = tokio::task::spawn_blocking(move || {
            let mut client = Client::to(at);
            client.say(&head);
            client.rest()
        });
        asking.await.unwrap();
    }
}

/// Asks over HTTP/2 for a head of the same pieces, if the client's own codec sends it.
async fn ask_http2(number: u64, at: SocketAddr) {
    let mut rng = Rng::new(number);
    let path = several(&mut rng, 3, SEGMENTS);
    let uri = format!("http://{}/x{path}", any(&mut rng, HOSTS));
    let mut head = Request::builder().method(any(&mut rng, &["GET", "POST", "CONNECT"])).uri(uri);
    for _ in 0..rng.below(5) {
        let (name, value) = any(&mut rng, FIELDS).split_once(": ").unwrap();
        head = head.header(name, value);
    }
    if let Ok(head) = head.body(()) {
        let mut sender = client(at, LARGE).await;
        if let Ok((response, _)) = sender.send_request(head, true) {
            // What the codec refuses is reset.
            let _ = response.await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_let_pass_can_be_sent_in_either_version() {
    for upstream in ["http1", "http2"] {
        let upgrades = upstream == "http1";
        let of_http1 = served(upstream, |number, at| ask_http1(number, at, upgrades)).await;
        assert!(of_http1 > FEW, "{of_http1} of HTTP/1 to {upstream}");
        let of_http2 = served(upstream, ask_http2).await;
        assert!(of_http2 > FEW, "{of_http2} of HTTP/2 to {upstream}");
    }
}
