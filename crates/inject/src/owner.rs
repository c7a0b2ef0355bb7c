//! Which workload a pod belongs to.

use serde_json::Value;

/// The workload that a pod belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// API version, such as `apps/v1`.
    pub api_version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Name; empty when it is not known yet.
    pub name: String,
}

impl Owner {
    /// The workload behind `pod`'s owner: a ReplicaSet's Deployment, a Job's CronJob, or the
    /// owner itself; the pod when it has none.
    pub fn of_pod(pod: &Value) -> Self {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
        let controller = pod
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .and_then(|owners| owners.iter().find(|owner| owner["controller"] == true));
        let Some(controller) = controller else {
            let prefix = text("/metadata/generateName").map(|name| name.trim_end_matches('-'));
            let name = text("/metadata/name").or(prefix).unwrap_or_default();
            return Self::new("v1", "Pod", name);
        };
        let field = |name: &str| controller[name].as_str().unwrap_or_default();
        let (kind, name) = (field("kind"), field("name"));
        let hash = text("/metadata/labels/pod-template-hash");
        let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
        match (kind, deployment) {
            ("ReplicaSet", Some(deployment)) => Self::new("apps/v1", "Deployment", deployment),
            ("Job", _) if let Some(schedule) = scheduled(name) => {
                Self::new("batch/v1", "CronJob", schedule)
            }
            _ => Self::new(field("apiVersion"), kind, name),
        }
    }

    /// The owner called `name`.
    pub fn new(api_version: &str, kind: &str, name: &str) -> Self {
        Self { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    /// The workload as Istio's metrics name it.
    pub(crate) fn address(&self, namespace: &str) -> String {
        format!(
            "kubernetes://apis/{}/namespaces/{namespace}/{}s/{}",
            self.api_version,
            self.kind.to_lowercase(),
            self.name
        )
    }
}

/// `report-28345678` → `report`: what a CronJob calls the Jobs that it makes.
fn scheduled(job: &str) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    (minutes.len() >= 8 && minutes.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(kind: &str, name: &str, hash: &str, expected: &str) {
        let pod = json!({"metadata": {
            "labels": {"pod-template-hash": hash},
            "ownerReferences": [
                {"apiVersion": "x/v1", "kind": kind, "name": name, "controller": true},
            ],
        }});
        assert_eq!(Owner::of_pod(&pod).address("shop"), expected);
    }

    #[test]
    fn a_replica_set_stands_for_its_deployment() {
        let expected = "kubernetes://apis/apps/v1/namespaces/shop/deployments/cart";
        check("ReplicaSet", "cart-5d8f9", "5d8f9", expected);
    }

    #[test]
    fn a_scheduled_job_stands_for_its_cron_job() {
        let expected = "kubernetes://apis/batch/v1/namespaces/shop/cronjobs/report";
        check("Job", "report-28345678", "", expected);
        let expected = "kubernetes://apis/x/v1/namespaces/shop/jobs/report-7";
        check("Job", "report-7", "", expected);
    }

    #[test]
    fn a_pod_without_owner_stands_for_itself() {
        let pod = json!({"metadata": {"name": "probe"}});
        assert_eq!(Owner::of_pod(&pod), Owner::new("v1", "Pod", "probe"));
    }
}
