//! Whether pods stand, and why those that do not do not.
//!
//! Pure: pods come in as the API has them, the time is an argument.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// A container that has crashed counts as up again after a run that is this much
/// longer than the one before, or the next crash could be a moment away.
const MARGIN: Duration = Duration::from_secs(2);
/// After so many crashes in a row nobody waits for the next run any more.
const HOPELESS: u64 = 3;
/// What keeps a container from being started for good.
const FINAL: [&str; 2] = ["ErrImagePull", "FailedCreatePodSandBox"];

/// Why a container is not up, or not for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// What is wrong.
    pub kind: Kind,
}

/// What is wrong with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It cannot be started, for this reason and in these words.
    Held(String, String),
    /// It ends soon after each start.
    Crashing {
        /// How it ended last.
        how: String,
        /// How often it has been started again.
        restarts: u64,
    },
    /// It has ended, and is not started again.
    Over {
        /// How it ended.
        how: String,
    },
    /// It runs, and its probe does not succeed.
    Unready,
    /// It waits for what is before it.
    Waiting,
}

impl Trouble {
    /// Whether it will not get better by waiting; what lacks an object may.
    pub fn is_hopeless(&self) -> bool {
        match &self.kind {
            Kind::Held(reason, _) => FINAL.contains(&reason.as_str()),
            Kind::Crashing { restarts, .. } => *restarts >= HOPELESS,
            Kind::Over { .. } => true,
            Kind::Unready | Kind::Waiting => false,
        }
    }

    /// Whether it is worth a word before everything else has been waited for.
    pub fn is_news(&self) -> bool {
        self.is_hopeless() || matches!(self.kind, Kind::Crashing { .. })
    }

    /// Whether the container's log says more.
    pub fn has_log(&self) -> bool {
        matches!(self.kind, Kind::Crashing { .. } | Kind::Over { .. })
    }

    /// For people, with the next step; `log` is the end of what a crashed container
    /// wrote.
    pub fn told(&self, log: &str) -> String {
        let Self { namespace, pod, container, kind } = self;
        let place = match namespace.as_str() {
            "default" => String::new(),
            other => format!(" -n {other}"),
        };
        let who = format!("pod {pod}, container {container}");
        let said: String = log.lines().map(|line| format!("\n  | {line}")).collect();
        match kind {
            Kind::Held(reason, message) => format!("{who}: {reason}: {message}"),
            Kind::Unready => {
                format!("{who}: runs, but is not ready; see weft describe pod {pod}{place}")
            }
            Kind::Waiting => {
                format!("{who}: has not been started; see weft describe pod {pod}{place}")
            }
            Kind::Crashing { how, restarts } => {
                let times = if *restarts == 1 { "once" } else { &format!("{restarts} times") };
                let more = format!("see weft logs {pod} -c {container} -p{place}");
                format!("{who}: {how}, started again {times}; {more}{said}")
            }
            Kind::Over { how } => {
                format!("{who}: {how}; see weft logs {pod} -c {container}{place}{said}")
            }
        }
    }
}

/// Whether the pod is one that somebody wants to run and that nobody ended.
pub fn is_wanted(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    pod["metadata"]["deletionTimestamp"].is_null() && phase != "Succeeded"
}

/// Why `pod` is not up, or not for good, container by container.
pub fn troubles(pod: &Value, now: Timestamp) -> Vec<Trouble> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    let statuses = |field: &str| pod["status"][field].as_array().into_iter().flatten();
    if statuses("containerStatuses").next().is_none() {
        let (namespace, pod) = (text("namespace"), text("name"));
        return vec![Trouble { namespace, pod, container: "?".to_owned(), kind: Kind::Waiting }];
    }
    statuses("initContainerStatuses")
        .chain(statuses("containerStatuses"))
        .filter_map(|status| {
            let container = status["name"].as_str()?.to_owned();
            let kind = trouble(status, now)?;
            Some(Trouble { namespace: text("namespace"), pod: text("name"), container, kind })
        })
        .collect()
}

fn trouble(status: &Value, now: Timestamp) -> Option<Kind> {
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    let restarts = status["restartCount"].as_u64().unwrap_or_default();
    if let Some(reason) = state["waiting"]["reason"].as_str() {
        let message = state["waiting"]["message"].as_str().unwrap_or_default();
        return Some(match reason {
            "CrashLoopBackOff" => Kind::Crashing { how: how(last), restarts },
            "PodInitializing" | "ContainerCreating" if message.is_empty() => Kind::Waiting,
            _ => Kind::Held(reason.to_owned(), message.to_owned()),
        });
    }
    let ended = &state["terminated"];
    if !ended.is_null() {
        let well = ended["exitCode"] == 0;
        return (!well).then(|| Kind::Over { how: how(ended) });
    }
    if !last.is_null() && !has_settled(&state["running"], last, now) {
        return Some(Kind::Crashing { how: how(last), restarts });
    }
    (status["ready"] != true).then_some(Kind::Unready)
}

