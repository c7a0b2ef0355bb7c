//! Whether pods are ready, and why those that are not are not.
//!
//! Pure: objects come in as the API has them, the time is an argument.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

/// A container that has crashed counts as running again after a run that is this much
/// longer than the one before, or the next crash could be a moment away.
const MARGIN: Duration = Duration::from_secs(2);
/// After so many crashes in a row the next run is not waited for.
const HOPELESS: u64 = 3;
/// The reason that all containers of a pod have when the pod itself cannot be made.
const SANDBOX: &str = "FailedCreatePodSandBox";
/// Reasons for which a container will never be started.
const FINAL: [&str; 2] = ["ErrImagePull", SANDBOX];

/// The Deployments and pods of a mesh at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// How many pods of Deployments are available.
    pub available: usize,
    /// How many pods the Deployments ask for.
    pub wanted: usize,
    /// The pods that are not ready.
    pub unready: Vec<Unready>,
    /// A message for each Deployment that has too few pods.
    pub short: Vec<String>,
}

/// A pod that is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// Why; never empty.
    pub troubles: Vec<Trouble>,
    /// Whether a Deployment counts it.
    pub is_owned: bool,
}

impl Unready {
    /// The first container that is not ready.
    pub fn first(&self) -> Option<&Trouble> {
        self.troubles.first()
    }
}

impl Readiness {
    /// What `deployments` and `pods` are at `now`.
    pub fn of(deployments: &[Value], pods: &[Value], now: Timestamp) -> Self {
        let (available, wanted) = available(deployments);
        let unready = pods.iter().filter(|pod| is_wanted(pod)).map(|pod| Unready {
            troubles: troubles(pod, now),
            is_owned: !pod["metadata"]["ownerReferences"].is_null(),
        });
        Self {
            available,
            wanted,
            unready: unready.filter(|pod| !pod.troubles.is_empty()).collect(),
            short: deployments.iter().filter_map(short).collect(),
        }
    }

    /// Whether everything is ready, and no container is between two crashes.
    pub fn is_complete(&self) -> bool {
        self.available >= self.wanted && self.wanted > 0 && self.unready.is_empty()
    }

    /// Whether everything that is not ready never will be.
    pub fn is_hopeless(&self) -> bool {
        let missing = self.wanted.saturating_sub(self.available);
        self.wanted > 0
            && !self.unready.is_empty()
            && self.unready.iter().all(|pod| pod.troubles.iter().any(Trouble::is_hopeless))
            && self.unready.iter().filter(|pod| pod.is_owned).count() >= missing
    }
}

/// How many pods of `deployments` are available, and how many they ask for.
pub fn available<'d>(deployments: impl IntoIterator<Item = &'d Value>) -> (usize, usize) {
    let counts = deployments.into_iter().map(count);
    counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// How many of `pods` that no ReplicaSet counts are ready, and how many these are.
pub fn ready_alone<'p>(pods: impl IntoIterator<Item = &'p Value>) -> (usize, usize) {
    let counted = |pod: &&Value| {
        let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.any(|owner| owner["kind"] == "ReplicaSet")
    };
    let alone = pods.into_iter().filter(|pod| is_wanted(pod) && !counted(pod));
    alone.fold((0, 0), |(ready, all), pod| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let is_ready = conditions.any(|one| one["type"] == "Ready" && one["status"] == "True");
        (ready + usize::from(is_ready), all + 1)
    })
}

/// The message about a Deployment with too few pods.
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

/// How many pods of one Deployment are available, and how many it asks for.
fn count(deployment: &Value) -> (usize, usize) {
    let number = |value: &Value, unset: u64| {
        usize::try_from(value.as_u64().unwrap_or(unset)).unwrap_or(usize::MAX)
    };
    let wanted = number(&deployment["spec"]["replicas"], 1);
    let seen = deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"];
    let available = number(&deployment["status"]["availableReplicas"], 0);
    (if seen { available.min(wanted) } else { 0 }, wanted)
}

/// Why a container is not ready, or is not expected to stay so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// The cause.
    pub kind: NotReadyReason,
}

/// Why a container is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReadyReason {
    /// It cannot be started yet: reason and message of its status.
    Held(String, String),
    /// It ends soon after each start.
    Crashing {
        /// How the last run ended.
        how: String,
        /// How often it was started again.
        restarts: u64,
    },
    /// It has ended and is not started again.
    Over {
        /// How the run ended.
        how: String,
    },
    /// It runs, and its readiness probe does not succeed.
    Unready,
    /// It waits for the containers before it.
    Waiting,
}

impl Trouble {
    /// Whether waiting will not help. A container that lacks an object may still start.
    pub fn is_hopeless(&self) -> bool {
        match &self.kind {
            NotReadyReason::Held(reason, _) => FINAL.contains(&reason.as_str()),
            NotReadyReason::Crashing { restarts, .. } => *restarts >= HOPELESS,
            NotReadyReason::Over { .. } => true,
            NotReadyReason::Unready | NotReadyReason::Waiting => false,
        }
    }

