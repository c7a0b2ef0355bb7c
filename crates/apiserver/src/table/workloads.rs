//! What makes pods, as rows.

use serde_json::Value;
use weft_controllers::object::items;

use super::{age, aged, joined, name, pairs, text_of};

/// The columns of Deployments.
pub const DEPLOYMENT: &str =
    "Name, Ready, Up-to-date, Available, Age, +Containers, +Images, +Selector";

/// The columns of ReplicaSets.
pub const REPLICA_SET: &str =
    "Name, Desired:integer, Current:integer, Ready:integer, Age, +Containers, +Images, +Selector";

/// The columns of StatefulSets.
pub const STATEFUL_SET: &str = "Name, Ready, Age, +Containers, +Images";

/// The columns of DaemonSets.
pub const DAEMON_SET: &str = "Name, Desired:integer, Current:integer, Ready:integer, \
     Up-to-date:integer, Available:integer, Node Selector, Age, +Containers, +Images, +Selector";

/// The columns of Jobs.
pub const JOB: &str = "Name, Status, Completions, Duration, Age, +Containers, +Images, +Selector";

/// The columns of CronJobs.
pub const CRON_JOB: &str = "Name, Schedule, Timezone, Suspend, Active:integer, Last Schedule, Age";

fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

/// The cells of a Deployment.
pub fn deployment(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let mut cells = vec![
        name(object),
        format!("{}/{wanted}", count(object, "readyReplicas")).into(),
        count(object, "updatedReplicas").into(),
        count(object, "availableReplicas").into(),
        aged(object, now),
    ];
    cells.extend(wide(object));
    cells
}

/// The cells of a ReplicaSet.
pub fn replica_set(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        object["spec"]["replicas"].as_i64().unwrap_or(1).into(),
        count(object, "replicas").into(),
        count(object, "readyReplicas").into(),
        aged(object, now),
    ];
    cells.extend(wide(object));
    cells
}

/// The cells of a StatefulSet.
pub fn stateful_set(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = format!("{}/{wanted}", count(object, "readyReplicas"));
    let [containers, images, _] = wide(object);
    vec![name(object), ready.into(), aged(object, now), containers, images]
}

/// The cells of a DaemonSet.
pub fn daemon_set(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![name(object)];
    cells.extend(counts.map(|field| Value::from(count(object, field))));
    cells.push(pairs(&object["spec"]["template"]["spec"]["nodeSelector"]));
    cells.push(aged(object, now));
    cells.extend(wide(object));
    cells
}

/// The cells of a Job.
pub fn job(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let state = match weft_controllers::job::end(object) {
        Some(end) => end,
        None if spec["suspend"] == true => "Suspended",
        None => "Running",
    };
    let succeeded = count(object, "succeeded");
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64()) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    };
    let end = status["completionTime"].as_str().and_then(|end| end.parse().ok()).unwrap_or(now);
    let duration = status["startTime"]
        .as_str()
        .map_or(String::new(), |_| age(status["startTime"].as_str(), end));
    let mut cells =
        vec![name(object), state.into(), completions.into(), duration.into(), aged(object, now)];
    cells.extend(wide(object));
    cells
}

/// The cells of a CronJob.
pub fn cron_job(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let zone = spec["timeZone"].as_str().unwrap_or("<none>");
    let suspended = if spec["suspend"] == true { "True" } else { "False" };
    let last = match object["status"]["lastScheduleTime"].as_str() {
        Some(last) => age(Some(last), now),
        None => "<none>".to_owned(),
    };
    vec![
        name(object),
        text_of(&spec["schedule"]),
        zone.into(),
        suspended.into(),
        items(&object["status"]["active"]).count().into(),
        last.into(),
        aged(object, now),
    ]
}

fn wide(object: &Value) -> [Value; 3] {
    let containers = &object["spec"]["template"]["spec"]["containers"];
    let texts = |field: &str| {
        let texts = items(containers).filter_map(|one| one[field].as_str()).map(str::to_owned);
        joined(texts.collect::<Vec<_>>(), "<none>")
    };
    [texts("name"), texts("image"), pairs(&object["spec"]["selector"]["matchLabels"])]
}
