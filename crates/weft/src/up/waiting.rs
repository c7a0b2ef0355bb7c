//! Waiting for pods to be ready, and reporting those that will not be.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::Value;
use weft_cluster::{
    client::{Cluster, Container, LogQuery, NamespaceScope, Query, Resources},
    readiness::{self, NotReadyReason, Readiness, Trouble, Unready},
};

use super::work::Work;

/// How long to rest between two looks at what is still starting.
const LOOK: Duration = Duration::from_millis(25);
/// Every so many looks are at the pods, too.
const PODS_EVERY: u32 = 10;
/// How many lines of a crashed container's log are shown.
const LOG_LINES: u64 = 3;
/// How many pods are named that are not ready.
const LONGEST_LIST: usize = 5;
/// How long to wait silently before the pods that are waited for are named, and
/// before they are named again.
const SILENCE: Duration = Duration::from_secs(5);

/// What a start has come to: the pods that are not ready, for a message; none when
/// all are.
pub type Missing = Vec<String>;

/// The pods of the user.
pub const WORKLOADS: &str = "workloads";

/// Whether all that is waited for is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    UnderWay,
    Complete,
}

/// A container that has been reported.
type Reported = BTreeSet<(String, String)>;

impl Work {
    /// Waits until the Deployments and pods for which `wanted` holds are ready, and
    /// no container is between two crashes; or until those that are not never will.
    pub(super) async fn wait_for(
        &self,
        resources: &Resources,
        (begun, what): (Instant, &str),
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Missing> {
        let mut alone = (0, 0);
        let mut reported = Reported::new();
        let mut spoken = Instant::now();
        for look in 0_u32.. {
            let mut deployments = objects(&self.cluster, resources, "deployments.apps").await?;
            deployments.retain(&wanted);
            let (ready, total) = readiness::available(&deployments);
            let available = ready >= total && total > 0;
            let late = begun.elapsed() > self.timeout;
            if available || late || look.is_multiple_of(PODS_EVERY) {
                let mut pods = objects(&self.cluster, resources, "pods").await?;
                pods.retain(&wanted);
                alone = readiness::ready_alone(pods.iter().filter(|pod| !is_own(pod)));
                let now = Readiness::of(&deployments, &pods, Timestamp::now());
                if self.report_news(&now.unready, &mut reported).await {
                    spoken = Instant::now();
                }
                if now.is_complete() {
                    self.report_progress(what, &deployments, alone, Progress::Complete);
                    return Ok(Missing::new());
                }
                if late || now.is_hopeless() {
                    return self.give_up(what, now, reported).await;
                }
                if spoken.elapsed() >= SILENCE {
                    self.report_waiting(&now);
                    spoken = Instant::now();
                }
            }
            self.report_progress(what, &deployments, alone, Progress::UnderWay);
            tokio::time::sleep(LOOK).await;
        }
        Ok(Missing::new())
    }

    /// Reports how many of the user's pods are ready: those of `deployments`, and `alone`
    /// without one. Of the mesh's own only while there are no others.
    fn report_progress(
        &self,
        what: &str,
        deployments: &[Value],
        alone: (usize, usize),
        progress: Progress,
    ) {
        let users = readiness::available(deployments.iter().filter(|one| !is_own(one)));
        let all = readiness::available(deployments);
        let (what, (ready, total)) = match (users.0 + alone.0, users.1 + alone.1) {
            (_, 0) if what == WORKLOADS => ("mesh", all),
            (_, 0) => (what, all),
            users => (what, users),
        };
        let ready = match progress {
            Progress::Complete => total,
            // What is only ready for a moment does not end the line.
            Progress::UnderWay => ready.min(total.saturating_sub(1)),
        };
        self.report.progress(&format!("starting the {what}: pods"), ready, total);
    }

    /// Reports which pods are not ready; without a control plane there is no mesh.
    async fn give_up(&self, what: &str, now: Readiness, mut reported: Reported) -> Result<Missing> {
        let fatal = what == "control plane";
        let mut lines = Vec::new();
        for trouble in now.unready.iter().filter_map(Unready::first).take(LONGEST_LIST) {
            if reported.insert((trouble.pod.clone(), trouble.container.clone())) || fatal {
                lines.push(trouble.message(&self.log(trouble).await));
            }
        }
        if now.unready.is_empty() {
            // There is no pod whose status could say why.
            lines.extend(now.short.iter().take(LONGEST_LIST).cloned());
        }
        if fatal {
            bail!("the control plane did not start:\n{}", lines.join("\n"));
        }
        lines.iter().for_each(|line| self.report.line(line));
        let pods = now.unready.iter().filter_map(Unready::first);
        let missing: Missing = pods.map(|trouble| trouble.pod.clone()).collect();
        let missing = match missing.is_empty() {
            true => vec!["some Deployments have too few pods".to_owned()],
            false => missing,
        };
        self.report.line(&format!("not everything is up: {}", named(&missing)));
        Ok(missing)
    }

    /// Names what is waited for.
    fn report_waiting(&self, now: &Readiness) {
        let troubles: Vec<&Trouble> = now.unready.iter().filter_map(Unready::first).collect();
        let mut lines: Vec<String> =
            troubles.iter().take(LONGEST_LIST).map(|trouble| trouble.message("")).collect();
        if lines.is_empty() {
            lines.extend(now.short.iter().take(LONGEST_LIST).cloned());
        }
        let more = troubles.len().saturating_sub(LONGEST_LIST);
        lines.iter().for_each(|line| self.report.line(&format!("waiting: {line}")));
        if more > 0 {
            self.report.line(&format!("waiting: and {more} more pods"));
        }
    }

    /// Reports containers that need attention at once; whether there were any.
    async fn report_news(&self, pods: &[Unready], reported: &mut Reported) -> bool {
        let mut any = false;
        for trouble in pods.iter().flat_map(|pod| &pod.troubles).filter(|one| one.is_news()) {
            if reported.insert((trouble.pod.clone(), trouble.container.clone())) {
                self.report.line(&trouble.message(&self.log(trouble).await));
                any = true;
            }
        }
        any
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
        let previous = !matches!(trouble.kind, NotReadyReason::Over { .. });
        let query = LogQuery { previous, tail: Some(LOG_LINES), ..LogQuery::default() };
        let mut written = Vec::new();
        // The message names the command that shows the log; it is complete without.
        let _ = self.cluster.logs(&container, &query, &mut written).await;
        String::from_utf8_lossy(&written).into_owned()
    }
}

/// The first pods of a list, for one line.
pub fn named(missing: &Missing) -> String {
    let first: Vec<&str> = missing.iter().take(LONGEST_LIST).map(String::as_str).collect();
    match missing.len().saturating_sub(LONGEST_LIST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Whether an object is of the mesh or the cluster itself.
fn is_own(object: &Value) -> bool {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    ["istio-system", "kube-system"].contains(&namespace)
}

async fn objects(cluster: &Cluster, resources: &Resources, word: &str) -> Result<Vec<Value>> {
    let query = Query {
        words: vec![word.to_owned()],
        scope: NamespaceScope::All,
        labels: None,
        fields: None,
    };
    let found = cluster.objects(&query.targets(resources)?, &query).await?;
    Ok(found.into_iter().map(|(_, object)| object).collect())
}
