//! Requests of workers and admin ports to the task that holds the configuration.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use weft_config::Interest;

/// How long a request waits for the configuration it needs.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long people wait for what is known.
const KNOWN: Duration = Duration::from_secs(5);
/// Questions that wait at once; more are not asked.
const WAITING: usize = 4096;

/// One question.
#[derive(Debug)]
pub enum Question {
    /// Told when a table that answers this interest is in force.
    Interest(Interest, oneshot::Sender<()>),
    /// Told everything that is known.
    Known(oneshot::Sender<Known>),
}

/// Names of resources and their JSON, in no order.
pub type Known = Vec<(String, Arc<[u8]>)>;

/// The end of those who ask.
#[derive(Clone, Debug)]
pub struct Asks(mpsc::Sender<Question>);

/// A pair of which the second gets what the first asks.
pub fn channel() -> (Asks, mpsc::Receiver<Question>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Asks(sender), receiver)
}

impl Asks {
    /// Whether the table answers `interest` after a short wait.
    pub async fn ask(&self, interest: Interest) -> bool {
        let (answered, answer) = oneshot::channel();
        if self.0.try_send(Question::Interest(interest, answered)).is_err() {
            return false;
        }
        matches!(timeout(DEADLINE, answer).await, Ok(Ok(())))
    }

    /// Everything that is known; nothing when that is not said in time.
    pub async fn known(&self) -> Known {
        let (told, known) = oneshot::channel();
        let asking = async {
            self.0.send(Question::Known(told)).await.ok()?;
            known.await.ok()
        };
        timeout(KNOWN, asking).await.ok().flatten().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_over_when_it_is_answered_or_nobody_will() {
        let (asks, mut questions) = channel();
        let answering = async {
            let Some(Question::Interest(interest, answered)) = questions.recv().await else {
                panic!("an interest")
            };
            assert_eq!(interest.to_string(), "shop:80");
            answered.send(()).unwrap();
            drop(questions.recv().await);
        };
        let asking = async {
            let first = asks.ask("shop:80".parse().unwrap()).await;
            (first, asks.ask("cart:80".parse().unwrap()).await)
        };
        let ((), answers) = tokio::join!(answering, asking);
        assert_eq!(answers, (true, false));
    }
}
