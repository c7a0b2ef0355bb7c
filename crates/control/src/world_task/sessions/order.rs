//! Whose turn it is: namespaces take turns, and in each of them its sessions.
//!
//! So a namespace with many sessions keeps those of another one waiting no longer than one with a
//! single session does.

use std::collections::{HashMap, VecDeque};

use crate::subscriptions::SessionId;

/// Sessions that wait for their turn. Each is added only when it does not wait yet.
#[derive(Debug, Default)]
pub(super) struct Order {
    namespaces: VecDeque<String>,
    /// Never empty for a namespace that is here.
    sessions: HashMap<String, VecDeque<SessionId>>,
}

impl Order {
    /// Whether no session waits.
    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Lets a session wait behind the others of its namespace.
    pub(super) fn add(&mut self, namespace: &str, session: SessionId) {
        if let Some(waiting) = self.sessions.get_mut(namespace) {
            return waiting.push_back(session);
        }
        self.namespaces.push_back(namespace.to_owned());
        self.sessions.insert(namespace.to_owned(), VecDeque::from([session]));
    }

    /// The session whose turn it is, for which `is_open` holds; the others before it are not
    /// there any more, and cost their namespaces no turn.
    pub(super) fn next(&mut self, is_open: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        while let Some(namespace) = self.namespaces.pop_front() {
            let Some(waiting) = self.sessions.get_mut(&namespace) else { continue };
            let next = loop {
                match waiting.pop_front() {
                    Some(session) if !is_open(session) => {}
                    next => break next,
                }
            };
            match waiting.is_empty() {
                true => drop(self.sessions.remove(&namespace)),
                false => self.namespaces.push_back(namespace),
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_take_turns_and_in_each_its_sessions() {
        let mut order = Order::default();
        (1..=3).for_each(|session| order.add("a", session));
        order.add("b", 10);
        let mut turns = Vec::new();
        for _ in 0..6 {
            let session = order.next(|_| true).unwrap();
            turns.push(session);
            order.add(if session == 10 { "b" } else { "a" }, session);
        }
        assert_eq!(turns, [1, 10, 2, 10, 3, 10]);
    }

    #[test]
    fn sessions_that_are_closed_have_no_turn() {
        let mut order = Order::default();
        (1..=3).for_each(|session| order.add("a", session));
        order.add("b", 10);
        assert_eq!(order.next(|session| session > 2), Some(3));
        assert_eq!(order.next(|session| session > 2), Some(10));
        assert_eq!(order.next(|_| true), None);
        assert!(order.is_empty() && order.sessions.is_empty());
    }
}
