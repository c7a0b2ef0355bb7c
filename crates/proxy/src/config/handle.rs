//! Requests of workers and admin ports to the task that holds the configuration.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use weft_config::Interest;

/// How long a request waits for the configuration it needs.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long an admin page waits for the snapshot.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(5);
/// Requests that wait at once; more are refused.
const MOST_WAITING: usize = 4096;

/// A request to the configuration client.
#[derive(Debug)]
pub enum ConfigRequest {
    /// Answered once a table that answers this interest is in force.
    Interest(Interest, oneshot::Sender<()>),
    /// Answered with every resource in force.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// The resources in force: names and JSON, in no order.
pub type Snapshot = Vec<(String, Arc<[u8]>)>;

/// A handle of the configuration client, for those that send requests to it.
#[derive(Clone, Debug)]
pub struct ConfigHandle(mpsc::Sender<ConfigRequest>);

/// A handle, and the receiver of the requests that are sent through it.
pub fn channel() -> (ConfigHandle, mpsc::Receiver<ConfigRequest>) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    (ConfigHandle(sender), receiver)
}

impl ConfigHandle {
    /// Whether the table answers `interest` after a short wait.
    pub async fn ask(&self, interest: Interest) -> bool {
        let (answered, answer) = oneshot::channel();
        if self.0.try_send(ConfigRequest::Interest(interest, answered)).is_err() {
            return false;
        }
        matches!(timeout(DEADLINE, answer).await, Ok(Ok(())))
    }

    /// The resources in force; empty when the client does not answer in time.
    pub async fn snapshot(&self) -> Snapshot {
        let (sender, snapshot) = oneshot::channel();
        let asking = async {
            self.0.send(ConfigRequest::Snapshot(sender)).await.ok()?;
            snapshot.await.ok()
        };
        timeout(SNAPSHOT_DEADLINE, asking).await.ok().flatten().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_over_once_it_is_answered_or_dropped() {
        let (handle, mut requests) = channel();
        let answering = async {
            let Some(ConfigRequest::Interest(interest, answered)) = requests.recv().await else {
                panic!("an interest")
            };
            assert_eq!(interest.to_string(), "shop:80");
            answered.send(()).unwrap();
            drop(requests.recv().await);
        };
        let asking = async {
            let first = handle.ask("shop:80".parse().unwrap()).await;
            (first, handle.ask("cart:80".parse().unwrap()).await)
        };
        let ((), answers) = tokio::join!(answering, asking);
        assert_eq!(answers, (true, false));
    }
}
