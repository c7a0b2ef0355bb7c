//! What a pod's processes ask of the node: listening sockets of the host.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::UnixListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use weft_process::sockets::SocketRequest;

use crate::admit::RELIEF;

/// Connections of one pod, with those whose sockets it has.
const MOST: usize = 256;
/// How long a connection may be silent before its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request that counts among those of its pod until it is dropped.
pub(crate) struct CountedRequest {
    pub(super) request: SocketRequest,
    _place: OwnedSemaphorePermit,
}

impl CountedRequest {
    /// Resolves when the asker no longer uses what it was lent.
    pub(super) async fn returned(self) {
        self.request.returned().await;
    }
}

/// Passes each request that comes to `listener` to `lend`; needs to be polled. A pod that
/// has too many connections waits.
pub(crate) async fn answer_requests<F>(
    listener: UnixListener,
    lend: impl Fn(CountedRequest) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let places = Arc::new(Semaphore::new(MOST));
    let mut reading = tokio::task::JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepting = async { (place.await, listener.accept().await) };
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            Some(_) = reading.join_next() => continue,
        };
        let (Ok(place), Ok((connection, _))) = accepted else {
            // For lack of descriptors; more come when others end.
            tokio::time::sleep(RELIEF).await;
            continue;
        };
        let lend = lend.clone();
        reading.spawn(async move {
            match timeout(PATIENCE, SocketRequest::read(connection)).await {
                Ok(Ok(request)) => lend(CountedRequest { request, _place: place }).await,
                Ok(Err(error)) => tracing::debug!(%error, "a request for sockets"),
                Err(_) => tracing::debug!("a connection without a request for sockets"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
        sync::mpsc,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pod_holds_so_many_connections_and_silent_ones_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sockets");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, mut requests) = mpsc::unbounded_channel();
        let answering = answer_requests(listener, move |request| {
            let sender = sender.clone();
            async move { sender.send(request).map_err(drop).unwrap() }
        });
        tokio::spawn(answering);
        let mut silent = UnixStream::connect(&path).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "it ends");
        let mut held = Vec::new();
        for _ in 0..=MOST {
            // The one too many waits in the queue of the socket.
            let mut asker = UnixStream::connect(&path).await.unwrap();
            asker.write_all(b"{\"port\": 80}\n").await.unwrap();
            held.push(asker);
        }
        let mut lent = Vec::new();
        for _ in 0..MOST {
            lent.push(requests.recv().await.unwrap());
        }
        let more = timeout(PATIENCE * 2, requests.recv()).await;
        assert!(more.is_err(), "the pod has all that it may have");
        lent.pop();
        assert_eq!(requests.recv().await.unwrap().request.port, 80);
    }
}