/// Whether this run has lasted long enough after the one that ended.
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

/// How a run ended, for people.
fn how(ended: &Value) -> String {
    let message = ended["message"].as_str().filter(|text| !text.is_empty());
    let why = message.map(|text| format!(" ({text})")).unwrap_or_default();
    match (ended["signal"].as_i64(), ended["exitCode"].as_i64()) {
        (Some(signal), _) => format!("killed by {}{why}", name(signal)),
        (None, Some(code)) => format!("exited with code {code}{why}"),
        (None, None) => format!("ended{why}"),
    }
}

/// What the signals are called that end programs.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUN: &str = "2026-01-01T00:00:10Z";

    /// What is told of a container at ten seconds past the minute; `!` marks what
    /// is not waited for.
    #[track_caller]
    fn check(status: Value, expected: &str) {
        let mut status = status;
        status["name"] = "app".into();
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "status": {"containerStatuses": [status]},
        });
        let told: Vec<String> = troubles(&pod, RUN.parse().unwrap())
            .iter()
            .map(|trouble| {
                let mark = if trouble.is_hopeless() { "! " } else { "" };
                mark.to_owned() + &trouble.told("no config\nbye")
            })
            .collect();
        assert_eq!(told.join("\n"), expected);
    }

    fn ended(code: i32, signal: Option<i32>) -> Value {
        json!({"terminated": {
            "exitCode": code, "signal": signal,
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:03Z",
        }})
    }

    fn running_since(second: u32) -> Value {
        json!({"running": {"startedAt": format!("2026-01-01T00:00:{second:02}Z")}})
    }

    #[test]
    fn who_runs_and_is_ready_stands() {
        check(json!({"ready": true, "state": running_since(9), "lastState": {}}), "");
    }

    #[test]
    fn a_crash_is_told_with_how_it_ended_and_where_its_log_is() {
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
        check(
            json!({"state": back_off, "lastState": ended(3, None), "restartCount": 1}),
            "pod web, container app: exited with code 3, started again once; see weft logs web -c \
             app -p -n shop\n  | no config\n  | bye",
        );
        check(
            json!({"state": back_off, "lastState": ended(139, Some(11)), "restartCount": 3}),
            "! pod web, container app: killed by SIGSEGV, started again 3 times; see weft logs web \
             -c app -p -n shop\n  | no config\n  | bye",
        );
    }

    #[test]
    fn the_moment_between_two_crashes_is_not_standing() {
        let status = |since| {
            json!({
                "ready": true, "restartCount": 1,
                "state": running_since(since), "lastState": ended(1, None),
            })
        };
        // The last run took three seconds.
        check(
            status(6),
            "pod web, container app: exited with code 1, started again once; see weft logs web -c \
             app -p -n shop\n  | no config\n  | bye",
        );
        check(status(5), "");
    }

    #[test]
    fn what_holds_a_container_is_told_in_its_own_words() {
        let waiting = |reason: &str, message: &str| json!({"state": {"waiting": {"reason": reason, "message": message}}, "lastState": {}});
        check(
            waiting("ErrImagePull", "no command is known"),
            "! pod web, container app: ErrImagePull: no command is known",
        );
        check(
            waiting("ContainerCreating", "configmap \"late\" not found"),
            "pod web, container app: ContainerCreating: configmap \"late\" not found",
        );
        check(
            waiting("CreateContainerConfigError", "secret \"late\" not found"),
            "pod web, container app: CreateContainerConfigError: secret \"late\" not found",
        );
        check(
            waiting("PodInitializing", ""),
            "pod web, container app: has not been started; see weft describe pod web -n shop",
        );
        check(
            json!({"ready": false, "state": running_since(1), "lastState": {}}),
            "pod web, container app: runs, but is not ready; see weft describe pod web -n shop",
        );
        check(json!({"state": ended(0, None), "lastState": {}}), "");
        check(
            json!({"state": ended(2, None), "lastState": {}}),
            "! pod web, container app: exited with code 2; see weft logs web -c app -n shop\n  | no \
             config\n  | bye",
        );
    }
}
