//! CronJob → Jobs, at the times of its schedule.

use serde_json::{Value, json};

use crate::{job, object, pods, schedule, time, write::Write};

/// Times that have been missed and are looked at; of them only the latest counts.
const MISSED: usize = 100;

/// What a CronJob and its Jobs are to become; `jobs` are those of its namespace.
pub fn step(cron: &Value, jobs: &[&Value], now: &str) -> Vec<Write> {
    if object::is_terminating(cron) {
        return Vec::new();
    }
    let own: Vec<&Value> =
        jobs.iter().copied().filter(|job| object::is_controlled_by(job, cron)).collect();
    let (ended, active): (Vec<&Value>, Vec<&Value>) =
        own.into_iter().partition(|one| job::end(one).is_some());
    let mut writes = outdated(cron, &ended);
    let mut status = json!({});
    for field in ["lastScheduleTime", "lastSuccessfulTime"] {
        if cron["status"][field].is_string() {
            status[field] = cron["status"][field].clone();
        }
    }
    if let Some(last) =
        ended.iter().filter_map(|job| job["status"]["completionTime"].as_str()).max()
    {
        status["lastSuccessfulTime"] = last.into();
    }
    let policy = cron["spec"]["concurrencyPolicy"].as_str().unwrap_or("Allow");
    if let Some(due) = due(cron, now) {
        if policy == "Replace" {
            writes.extend(active.iter().map(|job| Write::Delete((*job).clone())));
        }
        if policy != "Forbid" || active.is_empty() {
            writes.push(Write::Create(new_job(cron, due)));
            status["lastScheduleTime"] = now.into();
        }
    }
    if !active.is_empty() {
        let reference = |one: &&Value| {
            json!({"kind": "Job", "apiVersion": "batch/v1", "name": object::name(one),
                   "namespace": object::namespace(one), "uid": object::uid(one)})
        };
        status["active"] = active.iter().map(reference).collect();
    }
    writes.extend(pods::told(cron, status));
    writes
}

/// The latest time at which a Job should have begun and did not.
fn due(cron: &Value, now: &str) -> Option<i64> {
    let spec = &cron["spec"];
    if spec["suspend"] == true {
        return None;
    }
    let schedule = schedule::parse(spec["schedule"].as_str()?)?;
    let now = time::seconds(now)?;
    let last = cron["status"]["lastScheduleTime"].as_str();
    let mut since = time::seconds(last.or(cron["metadata"]["creationTimestamp"].as_str())?)?;
    let mut found = None;
    for _ in 0..MISSED {
        match schedule.next(since).filter(|next| *next <= now) {
            Some(next) => (since, found) = (next, Some(next)),
            None => break,
        }
    }
    let deadline = spec["startingDeadlineSeconds"].as_i64();
    found.filter(|due| deadline.is_none_or(|deadline| now - due <= deadline))
}

fn new_job(cron: &Value, due: i64) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut metadata = template["metadata"].clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["name"] = format!("{}-{}", object::name(cron), due / 60).into();
    metadata["namespace"] = object::namespace(cron).into();
    metadata["ownerReferences"] = json!([object::controller_reference(cron)]);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}

/// Ended Jobs beyond those that are to be kept, the oldest first.
fn outdated(cron: &Value, ended: &[&Value]) -> Vec<Write> {
    let mut writes = Vec::new();
    for (kind, field, usual) in
        [("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)]
    {
        let kept = cron["spec"][field].as_u64().unwrap_or(usual);
        let mut all: Vec<&&Value> =
            ended.iter().filter(|one| job::end(one) == Some(kind)).collect();
        all.sort_by_key(|one| one["status"]["startTime"].as_str().unwrap_or_default().to_owned());
        let surplus = all.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
        writes.extend(all.into_iter().take(surplus).map(|one| Write::Delete((*one).clone())));
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(spec: Value) -> Value {
        let mut cron = json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "tick", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:30Z"},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {}}}}});
        for (field, value) in spec.as_object().unwrap() {
            cron["spec"][field] = value.clone();
        }
        cron
    }

    fn run(cron: &Value, jobs: &[&Value], now: &str) -> String {
        let said = step(cron, jobs, now).into_iter().filter_map(|write| match write {
            Write::Create(job) => Some(format!("create {}", object::name(&job))),
            Write::Delete(job) => Some(format!("delete {}", object::name(&job))),
            _ => None,
        });
        said.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_job_begins_when_it_is_due() {
        let cron = cron(json!({}));
        assert_eq!(run(&cron, &[], "2026-01-01T00:00:59Z"), "");
        let minute = time::seconds("2026-01-01T00:01:00Z").unwrap() / 60;
        assert_eq!(run(&cron, &[], "2026-01-01T00:01:05Z"), format!("create tick-{minute}"));
        // Of those that were missed only the latest is made up for.
        assert_eq!(run(&cron, &[], "2026-01-01T00:09:05Z"), format!("create tick-{}", minute + 8));
        let mut done = cron.clone();
        done["status"]["lastScheduleTime"] = "2026-01-01T00:01:05Z".into();
        assert_eq!(run(&done, &[], "2026-01-01T00:01:40Z"), "");
    }

    #[test]
    fn what_runs_already_counts() {
        let job = new_job(&cron(json!({})), 0);
        let now = "2026-01-01T00:01:05Z";
        assert_eq!(run(&cron(json!({"concurrencyPolicy": "Forbid"})), &[&job], now), "");
        let replaced = run(&cron(json!({"concurrencyPolicy": "Replace"})), &[&job], now);
        assert!(replaced.starts_with("delete tick-0, create tick-"), "{replaced}");
        assert_eq!(run(&cron(json!({"suspend": true})), &[], now), "");
        let mut done = job.clone();
        done["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        let none = cron(json!({"suspend": true, "successfulJobsHistoryLimit": 0}));
        assert_eq!(run(&none, &[&done], now), "delete tick-0");
    }
}
