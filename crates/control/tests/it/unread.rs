//! Streams whose clients do not read.

use serde_json::{Value, json};
use weft_wire::{
    DeltaRequest, TYPE_URL,
    client::{self, StreamError},
};

use crate::mesh::{Mesh, Proxy, pod, shop};

const CART: &str = "cart.a.svc.cluster.local:80";

/// Rules for the cart that need more than the window of a stream, with a timeout.
fn large(seconds: u32) -> Value {
    let rule = |number: u32| {
        json!({
            "match": [{"uri": {"exact": format!("/{number}{}", "x".repeat(60_000))}}],
            "timeout": format!("{seconds}s"),
            "route": [{"destination": {"host": "cart"}}],
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "a"},
        "spec": {"hosts": ["cart"], "http": (0..25).map(rule).collect::<Vec<Value>>()},
    })
}

/// How many rules of the cart a proxy runs that have this timeout.
fn rules(proxy: &Proxy, seconds: u32) -> usize {
    let lists = proxy.running.iter().filter(|(name, _)| name.starts_with("rules/"));
    let text: String = lists.map(|(_, body)| body.to_string()).collect();
    text.matches(&format!("\"{seconds}s\"")).count()
        + text.matches(&format!(":{}", seconds * 1000)).count()
}

/// Reads until the proxy runs the rules with this timeout.
async fn read(proxy: &mut Proxy, seconds: u32) {
    while rules(proxy, seconds) == 0 || !proxy.running.contains_key(CART) {
        proxy.next().await;
    }
}

#[tokio::test]
async fn streams_that_are_not_read_keep_nothing_from_others_and_lose_nothing() {
    let pods = (0..5).map(|number| pod("b", &format!("p{number}"), &format!("10.1.1.{number}")));
    let objects = shop().into_iter().chain(pods).chain([large(3)]);
    let mut mesh = Mesh::start_with(|options| options.stream_bytes = 10 << 20).await;
    for object in objects {
        mesh.apply(object).await;
    }
    mesh.synced().await;
    let mut unread = Vec::new();
    for number in 0..5 {
        let mut proxy = mesh.proxy(&format!("b/p{number}/uid-p{number}")).await;
        proxy.want(&[CART]).await;
        unread.push(proxy);
    }
    let mut reading = mesh.proxy("a/client/uid-client").await;
    reading.want(&[CART]).await;
    read(&mut reading, 3).await;
    // Changes pass by those that do not read.
    for seconds in [4, 7] {
        mesh.apply(large(seconds)).await;
        read(&mut reading, seconds).await;
    }
    for proxy in &mut unread {
        read(proxy, 7).await;
        assert_eq!((rules(proxy, 7), rules(proxy, 3)), (25, 0));
    }
    mesh.end().await;
}

#[tokio::test]
async fn a_namespace_whose_proxies_hold_many_names_leaves_room_for_those_of_another() {
    let pods = [pod("b", "one", "10.1.1.1"), pod("b", "two", "10.1.1.2")];
    let mut mesh = Mesh::start_with(|options| options.stream_bytes = 2_200_000).await;
    for object in shop().into_iter().chain(pods) {
        mesh.apply(object).await;
    }
    mesh.synced().await;
    let mut streams = Vec::new();
    for (token, is_let_in) in
        [("b/one/uid-one", true), ("b/two/uid-two", false), ("a/client/uid-client", true)]
    {
        let (requests, mut responses) = client::connect(&mesh.target, Some(token)).await.unwrap();
        let held = (0..10_000).map(|one| (format!("rules/{one}"), "1".to_owned())).collect();
        let request = DeltaRequest {
            type_url: TYPE_URL.to_owned(),
            subscribe: vec![CART.to_owned()],
            held,
            ..DeltaRequest::default()
        };
        requests.send(request).await.unwrap();
        match responses.next().await {
            Ok(_) => assert!(is_let_in, "{token}"),
            Err(StreamError::Broken(status)) => {
                let why = "proxies of namespace b hold too much together";
                assert!(!is_let_in && status.message() == why, "{token}: {status}");
            }
            Err(error) => panic!("{token}: {error}"),
        }
        streams.push((requests, responses));
    }
    mesh.end().await;
}
