//! A client and a server on loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
};
use weft_testkit::certificates::Authority;
use weft_wire::{
    Call, DeltaRequest, DeltaResponse, Limits, TYPE_URL, Target,
    client::{self, StreamError},
    message::Resource,
    server::{Admission, Admitted, End, Entering, Entrance},
    tls::{self, Serving},
};

const NAME: &str = "istiod.istio-system.svc";

/// Lets so many connections in, until it says that they have to end.
struct Few {
    places: Arc<Semaphore>,
    close: watch::Sender<bool>,
}

struct Place(watch::Receiver<bool>, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Few {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(count)), close: watch::Sender::new(false) })
    }
}

impl Admission for Few {
    fn arrive(&self, _: IpAddr) -> Option<Entering> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let place = Place(self.close.subscribe(), permit);
        Some(Box::pin(async { Some(Box::new(place) as Box<dyn Admitted>) }))
    }
}

impl Admitted for Place {
    fn opened(&self) {}

    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let _ = self.0.clone().wait_for(|close| *close).await;
        })
    }
}

/// A server, and its streams as they come.
struct Server {
    admission: Arc<Few>,
    target: Target,
    calls: mpsc::Receiver<Call>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(tls: Option<&Authority>, limits: Limits) -> (Self, Option<Arc<Serving>>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let serving = tls.map(|root| {
            let (chain, key) = root.leaf(NAME);
            Arc::new(Serving::new(&chain, &key).unwrap())
        });
        let server = serving.clone().map(|serving| tls::serving(serving).unwrap());
        let client = tls.map(|root| tls::trusting(&root.pem()).unwrap());
        let (sender, calls) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel();
        let admission = Few::new(64);
        let entrance = Entrance { socket, tls: server, admission: Some(admission.clone()) };
        let running = weft_wire::serve(entrance, limits, sender, async {
            let _ = stopped.await;
        });
        let target = Target { address, name: NAME.to_owned(), tls: client };
        (Self { admission, target, calls, stop, serving: tokio::spawn(running) }, serving)
    }

    async fn end(self) {
        drop(self.stop);
        self.serving.await.unwrap();
    }
}

fn request(name: &str) -> DeltaRequest {
    let subscribe = vec![name.to_owned()];
    DeltaRequest { type_url: TYPE_URL.to_owned(), subscribe, ..DeltaRequest::default() }
}

/// Says something in both directions on a new stream.
async fn exchange(server: &mut Server) -> Result<(), StreamError> {
    let (requests, mut responses) = client::connect(&server.target, Some("secret\n")).await?;
    requests.send(request("self")).await?;
    let mut call = server.calls.recv().await.unwrap();
    assert_eq!(call.token.as_deref(), Some("secret"));
    assert_eq!(call.requests.next().await.unwrap().subscribe, ["self"]);
    let body = Bytes::from(vec![b'a'; 1 << 20]);
    let resources = vec![Resource::new("self", 7, body.clone())];
    let response = DeltaResponse { resources, nonce: "1".into(), ..DeltaResponse::default() };
    assert!(call.responses.send(response.clone()).await);
    let received = responses.next().await?;
    assert_eq!(received, response);
    assert_eq!(received.resources[0].body(), body);
    drop((requests, responses));
    assert_eq!(call.requests.next().await, None);
    Ok(())
}

#[tokio::test]
async fn a_stream_carries_a_token_requests_and_responses() {
    for root in [None, Some(Authority::new())] {
        let (mut server, _) = Server::start(root.as_ref(), Limits::default()).await;
        exchange(&mut server).await.unwrap();
        exchange(&mut server).await.unwrap();
        server.end().await;
    }
}

#[tokio::test]
async fn a_server_under_another_root_is_not_spoken_to() {
    let root = Authority::new();
    let (mut server, _) = Server::start(Some(&root), Limits::default()).await;
    server.target.tls = Some(tls::trusting(&Authority::new().pem()).unwrap());
    let error = exchange(&mut server).await.unwrap_err();
    assert!(matches!(error, StreamError::Secure { .. }), "{error}");
    server.target.tls = Some(tls::trusting(&root.pem()).unwrap());
    server.target.name = "elsewhere.svc".to_owned();
    let error = exchange(&mut server).await.unwrap_err();
    assert!(matches!(error, StreamError::Secure { .. }), "{error}");
    server.end().await;
}

#[tokio::test]
async fn a_certificate_is_swapped_while_serving() {
    let (old, new) = (Authority::new(), Authority::new());
    let (mut server, serving) = Server::start(Some(&old), Limits::default()).await;
    let (chain, key) = new.leaf(NAME);
    serving.unwrap().replace(&chain, &key).unwrap();
    server.target.tls = Some(tls::trusting(&new.pem()).unwrap());
    exchange(&mut server).await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn a_connection_counts_until_its_stream_ends_and_may_have_to_make_room() {
    let (mut server, _) = Server::start(None, Limits::default()).await;
    let all = server.admission.places.available_permits();
    let (_requests, mut responses) = client::connect(&server.target, None).await.unwrap();
    let call = server.calls.recv().await.unwrap();
    assert_eq!(server.admission.places.available_permits(), all - 1);
    server.admission.close.send_replace(true);
    assert!(responses.next().await.is_err(), "it has made room");
    let whole = server.admission.places.acquire_many(u32::try_from(all).unwrap()).await;
    assert!(whole.is_ok());
    assert!(client::connect(&server.target, None).await.is_err(), "no place is left");
    drop((call, whole));
    server.end().await;
}

#[tokio::test]
async fn the_reason_for_ending_a_stream_arrives() {
    let (mut server, _) = Server::start(None, Limits::default()).await;
    let (_requests, mut responses) = client::connect(&server.target, None).await.unwrap();
    let call = server.calls.recv().await.unwrap();
    assert_eq!(call.token, None);
    call.responses.end(End::Unauthenticated("a token is needed".into())).await;
    let error = responses.next().await.unwrap_err();
    assert_eq!(error.to_string(), "the control plane refuses the stream: a token is needed");
    server.end().await;
}

#[tokio::test]
async fn a_request_beyond_the_limit_ends_the_stream() {
    let limits = Limits { request_bytes: 1000, ..Limits::default() };
    let (mut server, _) = Server::start(None, limits).await;
    let (requests, _responses) = client::connect(&server.target, None).await.unwrap();
    requests.send(request(&"a".repeat(2000))).await.unwrap();
    let mut call = server.calls.recv().await.unwrap();
    assert_eq!(call.requests.next().await, None);
    server.end().await;
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_named() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let target = Target { address: address.clone(), name: NAME.into(), tls: None };
    let error = client::connect(&target, None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("connecting to the control plane at {address}"));
}

#[tokio::test]
async fn a_token_of_several_lines_is_refused_before_it_is_sent() {
    let (server, _) = Server::start(None, Limits::default()).await;
    let error = client::connect(&server.target, Some("a\nb")).await.unwrap_err();
    assert!(matches!(error, StreamError::Token), "{error}");
    server.end().await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_does_not_stay() {
    for root in [None, Some(Authority::new())] {
        let limits = Limits { opening: Duration::from_millis(10), ..Limits::default() };
        let (server, _) = Server::start(root.as_ref(), limits).await;
        let mut idle = TcpStream::connect(&server.target.address).await.unwrap();
        let mut said = Vec::new();
        // A reset would be as good an end.
        let _ = idle.read_to_end(&mut said).await;
        server.end().await;
    }
}
