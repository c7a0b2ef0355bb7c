//! Accepting connections.

use std::{
    io,
    net::TcpListener as StdTcpListener,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::listen::{admission::Admission, listener::Listener};

/// The pause when no connection can be accepted for lack of descriptors.
const RELIEF: Duration = Duration::from_millis(50);

/// How often a line is logged while none can be accepted.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// A task that accepts, and stops when this is dropped.
pub struct Accepting(JoinHandle<()>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts connections of `listener` at `socket`; `open` counts those that it has.
pub fn accept(
    socket: StdTcpListener,
    listener: &Arc<Listener>,
    open: &Arc<AtomicUsize>,
    admission: &Rc<Admission>,
) -> io::Result<Accepting> {
    let socket = TcpListener::from_std(socket)?;
    let (listener, open) = (Arc::clone(listener), Arc::clone(open));
    let admission = Rc::clone(admission);
    Ok(Accepting(tokio::task::spawn_local(async move {
        let mut logged: Option<Instant> = None;
        loop {
            match socket.accept().await {
                Ok((stream, client)) => {
                    if let Ok(stream) = stream.into_std() {
                        admission.admit(stream, client, &listener, &open).await;
                    }
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    if logged.is_none_or(|last| last.elapsed() >= LOG_PAUSE) {
                        logged = Some(Instant::now());
                        tracing::warn!(%error, listener = &*listener.name,
                            "no connection can be accepted");
                    }
                    sleep(RELIEF).await;
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
