//! What proxies get, and what they do not.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};
use weft_delta::Request;
use weft_wire::client::{self, StreamError};

use crate::mesh::{Mesh, message_of, names, pod, service, shop, slice, virtual_service};

const CART: &str = "cart.a.svc.cluster.local:80";
const TILL: &str = "till.a.svc.cluster.local:80";

#[tokio::test]
async fn an_interest_is_answered_with_all_it_needs_and_then_with_what_changes() {
    let mut store = service("a", "store", "10.96.0.7");
    store["spec"]["ports"][0]["name"] = json!("tcp");
    let mut mesh = Mesh::with(shop().into_iter().chain([store])).await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    proxy.want(&["self", CART, "10.96.0.7:80"]).await;
    proxy.next().await;
    assert!(proxy.entry("self").is_string() && proxy.entry(CART)["route"].is_string());
    assert!(proxy.entry("10.96.0.7:80")["server"].is_object());
    mesh.apply(slice("a", "cart", &["10.1.0.5", "10.1.0.7"])).await;
    let changed: Vec<String> = proxy.next().await.into_iter().collect();
    let [one] = &changed[..] else { panic!("more than endpoints: {changed:?}") };
    assert!(one.starts_with("endpoints/"), "{one}");
    assert!(proxy.running[one].to_string().contains("10.1.0.7"));
    mesh.end().await;
}

#[tokio::test]
async fn what_nobody_wants_any_more_goes() {
    let mesh = Mesh::with(shop()).await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    proxy.want(&[CART]).await;
    let came = proxy.next().await;
    proxy.drop_interest(CART).await;
    let gone = proxy.next().await;
    assert_eq!(gone, came.iter().map(|name| format!("-{name}")).collect());
    assert!(proxy.running.is_empty());
    mesh.end().await;
}

#[tokio::test]
async fn a_refused_resource_does_not_stop_the_others() {
    let mut mesh = Mesh::with(shop()).await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    proxy.want(&[CART]).await;
    proxy.next().await;
    mesh.apply(virtual_service("a", "cart", 3)).await;
    let update = proxy.receive().await.unwrap();
    let rules = names(&update).into_iter().find(|name| name.starts_with("rules/")).unwrap();
    proxy.refuse(&update, &rules).await;
    mesh.apply(slice("a", "cart", &["10.1.0.9"])).await;
    let changed = proxy.next().await;
    assert!(changed.iter().all(|name| name.starts_with("endpoints/")), "{changed:?}");
    mesh.apply(virtual_service("a", "cart", 4)).await;
    assert!(proxy.next().await.contains(&rules), "the mended version comes");
    mesh.end().await;
}

#[tokio::test]
async fn a_pod_gets_nothing_that_is_exported_to_others_only() {
    let mut private = service("b", "secret", "10.96.0.7");
    private["metadata"]["annotations"] = json!({"networking.istio.io/exportTo": "."});
    let mut rules = virtual_service("b", "cart.a.svc.cluster.local", 9);
    rules["spec"]["exportTo"] = json!(["."]);
    let objects =
        [pod("b", "mine", "10.1.0.8"), private, slice("b", "secret", &["10.1.0.9"]), rules];
    let mesh = Mesh::with(shop().into_iter().chain(objects)).await;
    const SECRET: &str = "secret.b.svc.cluster.local:80";
    let mut seen = Vec::new();
    for token in ["a/client/uid-client", "b/mine/uid-mine"] {
        let mut proxy = mesh.proxy(token).await;
        proxy.want(&[SECRET]).await;
        proxy.next().await;
        let entry = proxy.entry(SECRET).clone();
        proxy.want(&[CART]).await;
        proxy.next().await;
        let everything = serde_json::to_string(&proxy.running).unwrap();
        seen.push((entry == json!("outside"), everything.contains("10.1.0.9")));
    }
    assert_eq!(seen, [(true, false), (false, true)]);
    mesh.end().await;
}

