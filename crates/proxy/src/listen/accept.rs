//! Accepting connections, and giving each to the worker with the fewest.

use std::{io, net::TcpListener as StdTcpListener, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    listen::listener::Listener,
    worker::{Command, Handle},
};

/// The pause when no connection can be accepted for lack of descriptors.
const RELIEF: Duration = Duration::from_millis(50);

/// A task that accepts, and stops when this is dropped.
pub struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts connections of `listener` at `socket`.
pub fn accept(
    socket: StdTcpListener,
    listener: &Arc<Listener>,
    workers: &Arc<Vec<Handle>>,
) -> io::Result<Accepting> {
    let socket = TcpListener::from_std(socket)?;
    let (listener, workers) = (Arc::clone(listener), Arc::clone(workers));
    Ok(Accepting(tokio::task::spawn_local(async move {
        loop {
            match socket.accept().await {
                Ok((stream, client)) => {
                    let Ok(stream) = stream.into_std() else { continue };
                    let least = workers.iter().min_by_key(|worker| worker.load());
                    if let Some(worker) = least {
                        worker.tell(Command::Serve(stream, Arc::clone(&listener), client));
                    }
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, listener = &*listener.name, "accepting a connection");
                    tokio::time::sleep(RELIEF).await;
                }
            }
        }
    })))
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
