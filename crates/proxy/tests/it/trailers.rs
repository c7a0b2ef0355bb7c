//! Trailers of requests and answers, over both versions of HTTP.

use std::{io::Write, net::SocketAddr, sync::mpsc};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::{
    peers::read_head,
    streams::{LARGE, client, h2_server, request},
    world::{Client, World, serving},
};

/// What no trailers may say, whichever way they go.
const FOR_HEADS_ONLY: [&str; 8] = [
    "host",
    "content-length",
    "authorization",
    "cookie",
    "trailer",
    "http2-settings",
    "x-envoy-decorator-operation",
    "x-sum",
];
/// What the codec of HTTP/2 sends in no trailers.
const OF_HTTP1: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "upgrade", "te", "transfer-encoding"];
/// What only servers are asked about.
const OF_ANSWERS: [&str; 2] = ["server", "x-envoy-upstream-service-time"];

fn all(names: &[&'static str]) -> HeaderMap {
    let value = HeaderValue::from_static("1");
    names.iter().map(|name| (HeaderName::from_static(name), value.clone())).collect()
}

fn names(trailers: &HeaderMap) -> Vec<String> {
    trailers.keys().map(ToString::to_string).collect()
}

/// A chunked message that begins with `head` and ends with these trailers.
fn chunked(head: &str, trailers: &[&[&str]]) -> String {
    let all = trailers.concat();
    let fields: String = all.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let announced = all.join(", ");
    format!(
        "{head}\r\ntrailer: {announced}\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n{fields}\r\n"
    )
}

/// The names of the trailers of a chunked message.
fn trailers_of(message: &str) -> Vec<String> {
    let (_, trailers) = message.split_once("3\r\nabc\r\n0\r\n").unwrap();
    let lines = trailers.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.map(|(name, _)| name.to_ascii_lowercase()).collect()
}

/// A server of HTTP/1 that answers with all trailers, and says which it got.
fn http1_server() -> (SocketAddr, mpsc::Receiver<Vec<String>>) {
    let (sender, got) = mpsc::channel();
    let address = serving(move |mut stream| {
        let request = read_head(&mut stream) + &read_head(&mut stream);
        sender.send(trailers_of(&request)).unwrap();
        let answer = chunked("HTTP/1.1 200 OK", &[&FOR_HEADS_ONLY, &OF_HTTP1, &OF_ANSWERS]);
        stream.write_all(answer.as_bytes()).unwrap();
        read_head(&mut stream);
    });
    (address, got)
}

/// The same of HTTP/2.
async fn http2_server() -> (SocketAddr, mpsc::Receiver<Vec<String>>) {
    let (sender, got) = mpsc::channel();
    let (address, _) = h2_server(LARGE, move |request, mut respond| {
        let sender = sender.clone();
        async move {
            let mut body = request.into_body();
            while body.data().await.is_some() {}
            let trailers = body.trailers().await.unwrap().unwrap_or_default();
            sender.send(names(&trailers)).unwrap();
            let names = [&FOR_HEADS_ONLY[..], &OF_ANSWERS].concat();
            let head = http::Response::builder().header("trailer", names.join(", "));
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            stream.send_data("abc".into(), false).unwrap();
            stream.send_trailers(all(&names)).unwrap();
        }
    })
    .await;
    (address, got)
}

/// What a client of HTTP/1 gets after sending all trailers.
fn ask_http1(at: SocketAddr) -> Vec<String> {
    let mut client = Client::to(at);
    let head = "POST / HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close";
    client.say(&chunked(head, &[&FOR_HEADS_ONLY, &OF_HTTP1]));
    trailers_of(&client.rest())
}

/// The same of HTTP/2.
async fn ask_http2(at: SocketAddr) -> Vec<String> {
    let mut sender = client(at, LARGE).await;
    let mut head = request(Method::POST, "/");
    head.headers_mut().insert("trailer", FOR_HEADS_ONLY.join(", ").parse().unwrap());
    let (response, mut stream) = sender.send_request(head, false).unwrap();
    stream.send_data("abc".into(), false).unwrap();
    stream.send_trailers(all(&FOR_HEADS_ONLY)).unwrap();
    let mut body = response.await.unwrap().into_body();
    while body.data().await.is_some() {}
    names(&body.trailers().await.unwrap().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_say_only_what_may_come_after_a_body_in_both_directions_and_versions() {
    for spoken in ["http1", "http2"] {
        for asked in ["http1", "http2"] {
            let (server, got) = match spoken {
                "http1" => http1_server(),
                _ => http2_server().await,
            };
            let proxy = World::new().spoken(spoken, server).start();
            let at = proxy.at("test");
            let answer = match asked {
                "http1" => tokio::task::spawn_blocking(move || ask_http1(at)).await.unwrap(),
                _ => ask_http2(at).await,
            };
            assert_eq!(answer, ["x-sum"], "the answer of {spoken} to {asked}");
            assert_eq!(got.recv().unwrap(), ["x-sum"], "the request of {asked} to {spoken}");
        }
    }
}
