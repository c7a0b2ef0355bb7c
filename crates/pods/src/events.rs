//! What happens to a pod, as Events: what `kubectl describe pod` shows.

use weft_apiserver::{Happening, Tone};

use crate::{node::NODE_NAME, pod::Sandbox, spec::Pod};

/// The components from which a cluster's users see these Events.
pub(crate) const KUBELET: &str = "kubelet";
const SCHEDULER: &str = "default-scheduler";

impl Sandbox {
    /// Records what happened to the pod as a whole.
    pub(crate) fn record_event(&self, tone: Tone, reason: &str, message: &str) {
        self.record(Happening { tone, reason, message, component: KUBELET, field: "" });
    }

    /// Records what happened to one of its containers.
    pub(crate) fn record_event_of(
        &self,
        container: &str,
        tone: Tone,
        (reason, message): (&str, &str),
    ) {
        let field = field(&self.pod, container);
        self.record(Happening { tone, reason, message, component: KUBELET, field: &field });
    }

    /// Records that the pod has its place.
    pub(crate) fn record_assignment(&self) {
        let metadata = &self.pod.metadata;
        let (namespace, name) = (&metadata.namespace, &metadata.name);
        let message = format!("Successfully assigned {namespace}/{name} to {NODE_NAME}");
        self.record(Happening {
            tone: Tone::Normal,
            reason: "Scheduled",
            message: &message,
            component: SCHEDULER,
            field: "",
        });
    }

    fn record(&self, happening: Happening<'_>) {
        self.services.store.record(&self.pod.metadata, happening);
    }
}

/// How an Event names a container.
fn field(pod: &Pod, container: &str) -> String {
    let is_init = pod.spec.init_containers.iter().any(|one| one.name == container);
    let list = if is_init { "initContainers" } else { "containers" };
    format!("spec.{list}{{{container}}}")
}
