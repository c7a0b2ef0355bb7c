//! Listening sockets that another process lends: a way in from elsewhere, beside a
//! listener's own.
//!
//! A task for each listener asks, accepts, and asks again when the lender has gone,
//! so that a lender that hangs delays nothing else.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use weft_process::sockets::{self, Lease};

use crate::listen::{accept::accept, admission::Admission, listener::Listener};

/// How long a lender may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// How often a lender is asked again, and looked after.
const AGAIN: Duration = Duration::from_millis(250);

/// A task that borrows sockets for a listener, until this is dropped.
pub struct Borrowing(JoinHandle<()>);

impl Drop for Borrowing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Borrows sockets for the port of `destination` from the lender at `path`, for connections of
/// `listener`, which are for `destination`.
pub fn borrow(
    path: PathBuf,
    destination: SocketAddr,
    listener: &Listener,
    open: &Arc<AtomicUsize>,
    admission: &Rc<Admission>,
) -> Borrowing {
    let port = destination.port();
    let listener = Arc::new(Listener { lent: Some(destination), ..listener.clone() });
    let (open, admission) = (Arc::clone(open), Rc::clone(admission));
    Borrowing(tokio::task::spawn_local(async move {
        loop {
            if let Some(lease) = ask(path.clone(), port).await {
                let accepting = lease.listeners.iter().map(|socket| {
                    let socket = socket.try_clone()?;
                    socket.set_nonblocking(true)?;
                    accept(socket, &listener, &open, &admission)
                });
                match accepting.collect::<io::Result<Vec<_>>>() {
                    Ok(_accepting) => {
                        while !lease.lender_is_gone() {
                            sleep(AGAIN).await;
                        }
                    }
                    Err(error) => tracing::warn!(%error, port, "a lent socket cannot be used"),
                }
            }
            sleep(AGAIN).await;
        }
    }))
}

async fn ask(path: PathBuf, port: u16) -> Option<Lease> {
    let asking = tokio::task::spawn_blocking(move || sockets::ask(&path, port));
    match timeout(ANSWER_DEADLINE, asking).await {
        Ok(Ok(Ok(lease))) => lease,
        Ok(Ok(Err(error))) => {
            tracing::debug!(%error, port, "no socket is lent");
            None
        }
        Ok(Err(_)) | Err(_) => None,
    }
}
