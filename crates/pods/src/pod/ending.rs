//! The order in which a pod ends.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Crew, Ground, Member, Presence, Seen};
use crate::container::Wish;

/// A sidecar gets this much after the application has ended, however short the
/// pod's own patience is: it finishes what is under way.
pub(super) const SIDECAR_GRACE: Duration = Duration::from_secs(5);
/// How long the mesh may take to stop sending to the pod.
const WITHDRAWAL: Duration = Duration::from_secs(2);

impl Crew {
    /// Ends everything: the application first, then the sidecars, last started
    /// first.
    pub(super) async fn end(&mut self, ground: &Arc<Ground>, seen: &Seen) {
        let now = Instant::now();
        if seen.presence == Presence::Gone {
            self.tell_others(now);
            self.join_others().await;
            return self.end_sidecars(now).await;
        }
        let grace = seen.pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(grace);
        if !self.others.is_empty() {
            // Longer than this is not waited for: the pod goes in any case.
            let _ = timeout(WITHDRAWAL.min(grace), ground.node.withdrawn(ground.reference())).await;
        }
        self.tell_others(now + grace);
        self.join_others().await;
        self.end_sidecars((now + grace).max(Instant::now() + SIDECAR_GRACE)).await;
    }

    /// Ends the sidecars, last started first.
    pub(super) async fn end_sidecars(&mut self, deadline: Instant) {
        while let Some(sidecar) = self.sidecars.pop() {
            sidecar.wish.send_replace(Wish::EndBy(deadline));
            sidecar.join().await;
        }
    }

    fn tell_others(&self, deadline: Instant) {
        for member in &self.others {
            member.wish.send_replace(Wish::EndBy(deadline));
        }
    }

    async fn join_others(&mut self) {
        for member in self.others.drain(..) {
            member.join().await;
        }
    }
}

impl Member {
    async fn join(self) {
        if !self.task.is_finished() {
            // A keeper that panicked has left its process to the pod's end.
            let _ = self.task.await;
        }
    }
}
