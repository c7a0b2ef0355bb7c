//! The order in which a pod ends.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Member, ObservedPod, Presence, Processes};
use crate::container::DesiredState;

/// A sidecar gets this much after the application has ended, however short the
/// pod's own patience is: it finishes what is under way.
pub(super) const SIDECAR_GRACE: Duration = Duration::from_secs(5);
/// How long the mesh may take to stop sending to the pod.
const REMOVAL: Duration = Duration::from_secs(2);

impl Processes {
    /// Ends everything: the application first, then the sidecars, last started
    /// first. `removal` resolves when the mesh no longer sends to the pod.
    pub(super) async fn end(&mut self, seen: &ObservedPod, removal: impl Future<Output = ()>) {
        let now = Instant::now();
        if seen.presence == Presence::Gone {
            self.end_others(now);
            self.join_others().await;
            return self.end_sidecars(now).await;
        }
        let grace = seen.pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(grace);
        if !self.others.is_empty() {
            // Longer than this is not waited for: the pod goes in any case.
            let _ = timeout(REMOVAL.min(grace), removal).await;
        }
        self.end_others(now + grace);
        self.join_others().await;
        self.end_sidecars((now + grace).max(Instant::now() + SIDECAR_GRACE)).await;
    }

    /// Ends the sidecars, last started first.
    pub(super) async fn end_sidecars(&mut self, deadline: Instant) {
        while let Some(sidecar) = self.sidecars.pop() {
            sidecar.desired.send_replace(DesiredState::EndBy(deadline));
            sidecar.join().await;
        }
    }

    fn end_others(&self, deadline: Instant) {
        for member in &self.others {
            member.desired.send_replace(DesiredState::EndBy(deadline));
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
            // A runner that panicked has left its process to the pod's end.
            let _ = self.task.await;
        }
    }
}
