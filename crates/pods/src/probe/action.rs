//! Trying what a probe or a hook asks for.

use std::{future::Future, io, net::Ipv4Addr, net::SocketAddr, pin::pin, time::Duration};

use futures::future::BoxFuture;
use tokio::{net::TcpStream, time::timeout};

use super::{grpc, http};
use crate::spec::{Action, Container, port_number};

/// How a node's probe names itself.
pub(super) const AGENT: &str = "kube-probe/1.33";

/// The container that is asked.
pub(crate) struct Target<'a> {
    pub(crate) address: Ipv4Addr,
    pub(crate) container: &'a Container,
    /// Runs a command in the container; resolves to its exit code.
    pub(crate) exec: &'a (dyn Fn(Vec<String>) -> BoxFuture<'static, io::Result<i32>> + Sync),
}

/// Does `action` once; an error says why it did not succeed within `patience`.
pub(crate) async fn attempt(
    target: &Target<'_>,
    action: &Action,
    patience: Duration,
) -> Result<(), String> {
    let too_late = |_| Err(format!("no answer within {}s", patience.as_secs()));
    timeout(patience, perform(target, action)).await.unwrap_or_else(too_late)
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
        return http::get(address(target, get.host.as_deref(), &get.port)?, get).await;
    }
    if let Some(tcp) = &action.tcp_socket {
        let address = address(target, tcp.host.as_deref(), &tcp.port)?;
        return connect(address).await.map(|_| ());
    }
    if let Some(grpc) = &action.grpc {
        let service = grpc.service.as_deref().unwrap_or_default();
        return grpc::check(address(target, None, &grpc.port)?, service).await;
    }
    match &action.sleep {
        Some(sleep) => tokio::time::sleep(Duration::from_secs(sleep.seconds)).await,
        None => return Err("it names none of exec, httpGet, tcpSocket, grpc, sleep".into()),
    }
    Ok(())
}

/// Connects to `address`.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("connecting to {address}: {error}"))
}

/// What `exchange` comes to, over `connection`, which needs somebody to drive it
/// and goes with the answer.
pub(super) async fn driven<T>(
    connection: impl Future,
    exchange: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
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

#[cfg(test)]
mod tests;
