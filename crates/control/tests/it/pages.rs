//! The monitoring port, and who may see what.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::mesh::{Mesh, shop};

/// Status and body of a GET.
async fn get(mesh: &Mesh, target: &str, token: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(mesh.monitoring).await.unwrap();
    let token = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let request = format!("GET {target} HTTP/1.0\r\n{token}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn readiness_waits_for_the_first_list() {
    let mut mesh = Mesh::start().await;
    assert_eq!(get(&mesh, "/ready", "").await.0, 503);
    mesh.synced().await;
    assert!(mesh.handle.ready().await);
    assert_eq!(get(&mesh, "/ready", "").await.0, 200);
    mesh.end().await;
}

#[tokio::test]
async fn metrics_are_for_everyone() {
    let mesh = Mesh::with(shop()).await;
    let mut proxy = mesh.proxy("a/client/uid-client").await;
    proxy.want(&["cart.a.svc.cluster.local:80"]).await;
    proxy.next().await;
    let (status, text) = get(&mesh, "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(text.lines().any(|line| line == "pilot_xds_pushes 1"), "{text}");
    mesh.end().await;
}

#[tokio::test]
async fn what_names_objects_needs_a_token() {
    let mesh = Mesh::with(shop()).await;
    let acknowledged = "/acknowledged?object=Pod/a/client&version=1&wait=20s";
    for (target, token, expected) in [
        (acknowledged, "", 401),
        (acknowledged, "rubbish", 401),
        (acknowledged, "a//", 200),
        ("/acknowledged?object=Pod/b/secret&version=1", "a//", 403),
        ("/acknowledged?object=Namespace/b&version=1", "a//", 403),
        ("/acknowledged?object=Pod/b/secret&version=1&wait=0s", "istio-system//", 200),
        ("/acknowledged?object=Namespace/a&version=1&wait=0s", "a//", 200),
        ("/acknowledged?object=Pod/a/client", "a//", 400),
        ("/acknowledged?object=Cat/a/client&version=1", "a//", 400),
        ("/acknowledged?object=Pod/a/client&version=1&wait=soon", "a//", 400),
        ("/acknowledged?object=Pod%2Fa%2Fclient&version=1&wait=20s", "a//", 200),
        ("/debug/syncz", "", 401),
        ("/debug/syncz", "a/client/uid-client", 403),
        ("/debug/syncz", "istio-system//", 200),
        ("/debug/else", "istio-system//", 404),
    ] {
        let (status, body) = get(&mesh, target, token).await;
        assert_eq!(status, expected, "{target} as {token:?}: {body}");
    }
    let (_, body) = get(&mesh, acknowledged, "a//").await;
    assert!(body.contains("\"complete\": true"), "{body}");
    mesh.end().await;
}
