//! Waiting for pods to be up, and telling of those that will not be.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::Value;
use weft_cluster::client::{Cluster, Container, LogQuery, Query, Resources, Scope};

use super::{
    standing::{self, Trouble},
    work::Work,
};

/// How long to rest between two looks at what is still starting.
const LOOK: Duration = Duration::from_millis(25);
/// Every so many looks are at the pods, too.
const PODS_EVERY: u32 = 10;
/// How many lines of a crashed container's log are shown.
const LOG_LINES: u64 = 3;
/// How many pods are named that are not up in time.
const LONGEST_LIST: usize = 5;

impl Work {
    /// Waits until the Deployments and pods for which `wanted` holds are up, and
    /// none of them is between two crashes; or until those that are not never will.
    pub(super) async fn wait_for(
        &self,
        resources: &Resources,
        (begun, what): (Instant, &str),
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let progress = |ready, total| {
            self.report.progress(&format!("starting the {what}: pods"), ready, total);
        };
        let mut told = BTreeSet::new();
        for look in 0_u32.. {
            let all = objects(&self.cluster, resources, "deployments.apps").await?;
            let counts = all.iter().filter(|one| wanted(one)).map(count);
            let (ready, total) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let available = ready >= total && total > 0;
            let late = begun.elapsed() > self.timeout;
            if available || late || look.is_multiple_of(PODS_EVERY) {
                let mut pods = objects(&self.cluster, resources, "pods").await?;
                pods.retain(&wanted);
                let down = down(&pods);
                self.tell_news(&down, &mut told).await;
                if available && down.is_empty() {
                    progress(ready, total);
                    return Ok(());
                }
                let missing = total.saturating_sub(ready);
                if late || (total > 0 && are_hopeless(&down, missing)) {
                    let short = all.iter().filter(|one| wanted(one)).filter_map(short);
                    return self.give_up(what, &down, (short.collect(), &mut told)).await;
                }
            }
            // What is only up for a moment does not end the line.
            progress(ready.min(total.saturating_sub(1)), total);
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Tells which pods are not up, or are `short` of; without a control plane there
    /// is no mesh.
    async fn give_up(
        &self,
        what: &str,
        pods: &[Down],
        (short, told): (Vec<String>, &mut BTreeSet<(String, String)>),
    ) -> Result<()> {
        let fatal = what == "control plane";
        let mut lines = Vec::new();
        for trouble in pods.iter().filter_map(Down::first).take(LONGEST_LIST) {
            if told.insert((trouble.pod.clone(), trouble.container.clone())) || fatal {
                lines.push(trouble.told(&self.log(trouble).await));
            }
        }
        if pods.is_empty() {
            // There is no pod that could say why.
            lines.extend(short.into_iter().take(LONGEST_LIST));
        }
        if fatal {
            bail!("the control plane did not start:\n{}", lines.join("\n"));
        }
        lines.iter().for_each(|line| self.report.line(line));
        let mut names: Vec<&str> =
            pods.iter().filter_map(Down::first).map(|trouble| trouble.pod.as_str()).collect();
        let more = names.len().saturating_sub(LONGEST_LIST);
        names.truncate(LONGEST_LIST);
        let names = match (names.is_empty(), more) {
            (true, _) => "some Deployments have too few pods".to_owned(),
            (false, 0) => names.join(", "),
            (false, more) => format!("{} and {more} more", names.join(", ")),
        };
        self.report.line(&format!("not everything is up: {names}"));
        Ok(())
    }

    async fn tell_news(&self, pods: &[Down], told: &mut BTreeSet<(String, String)>) {
        for trouble in pods.iter().flat_map(|pod| &pod.troubles).filter(|one| one.is_news()) {
            if told.insert((trouble.pod.clone(), trouble.container.clone())) {
                self.report.line(&trouble.told(&self.log(trouble).await));
            }
        }
    }

    /// The last lines that a container wrote before it ended.
    async fn log(&self, trouble: &Trouble) -> String {
        if !trouble.has_log() {
            return String::new();
        }
        let container = Container {
            namespace: trouble.namespace.clone(),
            pod: trouble.pod.clone(),
            name: trouble.container.clone(),
            remark: None,
        };
        let previous = !matches!(trouble.kind, standing::Kind::Over { .. });
        let query = LogQuery { previous, tail: Some(LOG_LINES), ..LogQuery::default() };
        let mut written = Vec::new();
        // Where the log is has been told; without its end the message is complete.
        let _ = self.cluster.logs(&container, &query, &mut written).await;
        String::from_utf8_lossy(&written).into_owned()
    }
}

/// A pod that is not up.
struct Down {
    /// Why; never empty.
    troubles: Vec<Trouble>,
    /// Whether a Deployment counts it.
    owned: bool,
}

impl Down {
    fn first(&self) -> Option<&Trouble> {
        self.troubles.first()
    }
}

/// The pods of `pods` that are not up.
fn down(pods: &[Value]) -> Vec<Down> {
    let now = Timestamp::now();
    let wanted = pods.iter().filter(|pod| standing::is_wanted(pod));
    let down = wanted.map(|pod| Down {
        troubles: standing::troubles(pod, now),
        owned: !pod["metadata"]["ownerReferences"].is_null(),
    });
    down.filter(|down| !down.troubles.is_empty()).collect()
}

/// Whether all that is not up never will be; `missing` pods are not there yet.
fn are_hopeless(down: &[Down], missing: usize) -> bool {
    !down.is_empty()
        && down.iter().all(|pod| pod.troubles.iter().any(Trouble::is_hopeless))
        && down.iter().filter(|pod| pod.owned).count() >= missing
}

async fn objects(cluster: &Cluster, resources: &Resources, word: &str) -> Result<Vec<Value>> {
    let query =
        Query { words: vec![word.to_owned()], scope: Scope::All, labels: None, fields: None };
    let found = cluster.objects(&query.targets(resources)?, &query).await?;
    Ok(found.into_iter().map(|(_, object)| object).collect())
}

/// What a Deployment with too few pods is told to be.
fn short(deployment: &Value) -> Option<String> {
    let (available, wanted) = count(deployment);
    let text = |field: &str| deployment["metadata"][field].as_str().unwrap_or_default();
    let (name, namespace) = (text("name"), text("namespace"));
    (available < wanted).then(|| {
        format!(
            "deployment {name} has {available} of {wanted} pods; `weft get events -n {namespace}` says why"
        )
    })
}

/// Pods that are available, and pods that are wanted.
fn count(deployment: &Value) -> (usize, usize) {
    let number = |value: &Value, unset: u64| {
        usize::try_from(value.as_u64().unwrap_or(unset)).unwrap_or(usize::MAX)
    };
    let wanted = number(&deployment["spec"]["replicas"], 1);
    let seen = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
    let available = number(&deployment["status"]["availableReplicas"], 0);
    (if seen { available.min(wanted) } else { 0 }, wanted)
}
