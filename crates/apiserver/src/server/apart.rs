//! Writes apart from everything else that its threads do.
//!
//! How long it takes to change an object is its writer's to say, up to the largest object
//! and the largest patch. So a write runs where it holds up no other task, and only a few
//! of one caller run at a time. While one waits (for a webhook, say), another may run.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, ready},
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
};

/// How many writes of one caller run at a time.
const FEW: usize = 2;

/// The callers whose writes are under way.
#[derive(Debug, Default)]
pub struct Callers(Mutex<HashMap<String, Weak<Semaphore>>>);

impl Callers {
    /// Runs a write of `caller`.
    pub fn run<F: Future>(&self, caller: &str, write: F) -> Apart<F> {
        Apart { write: Box::pin(write), places: self.places(caller), taking: None }
    }

    fn places(&self, caller: &str) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(caller).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(FEW));
        all.insert(caller.to_owned(), Arc::downgrade(&places));
        places
    }
}

type Taking =
    Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>;

/// A write that runs apart.
pub struct Apart<F> {
    write: Pin<Box<F>>,
    places: Arc<Semaphore>,
    taking: Option<Taking>,
}

impl<F: Future> Future for Apart<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { write, places, taking } = &mut *self;
        let taken = taking.get_or_insert_with(|| Box::pin(Arc::clone(places).acquire_owned()));
        // The place is free again at the end of this step.
        let _place = ready!(taken.as_mut().poll(context));
        *taking = None;
        let mut step = || write.as_mut().poll(context);
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(step),
            // There is one thread, and nothing to move to another.
            _ => step(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_write_that_takes_long_holds_up_no_other_task() {
        let (callers, (done, wait)) = (Callers::default(), mpsc::channel());
        let other = tokio::spawn(async move { done.send(()) });
        let write = callers.run("a", async move { wait.recv() });
        // Its one worker would be in the write, and the other task would never run.
        let (waited, sent) = tokio::join!(tokio::spawn(write), other);
        assert!(waited.is_ok_and(|got| got.is_ok()) && sent.is_ok_and(|sent| sent.is_ok()));
    }

    #[tokio::test]
    async fn a_caller_has_few_places_and_takes_none_from_others() {
        let callers = Callers::default();
        let held: Vec<_> = (0..FEW).map(|_| callers.places("a").try_acquire_owned()).collect();
        assert!(held.iter().all(Result::is_ok));
        let mut more = Box::pin(callers.run("a", async {}));
        assert!(more.as_mut().now_or_never().is_none());
        assert!(callers.run("b", async {}).now_or_never().is_some());
        drop(held);
        assert!(more.now_or_never().is_some());
        assert_eq!(
            callers.0.lock().unwrap().values().filter(|one| one.strong_count() > 0).count(),
            0
        );
    }

    #[tokio::test]
    async fn a_write_that_waits_has_no_place() {
        let callers = Callers::default();
        let mut waiting: Vec<_> = (0..FEW * 2)
            .map(|_| Box::pin(callers.run("a", std::future::pending::<()>())))
            .collect();
        for write in &mut waiting {
            assert!(write.as_mut().now_or_never().is_none());
        }
        assert!(callers.run("a", async {}).now_or_never().is_some());
    }
}
