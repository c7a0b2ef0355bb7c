//! Which pods have a place on the node, and which wait for one.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

/// Pods that run at a time, as the node's object says. Each takes a network, descriptors
/// and threads of process 1.
pub(super) const MOST: usize = 1_000;

/// The pods that wait, by uid.
#[derive(Debug, Default)]
pub(super) struct Places {
    waiting: BTreeMap<String, Arc<Value>>,
}

impl Places {
    /// Whether a pod may be started while so many run; else it waits.
    pub(super) fn take(&mut self, running: usize, (uid, pod): (&str, &Arc<Value>)) -> bool {
        if running < MOST {
            self.waiting.remove(uid);
            return true;
        }
        self.waiting.insert(uid.to_owned(), Arc::clone(pod));
        false
    }

    /// Forgets a pod that is to end.
    pub(super) fn forget(&mut self, uid: &str) {
        self.waiting.remove(uid);
    }

    /// A pod that waits, if there is room while so many run.
    pub(super) fn next(&mut self, running: usize) -> Option<Arc<Value>> {
        let (_, pod) = (running < MOST).then(|| self.waiting.pop_first()).flatten()?;
        Some(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_beyond_the_nodes_capacity_waits_until_another_ends() {
        let (mut places, pod) = (Places::default(), Arc::new(Value::from("pod")));
        assert!(places.take(MOST - 1, ("a", &pod)));
        assert!(!places.take(MOST, ("b", &pod)));
        assert!(!places.take(MOST, ("c", &pod)));
        places.forget("c");
        assert_eq!(places.next(MOST), None);
        assert_eq!(places.next(MOST - 1), Some(pod));
        assert_eq!(places.next(MOST - 1), None);
    }
}
