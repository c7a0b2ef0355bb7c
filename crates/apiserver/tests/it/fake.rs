//! A node without processes: pods run as soon as they are seen, commands are
//! answered from a short list, and a port speaks a line of HTTP.

use std::io;

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use weft_apiserver::{
    Change, Deletion, Dial, ExecIo, Io, LogOptions, Node, NodeError, PodRef, Store, timestamp,
};

/// The node.
pub struct Fake;

impl Node for Fake {
    fn logs(
        &self,
        pod: PodRef,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, NodeError>> {
        Box::pin(async move {
            if options.previous {
                let text = format!(
                    "previous terminated container \"{container}\" in pod \"{}\" not found",
                    pod.name
                );
                return Err(NodeError::NotReady(text));
            }
            let lines: Vec<Bytes> =
                (1..=3).map(|line| Bytes::from(format!("{container} line {line}\n"))).collect();
            let skipped = options.tail_lines.map_or(0, |tail| {
                lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX))
            });
            Ok(futures::stream::iter(lines.into_iter().skip(skipped)).boxed())
        })
    }

    fn exec(
        &self,
        _pod: PodRef,
        _container: String,
        command: Vec<String>,
        io: ExecIo,
    ) -> BoxFuture<'static, Result<i32, NodeError>> {
        Box::pin(async move {
            match command.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["echo", words @ ..] => {
                    let _ = io.stdout.send(format!("{}\n", words.join(" ")).into()).await;
                    Ok(0)
                }
                ["cat"] => {
                    let mut stdin = io.stdin;
                    while let Some(bytes) = match &mut stdin {
                        Some(stdin) => stdin.recv().await,
                        None => None,
                    } {
                        let _ = io.stdout.send(bytes).await;
                    }
                    Ok(0)
                }
                ["false"] => Ok(1),
                ["complain"] => {
                    if let Some(stderr) = io.stderr {
                        let _ = stderr.send("no\n".into()).await;
                    }
                    Ok(7)
                }
                _ => Err(NodeError::NotReady(format!("no such command: {}", command.join(" ")))),
            }
        })
    }

    fn connect(
        &self,
        _pod: PodRef,
        port: u16,
    ) -> BoxFuture<'static, Result<Box<dyn Io>, NodeError>> {
        Box::pin(async move {
            let (near, mut far) = tokio::io::duplex(4096);
            tokio::spawn(async move {
                let mut buffer = [0; 2048];
                let count = far.read(&mut buffer).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let line = text.lines().next().unwrap_or_default();
                let body = format!("{port}: {line}");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = far.write_all(answer.as_bytes()).await;
            });
            Ok(Box::new(near) as Box<dyn Io>)
        })
    }
}

impl Dial for Fake {
    fn service(&self, _: &str, _: &str, port: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        // In the tests a Service's port is one on this machine.
        Box::pin(TcpStream::connect(("127.0.0.1", port)))
    }
}

/// Makes the node object, and runs every pod that appears.
pub async fn run(store: Store) {
    let (Some(nodes), Some(pods)) = (store.resource("", "nodes"), store.resource("", "pods"))
    else {
        return;
    };
    let node = json!({"metadata": {"name": "fake"}, "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}});
    let _ = store.create(&nodes, node);
    let mut watch = store.watch(&pods, 1);
    let mut number = 1;
    while let Ok(event) = watch.next().await {
        let pod = &event.object;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) =
            (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        if event.change == Change::Deleted {
            continue;
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let _ = store.delete(&pods, &namespace, &name, &Deletion::now());
        } else if pod["spec"]["nodeName"].is_string() && pod["status"]["podIP"].is_null() {
            number += 1;
            let mut running = Value::clone(pod);
            running["metadata"]["resourceVersion"] = Value::Null;
            running["status"] = status(pod, &format!("10.244.0.{number}"));
            let _ = store.update_status(&pods, running);
        }
    }
}

fn status(pod: &Value, address: &str) -> Value {
    let now = timestamp();
    let containers: Vec<Value> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            json!({"name": one["name"], "image": one["image"], "imageID": "", "ready": true,
                   "restartCount": 0, "started": true, "state": {"running": {"startedAt": now}}})
        })
        .collect();
    let conditions: Vec<Value> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}))
        .collect();
    json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
           "hostIP": "127.0.0.1", "conditions": conditions, "containerStatuses": containers})
}
