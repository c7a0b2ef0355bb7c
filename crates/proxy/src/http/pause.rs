//! How a task that has much to do lets others run.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Wake, Waker},
};

use tokio::task::yield_now;

/// Wakes the task once others have run and sockets have been looked at. A task that wakes itself
/// at once runs many times before that.
pub fn give_way(context: &mut Context<'_>) {
    let yielding = pin!(yield_now());
    // It is pending when it is polled first.
    if yielding.poll(context).is_ready() {
        context.waker().wake_by_ref();
    }
}

/// The time between two turns of a task, in which others run and sockets are looked at. The task
/// may be woken meanwhile, by what it did in the turn before.
#[derive(Debug, Default)]
pub struct Pause(Option<Arc<Waiting>>);

#[derive(Debug)]
struct Waiting {
    task: Waker,
    is_over: AtomicBool,
}

impl Pause {
    /// Begins a pause, and has the task woken when it is over.
    pub fn begin(&mut self, context: &Context<'_>) {
        let task = context.waker().clone();
        let waiting = Arc::new(Waiting { task, is_over: AtomicBool::new(false) });
        self.0 = Some(Arc::clone(&waiting));
        give_way(&mut Context::from_waker(&waiting.into()));
    }

    /// Whether the pause that was begun last is not over.
    pub fn is_under_way(&self) -> bool {
        self.0.as_ref().is_some_and(|waiting| !waiting.is_over.load(Relaxed))
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Relaxed);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, task::Poll};

    #[tokio::test]
    async fn a_pause_lasts_until_sockets_have_been_looked_at_however_often_the_task_is_woken() {
        let (mut pause, mut polls) = (Pause::default(), 0);
        assert!(!pause.is_under_way());
        let task = tokio::spawn(poll_fn(move |context| {
            polls += 1;
            match polls {
                1 => {
                    pause.begin(context);
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                // Another one than the pause has woken the task.
                2 => {
                    assert!(pause.is_under_way());
                    Poll::Pending
                }
                _ => Poll::Ready(pause.is_under_way()),
            }
        }));
        assert!(!task.await.unwrap());
    }
}
