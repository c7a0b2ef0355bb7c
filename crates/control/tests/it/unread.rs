//! Streams whose clients do not read.

use serde_json::{Value, json};

use crate::mesh::{Mesh, Proxy, pod, shop};

const CART: &str = "cart.a.svc.cluster.local:80";

/// Rules for the cart that need more than the window of a stream, with a timeout.
fn large(seconds: u32) -> Value {
    let rule = |number: u32| {
        json!({
            "match": [{"uri": {"exact": format!("/{number}{}", "x".repeat(4000))}}],
            "timeout": format!("{seconds}s"),
            "route": [{"destination": {"host": "cart"}}],
        })
    };
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "a"},
        "spec": {"hosts": ["cart"], "http": (0..500).map(rule).collect::<Vec<Value>>()},
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
    let pods = (0..6).map(|number| pod("b", &format!("p{number}"), &format!("10.1.1.{number}")));
    let objects = shop().into_iter().chain(pods).chain([large(3)]);
    let mut mesh = Mesh::start_with(|options| options.stream_bytes = 16 << 20).await;
    for object in objects {
        mesh.apply(object).await;
    }
    mesh.synced().await;
    let mut unread = Vec::new();
    for number in 0..6 {
        let mut proxy = mesh.proxy(&format!("b/p{number}/uid-p{number}")).await;
        proxy.want(&[CART]).await;
        unread.push(proxy);
    }
    let mut reading = mesh.proxy("a/client/uid-client").await;
    reading.want(&[CART]).await;
    read(&mut reading, 3).await;
    // Changes pass by those that do not read.
    for seconds in 4..8 {
        mesh.apply(large(seconds)).await;
        read(&mut reading, seconds).await;
    }
    for proxy in &mut unread {
        read(proxy, 7).await;
        assert_eq!((rules(proxy, 7), rules(proxy, 3)), (500, 0));
    }
    mesh.end().await;
}
