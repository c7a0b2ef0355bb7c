//! Running a command in a container over a WebSocket (`v5.channel.k8s.io`).
//!
//! The first byte of a message names its channel. The node runs the command;
//! here bytes are carried, and the exit code becomes the Status that kubectl
//! reads. When the client leaves, the node's future is dropped: that ends it.

mod socket;

use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{ApiRequest, Server, connect, reply::Body};
use crate::{
    node::{ExecIo, NodeError, TerminalSize},
    status::Status,
    target::Objects,
};
pub use socket::{Receiver, Sender, accept};

/// Sub-protocols of exec and attach, best first.
const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Messages that may wait on each stream.
const DEPTH: usize = 16;

/// Whether a new command is run or the container's own is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A new command.
    Exec,
    /// The container's own.
    Attach,
}

/// The ends that the client's side of a session holds.
struct Ends {
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<TerminalSize>,
    stdout: mpsc::Receiver<Bytes>,
    stderr: Option<mpsc::Receiver<Bytes>>,
}

/// GET or POST of `exec` and `attach`.
pub fn run(
    server: &Arc<Server>,
    at: &Objects,
    asked: ApiRequest,
    verb: Verb,
) -> Result<Response<Body>, Status> {
    let (pod, object) = connect::pod(server, at, at.name.as_deref().unwrap_or_default())?;
    let container = connect::container(&object, &asked)?;
    let command = asked.query.all("command");
    if verb == Verb::Exec && command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let (io, ends) = streams(&asked);
    let connection = asked.connection.clone();
    let (response, socket) = accept(asked, PROTOCOLS)?;
    let node = Arc::clone(&server.node);
    server.hold(&connection, async move {
        let Some((sender, receiver)) = socket.await else { return };
        let running = match verb {
            Verb::Exec => node.exec(pod, container, command, io),
            Verb::Attach => node.attach(pod, container, io),
        };
        carry(sender, receiver, ends, running).await;
    });
    Ok(response)
}

fn streams(asked: &ApiRequest) -> (ExecIo, Ends) {
    let tty = asked.query.is_set("tty");
    let (stdout, from_stdout) = mpsc::channel(DEPTH);
    let (to_resize, resize) = mpsc::channel(DEPTH);
    let (to_stdin, stdin) = match asked.query.is_set("stdin") {
        true => {
            let (sender, receiver) = mpsc::channel(DEPTH);
            (Some(sender), Some(receiver))
        }
        false => (None, None),
    };
    let (stderr, from_stderr) = match tty {
        true => (None, None),
        false => {
            let (sender, receiver) = mpsc::channel(DEPTH);
            (Some(sender), Some(receiver))
        }
    };
    let io = ExecIo { stdin, stdout, stderr, tty, resize };
    let ends =
        Ends { stdin: to_stdin, resize: to_resize, stdout: from_stdout, stderr: from_stderr };
    (io, ends)
}

async fn carry(
    mut sender: Sender,
    receiver: Receiver,
    ends: Ends,
    running: impl Future<Output = Result<i32, NodeError>>,
) {
    let Ends { stdin, resize, stdout, stderr } = ends;
    let outward = async {
        // The command's exit status is sent after the last of its output.
        let (sent, outcome) = tokio::join!(send_output(&mut sender, stdout, stderr), running);
        if sent.is_ok() {
            let _ = sender.send(message(ERROR, verdict(&outcome).to_string().as_bytes())).await;
            let _ = sender.send(goodbye()).await;
        }
    };
    tokio::select! {
        () = outward => {}
        () = receive(receiver, stdin, resize) => {}
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut framed = Vec::with_capacity(bytes.len() + 1);
    framed.push(channel);
    framed.extend_from_slice(bytes);
    Message::Binary(framed.into())
}

/// The end of a session that went as it should (RFC 6455, section 7.4.1).
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

async fn send_output(
    sender: &mut Sender,
    mut stdout: mpsc::Receiver<Bytes>,
    mut stderr: Option<mpsc::Receiver<Bytes>>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let mut has_stdout = true;
    while has_stdout || stderr.is_some() {
        let complaint = async {
            match &mut stderr {
                Some(stderr) => stderr.recv().await,
                None => std::future::pending().await,
            }
        };
        let (channel, piece) = tokio::select! {
            piece = stdout.recv(), if has_stdout => (STDOUT, piece),
            piece = complaint => (STDERR, piece),
        };
        match piece {
            Some(bytes) => sender.send(message(channel, &bytes)).await?,
            None if channel == STDOUT => has_stdout = false,
            None => stderr = None,
        }
    }
    Ok(())
}

/// Reads what the client sends; ends when the client leaves.
async fn receive(
    mut receiver: Receiver,
    mut stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<TerminalSize>,
) {
    while let Some(Ok(incoming)) = receiver.next().await {
        let bytes = match incoming {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return,
            _ => continue,
        };
        let Some((channel, rest)) = bytes.split_first() else { continue };
        match *channel {
            STDIN => {
                let closed = match &stdin {
                    Some(stdin) => stdin.send(Bytes::copy_from_slice(rest)).await.is_err(),
                    None => false,
                };
                if closed {
                    stdin = None;
                }
            }
            RESIZE => {
                let size: Value = serde_json::from_slice(rest).unwrap_or_default();
                let side = |name: &str| size[name].as_u64().and_then(|it| u16::try_from(it).ok());
                if let (Some(width), Some(height)) = (side("Width"), side("Height")) {
                    let _ = resize.try_send(TerminalSize { width, height });
                }
            }
            CLOSE if rest.first() == Some(&STDIN) => stdin = None,
            _ => {}
        }
    }
}

/// The Status that tells a client how the command ended.
fn verdict(outcome: &Result<i32, NodeError>) -> Value {
    match outcome {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(error) => connect::refused(error).to_value(),
    }
}