#[tokio::test]
async fn what_a_proxy_claims_of_itself_changes_nothing() {
    let mesh = Mesh::with(shop()).await;
    for (token, expected) in [
        ("rubbish", "the control plane refuses the stream: not one of ours"),
        (
            "a//",
            "the control plane refuses the stream: the token is not bound to a pod; use a projected service-account token",
        ),
    ] {
        let mut proxy = mesh.proxy(token).await;
        let error = proxy.receive().await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    mesh.end().await;
}

#[tokio::test]
async fn an_interest_that_is_none_has_no_answer_and_harms_nobody() {
    let mesh = Mesh::with(shop()).await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    // The client's end asks for no name that is too long for the server's.
    let long = format!("{}:80", "a".repeat(2000));
    proxy.want(&["settings", "CART.a.svc.cluster.local:80", &long]).await;
    let expected = ["-settings", "-CART.a.svc.cluster.local:80"];
    assert_eq!(proxy.next().await, expected.map(str::to_owned).into());
    proxy.want(&[CART]).await;
    assert!(proxy.next().await.contains(CART));
    mesh.end().await;
}

#[tokio::test]
async fn a_proxy_may_be_here_before_its_pod_and_before_the_first_list() {
    let mut mesh = Mesh::start().await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    proxy.want(&[CART]).await;
    for object in shop().into_iter().skip(1) {
        mesh.apply(object).await;
    }
    mesh.synced().await;
    mesh.apply(pod("a", "client", "10.1.0.1")).await;
    assert!(proxy.next().await.contains(CART));
    mesh.end().await;
}

#[tokio::test]
async fn a_proxy_whose_pod_never_comes_is_sent_away() {
    let mut mesh = Mesh::start_with(|options| options.pod_patience = Duration::ZERO).await;
    mesh.synced().await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    let error = proxy.receive().await.unwrap_err();
    assert!(matches!(error, StreamError::Broken(_)), "{error}: it may come back");
    mesh.end().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_pod() {
    let mut mesh = Mesh::with(shop()).await;
    let mut proxies = Vec::new();
    for token in ["a/client/uid-client", "a/other/uid-other"] {
        let mut proxy = mesh.proxy(token).await;
        proxy.want(&[CART]).await;
        proxy.next().await;
        proxies.push(proxy);
    }
    mesh.delete("Pod/a/client").await;
    let mut successor = pod("a", "other", "10.1.0.2");
    successor["metadata"]["uid"] = json!("another");
    mesh.apply(successor).await;
    for (mut proxy, name) in proxies.into_iter().zip(["client", "other"]) {
        let error = proxy.receive().await.unwrap_err();
        let expected = format!("the control plane refuses the stream: pod a/{name} is gone");
        assert_eq!(error.to_string(), expected);
    }
    mesh.end().await;
}

#[tokio::test]
async fn a_third_stream_of_a_pod_replaces_its_first() {
    let mesh = Mesh::with(shop()).await;
    let mut proxies = Vec::new();
    for _ in 0..3 {
        let mut proxy = mesh.proxy("a/client/uid-client").await;
        proxy.want(&[CART]).await;
        proxy.next().await;
        proxies.push(proxy);
    }
    let error = proxies[0].receive().await.unwrap_err();
    assert!(matches!(error, StreamError::Broken(_)), "{error}: it may come back");
    proxies[1].want(&[TILL]).await;
    assert!(proxies[1].next().await.contains(TILL));
    mesh.end().await;
}

#[tokio::test]
async fn a_proxy_that_comes_back_to_another_control_plane_gets_only_what_differs() {
    let first = Mesh::with(shop()).await;
    let mut proxy = first.proxy("a/client/uid-client").await;
    proxy.want(&[CART, TILL]).await;
    proxy.next().await;
    first.end().await;
    let objects = shop().into_iter().chain([virtual_service("a", "till", 3)]);
    let second = Mesh::with(objects).await;
    proxy.connect(&second.target, "a/client/uid-client").await.unwrap();
    let changed = proxy.next().await;
    assert!(changed.iter().any(|name| name.starts_with("route/")), "{changed:?}");
    assert!(changed.iter().all(|name| !name.contains("cart")), "{changed:?}");
    second.end().await;
}

#[tokio::test]
async fn new_facts_of_a_pod_give_its_proxy_other_answers() {
    let mut mesh = Mesh::with(shop()).await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    proxy.want(&["self"]).await;
    proxy.next().await;
    let mut relabelled = pod("a", "client", "10.1.0.1");
    relabelled["metadata"]["labels"] = json!({"app": "cart"});
    mesh.apply(relabelled).await;
    let changed = proxy.next().await;
    assert!(changed.contains("self"), "it serves cart now: {changed:?}");
    mesh.end().await;
}

#[tokio::test]
async fn a_greeting_that_trickles_has_a_deadline() {
    let mesh = Mesh::with(shop()).await;
    let mut honest = mesh.proxy("a/other/uid-other").await;
    let begun = Instant::now();
    let opened = client::connect(&mesh.target, Some("a/client/uid-client")).await;
    let (requests, mut responses) = opened.unwrap();
    tokio::time::pause();
    let trickling = async {
        for number in 0_u64.. {
            let held = vec![(format!("endpoints/{number}").into(), number)];
            let piece = Request { held, more: true, ..Request::default() };
            // After its end nothing more can be said.
            if requests.send(message_of(piece)).await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let ended = tokio::select! {
        ended = responses.next() => ended.unwrap_err(),
        () = trickling => unreachable!("it never ends"),
    };
    assert!(matches!(ended, StreamError::Broken(_)), "{ended}: it may come back");
    // The clock runs on while the end is under way. Without the deadline it would be half an hour.
    let lasted = begun.elapsed();
    assert!((30..20 * 60).contains(&lasted.as_secs()), "{lasted:?}");
    honest.want(&[CART]).await;
    assert!(honest.next().await.contains(CART), "one that has greeted may be silent");
    mesh.end().await;
}

/// Those of the machine itself are strangers to each other.
#[tokio::test]
async fn silent_connections_do_not_end_the_stream_of_a_proxy_beside_them() {
    let mut mesh = Mesh::start_with(|options| options.peers.of_machine = 4).await;
    for object in shop() {
        mesh.apply(object).await;
    }
    mesh.synced().await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    proxy.want(&[CART]).await;
    proxy.next().await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(&mesh.target.address).await.unwrap());
    }
    // One that has made room is closed before another is taken in.
    assert_eq!(silent[0].read(&mut [0]).await.unwrap(), 0);
    proxy.want(&[TILL]).await;
    assert!(proxy.next().await.contains(TILL));
    mesh.end().await;
}

/// All of them come before one is served.
#[tokio::test]
async fn of_a_burst_for_which_there_is_room_none_is_refused() {
    let adjust = |options: &mut weft_control::Options| {
        (options.peers.of_machine, options.peers.waiting_of_peer) = (64, 1);
    };
    let mut mesh = Mesh::start_with(adjust).await;
    mesh.synced().await;
    let mut connecting = JoinSet::new();
    for _ in 0..64 {
        let target = mesh.target.clone();
        connecting
            .spawn(async move { client::connect(&target, Some("a/client/uid-client")).await });
    }
    let connected = connecting.join_all().await;
    assert_eq!(connected.iter().filter(|one| one.is_err()).count(), 0);
    drop(connected);
    mesh.end().await;
}

#[tokio::test]
async fn of_more_connections_than_a_peer_may_have_one_waits_and_the_others_are_refused() {
    let adjust = |options: &mut weft_control::Options| {
        (options.peers.of_machine, options.peers.waiting_of_peer) = (1, 1);
    };
    let mut mesh = Mesh::start_with(adjust).await;
    for object in shop() {
        mesh.apply(object).await;
    }
    mesh.synced().await;
    let mut first = mesh.proxy("a/client/uid-client").await;
    first.want(&[CART]).await;
    first.next().await;
    {
        let connect = || Box::pin(client::connect(&mesh.target, Some("a/client/uid-client")));
        let (mut one, mut other) = (connect(), connect());
        let (refused, waiting) = tokio::select! {
            refused = &mut one => (refused, other),
            refused = &mut other => (refused, one),
        };
        assert!(refused.is_err(), "no place in the queue is left");
        drop(first);
        assert!(waiting.await.is_ok(), "the first has made room");
    }
    mesh.end().await;
}
