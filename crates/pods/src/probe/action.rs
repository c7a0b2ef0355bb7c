//! Trying what a probe or a hook asks for.

use std::{io, net::Ipv4Addr, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::spec::{Action, Container, HttpAction, port_number};

/// The container that is asked.
pub(crate) struct Target<'a> {
    pub(crate) address: Ipv4Addr,
    pub(crate) container: &'a Container,
    /// Runs a command in the container; resolves to its exit code.
    pub(crate) exec: &'a (dyn Fn(Vec<String>) -> BoxFuture<'static, io::Result<i32>> + Sync),
}

/// Whether `action` succeeds within `patience`.
pub(crate) async fn attempt(target: &Target<'_>, action: &Action, patience: Duration) -> bool {
    matches!(timeout(patience, perform(target, action)).await, Ok(Ok(())))
}

/// Does `action` once; an error says why it did not succeed.
pub(crate) async fn perform(target: &Target<'_>, action: &Action) -> Result<(), String> {
    if let Some(exec) = &action.exec {
        return match (target.exec)(exec.command.clone()).await {
            Ok(0) => Ok(()),
            Ok(code) => Err(format!("command exited with {code}")),
            Err(error) => Err(error.to_string()),
        };
    }
    if let Some(get) = &action.http_get {
        return http_get(target, get).await;
    }
    if let Some(tcp) = &action.tcp_socket {
        let address = address(target, tcp.host.as_deref(), &tcp.port)?;
        return connect(address).await.map(|_| ());
    }
    if let Some(sleep) = &action.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds)).await;
    }
    Ok(())
}

async fn http_get(target: &Target<'_>, get: &HttpAction) -> Result<(), String> {
    let address = address(target, get.host.as_deref(), &get.port)?;
    let stream = connect(address).await?;
    if get.scheme.as_deref() == Some("HTTPS") {
        // Certificates are not checked by a kubelet either; that somebody
        // accepts on the port is all that is looked at here.
        return Ok(());
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let path = match get.path.as_deref() {
        None | Some("") => "/",
        Some(path) => path,
    };
    let mut request = Request::get(path).header("connection", "close");
    let own_host = get.http_headers.iter().any(|one| one.name.eq_ignore_ascii_case("host"));
    if !own_host {
        request = request.header("host", address.to_string());
    }
    for header in &get.http_headers {
        request = request.header(&header.name, &header.value);
    }
    let request = request
        .header("user-agent", "kube-probe/1.33")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string());
    connection.abort();
    let status = response?.status().as_u16();
    match status {
        200..400 => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("connecting to {address}: {error}"))
}

fn address(
    target: &Target<'_>,
    host: Option<&str>,
    port: &serde_json::Value,
) -> Result<SocketAddr, String> {
    let port = port_number(port, target.container)
        .ok_or_else(|| format!("container {} has no port {port}", target.container.name))?;
    let ip = match host {
        None | Some("") => target.address.into(),
        Some(host) => host.parse().map_err(|_| format!("{host:?} is not an address"))?,
    };
    Ok(SocketAddr::new(ip, port))
}
