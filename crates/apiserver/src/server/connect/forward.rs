//! Ports of a pod over a WebSocket (`v4.channel.k8s.io`): two channels per port,
//! one for bytes and one for what went wrong, each opened by the port's number.
//!
//! kubectl tunnels SPDY through its WebSocket instead, which is refused in words.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Response, header};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    node::{Io, PodRef},
    server::{
        ApiRequest, Server,
        exec::{Receiver, Sender, accept},
        reply::Body,
    },
    status::Status,
    target::Objects,
};

const PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "portforward.k8s.io"];

/// Messages that may wait on each connection.
const DEPTH: usize = 16;

/// GET or POST of `portforward`.
pub fn forward(
    server: &Arc<Server>,
    at: &Objects,
    asked: ApiRequest,
) -> Result<Response<Body>, Status> {
    let (pod, _) = super::pod(server, at, at.name.as_deref().unwrap_or_default())?;
    let wrong = |text: &str| Status::bad_request(format!("ports={text:?} is not a port number"));
    let ports = asked
        .query
        .all("ports")
        .iter()
        .flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>())
        .map(|text| text.parse::<u16>().map_err(|_| wrong(&text)))
        .collect::<Result<Vec<_>, _>>()?;
    let spoken = [header::UPGRADE, header::SEC_WEBSOCKET_PROTOCOL];
    if spoken.into_iter().any(|name| asked.header(name).contains("SPDY")) {
        return Err(Status::bad_request(
            "kubectl port-forward speaks SPDY, which is not served; reach the pod with \
             `kubectl get --raw /api/v1/namespaces/NAMESPACE/pods/POD:PORT/proxy/`, or with a \
             client that forwards by v4.channel.k8s.io",
        ));
    }
    if ports.is_empty() || ports.len() > 127 {
        return Err(Status::bad_request("name one or more ports, such as ?ports=8080"));
    }
    let connection = asked.connection.clone();
    let (response, socket) = accept(asked, PROTOCOLS)?;
    let kept = Arc::clone(server);
    server.hold(&connection, async move {
        if let Some((sender, receiver)) = socket.await {
            carry(&kept, pod, &ports, (sender, receiver)).await;
        }
    });
    Ok(response)
}

async fn carry(
    server: &Server,
    pod: PodRef,
    ports: &[u16],
    (mut sender, mut receiver): (Sender, Receiver),
) {
    let (outward, mut outgoing) = mpsc::channel::<Bytes>(DEPTH);
    let mut inward = BTreeMap::new();
    let mut connections = JoinSet::new();
    for (channel, port) in (0_u8..).step_by(2).zip(ports) {
        for one in [channel, channel + 1] {
            let [low, high] = port.to_le_bytes();
            let opening = Message::Binary(Bytes::copy_from_slice(&[one, low, high]));
            if sender.send(opening).await.is_err() {
                return;
            }
        }
        let (to_pod, from_client) = mpsc::channel::<Bytes>(DEPTH);
        inward.insert(channel, to_pod);
        let (connecting, outward) = (server.node.connect(pod.clone(), *port), outward.clone());
        connections.spawn(async move {
            match connecting.await {
                Ok(stream) => relay(stream, channel, from_client, outward).await,
                Err(error) => {
                    let _ = outward.send(framed(channel + 1, error.to_string().as_bytes())).await;
                }
            }
        });
    }
    drop(outward);
    loop {
        tokio::select! {
            piece = outgoing.recv() => match piece {
                Some(piece) => if sender.send(Message::Binary(piece)).await.is_err() { return },
                None => {
                    let _ = sender.send(Message::Close(None)).await;
                    return;
                }
            },
            incoming = receiver.next() => match incoming {
                Some(Ok(Message::Binary(bytes))) if !bytes.is_empty() => {
                    if let Some(to_pod) = inward.get(&bytes[0]) {
                        let _ = to_pod.send(bytes.slice(1..)).await;
                    }
                }
                Some(Ok(Message::Close(_))) | Some(Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    }
}

fn framed(channel: u8, bytes: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(bytes.len() + 1);
    framed.push(channel);
    framed.extend_from_slice(bytes);
    framed.into()
}

async fn relay(
    stream: Box<dyn Io>,
    channel: u8,
    mut from_client: mpsc::Receiver<Bytes>,
    outward: mpsc::Sender<Bytes>,
) {
    let (mut read, mut write) = tokio::io::split(stream);
    let to_pod = async {
        while let Some(bytes) = from_client.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let to_client = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if outward.send(framed(channel, &buffer[..count])).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = to_client => {}
        () = async { to_pod.await; std::future::pending::<()>().await } => {}
    }
}
