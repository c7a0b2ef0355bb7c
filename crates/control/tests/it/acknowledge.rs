//! When a change counts as being in force everywhere.

use std::time::Duration;

use weft_api::Key;
use weft_control::Acknowledgement;
use weft_delta::Update;

use crate::mesh::{Mesh, PATIENCE, Proxy, pod, shop, slice, virtual_service};

const CART: &str = "cart.a.svc.cluster.local:80";
const TILL: &str = "till.a.svc.cluster.local:80";

async fn proxy(mesh: &Mesh, name: &str, interest: &str) -> Proxy {
    let mut proxy = mesh.proxy(&format!("a/{name}/uid-{name}")).await;
    proxy.want(&[interest]).await;
    proxy.next().await;
    proxy
}

async fn asked(mesh: &Mesh, key: &str, version: &str, wait: Duration) -> Acknowledgement {
    let key: Key = key.parse().unwrap();
    mesh.handle.acknowledged(&key, version, wait).await
}

#[track_caller]
fn check(found: &Acknowledgement, complete: bool, behind: &[&str]) {
    assert_eq!((found.complete, &found.behind[..]), (complete, behind_texts(behind).as_slice()));
}

fn behind_texts(pods: &[&str]) -> Vec<String> {
    pods.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_change_is_acknowledged_when_all_interested_proxies_have_it_in_force() {
    let mut mesh = Mesh::with(shop()).await;
    let mut client = proxy(&mesh, "client", CART).await;
    let mut other = proxy(&mesh, "other", CART).await;
    let version = mesh.apply(virtual_service("a", "cart", 3)).await;
    let key = "VirtualService/a/cart";
    let at_client = client.receive().await.unwrap();
    let at_other = other.receive().await.unwrap();
    let found = asked(&mesh, key, &version, Duration::ZERO).await;
    check(&found, false, &["a/client", "a/other"]);
    client.accept(&at_client).await;
    // The stream is in order: once this is answered, what was said before has arrived.
    client.want(&[TILL]).await;
    let till = client.receive().await.unwrap();
    check(&asked(&mesh, key, &version, Duration::ZERO).await, false, &["a/other"]);
    other.accept(&at_other).await;
    let found = asked(&mesh, key, &version, PATIENCE).await;
    check(&found, true, &[]);
    assert_eq!(found.proxies, 2);
    client.accept(&till).await;
    mesh.end().await;
}

#[tokio::test]
async fn a_proxy_that_is_not_interested_is_not_waited_for() {
    let mut mesh = Mesh::with(shop()).await;
    let mut client = proxy(&mesh, "client", CART).await;
    let mut other = proxy(&mesh, "other", TILL).await;
    mesh.apply(slice("a", "till", &["10.1.0.8"])).await;
    let unconfirmed = other.receive().await.unwrap();
    let version = mesh.apply(virtual_service("a", "cart", 3)).await;
    client.next().await;
    let found = asked(&mesh, "VirtualService/a/cart", &version, PATIENCE).await;
    check(&found, true, &[]);
    other.accept(&unconfirmed).await;
    mesh.end().await;
}

#[tokio::test]
async fn what_changes_nothing_is_acknowledged_once_it_is_seen() {
    let mut mesh = Mesh::with(shop()).await;
    let mut client = proxy(&mesh, "client", CART).await;
    let version = mesh.apply(pod("c", "elsewhere", "10.1.0.99")).await;
    let found = asked(&mesh, "Pod/c/elsewhere", &version, PATIENCE).await;
    check(&found, true, &[]);
    let found = asked(&mesh, "Pod/c/elsewhere", "1000", Duration::ZERO).await;
    assert_eq!(found, Acknowledgement::default(), "not seen at that version");
    let found = asked(&mesh, "Deployment/c/elsewhere", "1000", Duration::ZERO).await;
    check(&found, true, &[]);
    client.want(&[TILL]).await;
    client.next().await;
    mesh.end().await;
}

#[tokio::test]
async fn a_version_that_comes_later_is_waited_for() {
    let mut mesh = Mesh::with(shop()).await;
    let mut client = proxy(&mesh, "client", CART).await;
    let handle = mesh.handle.clone();
    let key: Key = "VirtualService/a/cart".parse().unwrap();
    let waiting = tokio::spawn(async move { handle.acknowledged(&key, "7", PATIENCE).await });
    assert_eq!(mesh.apply(virtual_service("a", "cart", 3)).await, "7");
    client.next().await;
    check(&waiting.await.unwrap(), true, &[]);
    mesh.end().await;
}

/// A proxy that refuses a change in this way is behind, until what mends it is in force.
async fn is_behind_until_mended(refuse: impl AsyncFnOnce(&mut Proxy, &Update)) {
    let mut mesh = Mesh::with(shop()).await;
    let mut client = proxy(&mesh, "client", CART).await;
    let version = mesh.apply(virtual_service("a", "cart", 3)).await;
    let update = client.receive().await.unwrap();
    refuse(&mut client, &update).await;
    client.want(&[TILL]).await;
    client.next().await;
    let found = asked(&mesh, "VirtualService/a/cart", &version, Duration::ZERO).await;
    check(&found, false, &["a/client"]);
    let mended = mesh.apply(virtual_service("a", "cart", 4)).await;
    client.next().await;
    check(&asked(&mesh, "VirtualService/a/cart", &mended, PATIENCE).await, true, &[]);
    mesh.end().await;
}

#[tokio::test]
async fn a_proxy_that_refuses_a_change_is_behind() {
    is_behind_until_mended(async |client, update| {
        client.refuse(update, &update.changed[0].name).await;
    })
    .await;
}

/// As clients of xDS do that reject a response as a whole.
#[tokio::test]
async fn a_proxy_that_refuses_and_does_not_say_what_is_behind() {
    is_behind_until_mended(async |client, update| client.refuse_whole(update).await).await;
}

#[tokio::test]
async fn a_proxy_that_leaves_or_comes_back_with_something_old_counts_as_it_is() {
    let mut mesh = Mesh::with(shop()).await;
    let mut client = proxy(&mesh, "client", CART).await;
    let version = mesh.apply(virtual_service("a", "cart", 3)).await;
    let lost = client.receive().await.unwrap();
    client.refuse(&lost, &lost.changed[0].name).await;
    client.connect(&mesh.target, "a/client/uid-client").await.unwrap();
    let again = client.receive().await.unwrap();
    let found = asked(&mesh, "VirtualService/a/cart", &version, Duration::ZERO).await;
    check(&found, false, &["a/client"]);
    client.accept(&again).await;
    check(&asked(&mesh, "VirtualService/a/cart", &version, PATIENCE).await, true, &[]);
    mesh.end().await;
}
