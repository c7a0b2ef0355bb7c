//! What happens to a pod, told as Events: what `kubectl describe pod` shows.

use weft_apiserver::{Happening, Tone, record};

use serde_json::Value;

use crate::{
    node::{NODE_NAME, Shared},
    pod::Ground,
    spec::Pod,
};

/// Who a cluster's users see these Events from.
const KUBELET: &str = "kubelet";
const SCHEDULER: &str = "default-scheduler";

impl Ground {
    /// Tells what happened to the pod as a whole.
    pub(crate) fn tell(&self, tone: Tone, reason: &str, message: &str) {
        self.record(Happening { tone, reason, message, component: KUBELET, field: "" });
    }

    /// Tells what happened to one of its containers.
    pub(crate) fn tell_of(&self, container: &str, tone: Tone, (reason, message): (&str, &str)) {
        let field = field(&self.pod, container);
        self.record(Happening { tone, reason, message, component: KUBELET, field: &field });
    }

    /// Tells that the pod has its place.
    pub(crate) fn tell_assigned(&self) {
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
        if let Some(pod) = self.node.stored_pod(&self.pod.metadata) {
            record(self.node.store(), &pod, happening);
        }
    }
}

impl Shared {
    /// Records why a pod cannot be run.
    pub(crate) fn record_failure(&self, pod: &Value, reason: &str, message: &str) {
        let happening =
            Happening { tone: Tone::Warning, reason, message, component: KUBELET, field: "" };
        record(self.store(), pod, happening);
    }
}

/// How an Event names a container.
fn field(pod: &Pod, container: &str) -> String {
    let is_init = pod.spec.init_containers.iter().any(|one| one.name == container);
    let list = if is_init { "initContainers" } else { "containers" };
    format!("spec.{list}{{{container}}}")
}
