//! Trying what a probe or a hook asks for.

use std::{io, net::Ipv4Addr, net::SocketAddr, time::Duration};

use futures::future::BoxFuture;
use tokio::{net::TcpStream, time::timeout};
use weft_process::probe::{self, Get};

use crate::spec::{Action, Container, HttpAction, HttpHeader, port_number};

/// The container that is asked.
pub(crate) struct ProbeTarget<'a> {
    pub(crate) address: Ipv4Addr,
    pub(crate) container: &'a Container,
    /// Runs a command in the container; resolves to its exit code.
    pub(crate) exec: &'a (dyn Fn(Vec<String>) -> BoxFuture<'static, io::Result<i32>> + Sync),
}

/// Does `action` once; an error says why it did not succeed within `patience`.
pub(crate) async fn attempt(
    target: &ProbeTarget<'_>,
    action: &Action,
    patience: Duration,
) -> Result<(), String> {
    let too_late = |_| Err(format!("no answer within {}s", patience.as_secs()));
    timeout(patience, perform(target, action)).await.unwrap_or_else(too_late)
}

/// Does `action` once; an error says why it did not succeed.
pub(crate) async fn perform(target: &ProbeTarget<'_>, action: &Action) -> Result<(), String> {
    if let Some(exec) = &action.exec {
        return match (target.exec)(exec.command.clone()).await {
            Ok(0) => Ok(()),
            Ok(code) => Err(format!("command exited with {code}")),
            Err(error) => Err(error.to_string()),
        };
    }
    if let Some(get) = &action.http_get {
        return ask(address(target, get.host.as_deref(), &get.port)?, get).await;
    }
    if let Some(tcp) = &action.tcp_socket {
        let address = address(target, tcp.host.as_deref(), &tcp.port)?;
        return connect(address).await.map(|_| ());
    }
    if let Some(grpc) = &action.grpc {
        let service = grpc.service.as_deref().unwrap_or_default();
        let stream = connect(address(target, None, &grpc.port)?).await?;
        return probe::health(stream, service).await.map_err(|error| error.to_string());
    }
    match &action.sleep {
        Some(sleep) => tokio::time::sleep(Duration::from_secs(sleep.seconds)).await,
        None => return Err("it names none of exec, httpGet, tcpSocket, grpc, sleep".into()),
    }
    Ok(())
}

/// Asks as `get` says; an error says what came instead of a good status.
async fn ask(address: SocketAddr, get: &HttpAction) -> Result<(), String> {
    let header = |one: &HttpHeader| (one.name.clone(), one.value.clone());
    let question = Get {
        secure: get.scheme.as_deref() == Some("HTTPS"),
        path: get.path.clone().unwrap_or_default(),
        headers: get.http_headers.iter().map(header).collect(),
    };
    let stream = connect(address).await?;
    match probe::get(stream, &question).await.map_err(|error| error.to_string())? {
        200..400 => Ok(()),
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("connecting to {address}: {error}"))
}

fn address(
    target: &ProbeTarget<'_>,
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
