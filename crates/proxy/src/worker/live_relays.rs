//! Which configuration the relays of one worker go by.
//!
//! A connection that is relayed is decided about once. Its configuration counts as used while
//! it lives, however long that is, so that it is not given up as unused: the next connection
//! to the same place would have to ask for it again.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use weft_config::Interest;
use weft_decide::Table;

/// The relays of one worker, by what was asked for them.
#[derive(Debug, Default)]
pub struct LiveRelays(RefCell<HashMap<Interest, usize>>);

/// A relay, until it is dropped.
#[derive(Debug)]
pub struct LiveRelay {
    relays: Rc<LiveRelays>,
    interest: Interest,
}

impl LiveRelays {
    /// A relay that goes by the answer to `interest`.
    pub fn begin(self: &Rc<Self>, interest: Interest) -> LiveRelay {
        *self.0.borrow_mut().entry(interest.clone()).or_default() += 1;
        LiveRelay { relays: Rc::clone(self), interest }
    }

    /// Whether there are none.
    #[cfg(test)]
    pub fn are_none(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Notes in `table` that the answers are used.
    pub fn mark(&self, table: &Table) {
        self.0.borrow().keys().for_each(|interest| table.mark_used(interest));
    }
}

impl Drop for LiveRelay {
    fn drop(&mut self) {
        let mut relays = self.relays.0.borrow_mut();
        if let Some(count) = relays.get_mut(&self.interest) {
            *count -= 1;
            if *count == 0 {
                relays.remove(&self.interest);
            }
        }
    }
}