    /// Whether it is reported at once, while other pods are still waited for.
    pub fn is_news(&self) -> bool {
        self.is_hopeless() || matches!(self.kind, NotReadyReason::Crashing { .. })
    }

    /// Whether the container's log may show the cause.
    pub fn has_log(&self) -> bool {
        matches!(self.kind, NotReadyReason::Crashing { .. } | NotReadyReason::Over { .. })
    }

    /// The message, with the next step; `log` is the end of a crashed container's log.
    pub fn message(&self, log: &str) -> String {
        let Self { namespace, pod, container, kind } = self;
        let place = match namespace.as_str() {
            "default" => String::new(),
            other => format!(" -n {other}"),
        };
        let who = format!("pod {pod}, container {container}");
        let said: String = log.lines().map(|line| format!("\n  | {line}")).collect();
        match kind {
            NotReadyReason::Held(reason, message) => format!("{who}: {reason}: {message}"),
            NotReadyReason::Unready => {
                format!("{who}: runs, but is not ready; see weft describe pod {pod}{place}")
            }
            NotReadyReason::Waiting => {
                format!("{who}: has not been started; see weft describe pod {pod}{place}")
            }
            NotReadyReason::Crashing { how, restarts } => {
                let times = if *restarts == 1 { "once" } else { &format!("{restarts} times") };
                let more = format!("see weft logs {pod} -c {container} -p{place}");
                format!("{who}: {how}, started again {times}; {more}{said}")
            }
            NotReadyReason::Over { how } => {
                format!("{who}: {how}; see weft logs {pod} -c {container}{place}{said}")
            }
        }
    }
}

/// Whether the pod is meant to run: neither being deleted nor completed.
fn is_wanted(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    pod["metadata"]["deletionTimestamp"].is_null() && phase != "Succeeded"
}

/// Why `pod` is not ready, container by container.
fn troubles(pod: &Value, now: Timestamp) -> Vec<Trouble> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    let statuses = |field: &str| pod["status"][field].as_array().into_iter().flatten();
    if statuses("containerStatuses").next().is_none() {
        let (namespace, pod) = (text("namespace"), text("name"));
        return vec![Trouble {
            namespace,
            pod,
            container: "?".to_owned(),
            kind: NotReadyReason::Waiting,
        }];
    }
    let all = statuses("initContainerStatuses").chain(statuses("containerStatuses"));
    let troubles = all.filter_map(|status| {
        let container = status["name"].as_str()?.to_owned();
        let kind = trouble(status, now)?;
        Some(Trouble { namespace: text("namespace"), pod: text("name"), container, kind })
    });
    let mut troubles: Vec<Trouble> = troubles.collect();
    // What holds the pod holds all of its containers, and is said once.
    let mut held = BTreeSet::new();
    troubles.retain(|one| match &one.kind {
        NotReadyReason::Held(reason, message) if reason == SANDBOX => held.insert(message.clone()),
        _ => true,
    });
    troubles
}

fn trouble(status: &Value, now: Timestamp) -> Option<NotReadyReason> {
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    let restarts = status["restartCount"].as_u64().unwrap_or_default();
    if let Some(reason) = state["waiting"]["reason"].as_str() {
        let message = state["waiting"]["message"].as_str().unwrap_or_default();
        return Some(match reason {
            "CrashLoopBackOff" => NotReadyReason::Crashing { how: how(last), restarts },
            "PodInitializing" | "ContainerCreating" if message.is_empty() => {
                NotReadyReason::Waiting
            }
            _ => NotReadyReason::Held(reason.to_owned(), message.to_owned()),
        });
    }
    let ended = &state["terminated"];
    if !ended.is_null() {
        let well = ended["exitCode"] == 0;
        return (!well).then(|| NotReadyReason::Over { how: how(ended) });
    }
    if !last.is_null() && !has_settled(&state["running"], last, now) {
        return Some(NotReadyReason::Crashing { how: how(last), restarts });
    }
    (status["ready"] != true).then_some(NotReadyReason::Unready)
}

/// Whether the current run is longer than the last one by the margin.
fn has_settled(running: &Value, last: &Value, now: Timestamp) -> bool {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let lasted = |from: &Value, until: Option<Timestamp>| {
        let (from, until) = (time(from)?, until?);
        Some(until.duration_since(from))
    };
    let before = lasted(&last["startedAt"], time(&last["finishedAt"])).unwrap_or_default();
    let wanted = before.saturating_add(jiff::SignedDuration::try_from(MARGIN).unwrap_or_default());
    lasted(&running["startedAt"], Some(now)).is_some_and(|run| run >= wanted)
}

/// How a run ended.
fn how(ended: &Value) -> String {
    let message = ended["message"].as_str().filter(|text| !text.is_empty());
    let why = message.map(|text| format!(" ({text})")).unwrap_or_default();
    match (ended["signal"].as_i64(), ended["exitCode"].as_i64()) {
        (Some(signal), _) => format!("killed by {}{why}", name(signal)),
        (None, Some(code)) => format!("exited with code {code}{why}"),
        (None, None) => format!("ended{why}"),
    }
}

/// The name of a signal.
fn name(signal: i64) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
