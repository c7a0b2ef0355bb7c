//! Tells the connections of one worker that they are to end soon.
//!
//! Looking costs nothing while nobody drains: a flag, and a waker that is left
//! once for each connection.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    task::{Context, Waker},
};

/// Whether connections are to end, and who is to be told.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<bool>,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Option<Waker>>>,
}

/// One connection that will be told; it counts until it is dropped.
#[derive(Debug)]
pub struct Guard {
    drain: Rc<Drain>,
    number: u64,
}

impl Drain {
    /// Tells all connections, now and later.
    pub fn start(&self) {
        self.draining.set(true);
        for waker in self.waiting.borrow().values().flatten() {
            waker.wake_by_ref();
        }
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Counts a connection.
    pub fn enter(self: &Rc<Self>) -> Guard {
        let number = self.next.get();
        self.next.set(number + 1);
        self.waiting.borrow_mut().insert(number, None);
        Guard { drain: Rc::clone(self), number }
    }
}

impl Guard {
    /// Whether the connection is to end; its task is woken when that changes.
    pub fn poll(&self, context: &mut Context<'_>) -> bool {
        if self.drain.draining.get() {
            return true;
        }
        let mut waiting = self.drain.waiting.borrow_mut();
        if let Some(slot) = waiting.get_mut(&self.number)
            && slot.as_ref().is_none_or(|waker| !waker.will_wake(context.waker()))
        {
            *slot = Some(context.waker().clone());
        }
        false
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.drain.waiting.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    #[tokio::test]
    async fn every_connection_is_woken_once_draining_begins() {
        let drain = Rc::new(Drain::default());
        let told = async |guard: Guard| {
            poll_fn(|context| match guard.poll(context) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
        };
        let (one, two) = (drain.enter(), drain.enter());
        assert_eq!(drain.count(), 2);
        let start = async { drain.start() };
        tokio::join!(told(one), told(two), start);
        assert_eq!(drain.count(), 0);
        told(drain.enter()).await;
    }
}
