//! Job → pods that run until enough of them have succeeded.

use serde_json::{Value, json};

use crate::{
    object,
    pods::{self, Claim},
    time,
    write::Write,
};

/// Labels by which a Job's pods are found, on the pods and in the selector.
const UID: &str = "batch.kubernetes.io/controller-uid";

/// Gives a new Job, which has its uid already, the selector and labels of its pods.
pub fn select(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (uid, name) = (object::uid(job).to_owned(), object::name(job).to_owned());
    job["spec"]["selector"] = json!({"matchLabels": {UID: uid}});
    for (label, value) in [
        (UID, &uid),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("job-name", &name),
    ] {
        job["spec"]["template"]["metadata"]["labels"][label] = value.clone().into();
    }
}

/// Whether a Job has ended, and the condition that says how.
pub fn end(job: &Value) -> Option<&'static str> {
    ["Complete", "Failed"].into_iter().find(|kind| object::is_true(job, kind))
}

/// What a Job and its pods are to become; `pods` are those of its namespace.
pub fn step(
    job: &Value,
    pods: &[&Value],
    now: &str,
    suffix: &mut dyn FnMut() -> String,
) -> Vec<Write> {
    if end(job).is_some() {
        let goes = is_outdated(job, now) && !object::is_terminating(job);
        return goes.then(|| Write::Delete(job.clone())).into_iter().collect();
    }
    let Some(Claim { own, mut writes }) = pods::claim(job, pods) else { return Vec::new() };
    let in_phase =
        |phase: &str| own.iter().filter(|pod| pod["status"]["phase"] == phase).count() as u64;
    let known = |field: &str| job["status"][field].as_u64().unwrap_or(0);
    // Pods that were deleted after their end still count.
    let succeeded = in_phase("Succeeded").max(known("succeeded"));
    let failed = in_phase("Failed").max(known("failed"));
    let active: Vec<&Value> = own
        .iter()
        .copied()
        .filter(|pod| !pods::is_over(pod) && !object::is_terminating(pod))
        .collect();
    let spec = &job["spec"];
    let parallelism = spec["parallelism"].as_u64().unwrap_or(1);
    let completions = spec["completions"].as_u64();
    let is_suspended = spec["suspend"] == true;
    let outcome = outcome(job, (&own, succeeded, failed), now);
    let wanted = match (outcome, is_suspended) {
        (Some(_), _) | (_, true) => 0,
        // Without a number, the first success ends the making of pods.
        (None, false) => match completions {
            Some(completions) => parallelism.min(completions.saturating_sub(succeeded)),
            None if succeeded > 0 => active.len() as u64,
            None => parallelism,
        },
    };
    let has = active.len() as u64;
    for _ in 0..pods::room(&active, wanted.saturating_sub(has)) {
        let name = format!("{}-{}", object::name(job), suffix());
        writes.push(Write::Create(pods::from_template(job, &name)));
    }
    let surplus = usize::try_from(has.saturating_sub(wanted)).unwrap_or(usize::MAX);
    let goes = |pod: &&Value| Write::Delete((*pod).clone());
    writes.extend(active.iter().rev().take(surplus).map(goes));
    let counts = [("active", has.min(wanted)), ("succeeded", succeeded), ("failed", failed)];
    let ready = active.iter().filter(|pod| object::is_true(pod, "Ready")).count();
    writes.extend(pods::told(job, status(job, counts, (outcome, ready, now))));
    writes
}

/// The condition with which a Job ends now.
#[derive(Clone, Copy)]
struct EndCondition {
    /// `Complete` or `Failed`.
    kind: &'static str,
    reason: &'static str,
    message: &'static str,
}

fn outcome(
    job: &Value,
    (own, succeeded, failed): (&[&Value], u64, u64),
    now: &str,
) -> Option<EndCondition> {
    let spec = &job["spec"];
    let is_running = own.iter().any(|pod| !pods::is_over(pod));
    let enough = match spec["completions"].as_u64() {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && !is_running,
    };
    if enough {
        let message = "Reached expected number of succeeded pods";
        return Some(EndCondition { kind: "Complete", reason: "CompletionsReached", message });
    }
    let restarts: u64 = own
        .iter()
        .flat_map(|pod| object::items(&pod["status"]["containerStatuses"]))
        .filter_map(|status| status["restartCount"].as_u64())
        .sum();
    if failed + restarts > spec["backoffLimit"].as_u64().unwrap_or(6) {
        let message = "Job has reached the specified backoff limit";
        return Some(EndCondition { kind: "Failed", reason: "BackoffLimitExceeded", message });
    }
    let begun = job["status"]["startTime"].as_str().and_then(time::seconds);
    let late = spec["activeDeadlineSeconds"].as_i64().zip(begun).zip(time::seconds(now));
    late.is_some_and(|((limit, begun), now)| now - begun >= limit).then_some(EndCondition {
        kind: "Failed",
        reason: "DeadlineExceeded",
        message: "Job was active longer than specified deadline",
    })
}

fn status(
    job: &Value,
    counts: [(&str, u64); 3],
    (outcome, ready, now): (Option<EndCondition>, usize, &str),
) -> Value {
    let mut status = job["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    if status["startTime"].is_null() && job["spec"]["suspend"] != true {
        status["startTime"] = now.into();
    }
    for (field, count) in counts {
        match count {
            0 => {
                status.as_object_mut().map(|status| status.remove(field));
            }
            count => status[field] = count.into(),
        }
    }
    status["ready"] = ready.into();
    if let Some(EndCondition { kind, reason, message }) = outcome {
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "reason": reason, "message": message,
                   "lastProbeTime": now, "lastTransitionTime": now})
        };
        let first = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        status["conditions"] = json!([condition(first), condition(kind)]);
        if kind == "Complete" {
            status["completionTime"] = now.into();
        }
        status["ready"] = 0.into();
    }
    status
}

/// Whether a Job that has ended has been kept for as long as it wants.
fn is_outdated(job: &Value, now: &str) -> bool {
    let ended = end(job)
        .and_then(|kind| object::condition(job, kind))
        .and_then(|condition| condition["lastTransitionTime"].as_str())
        .and_then(time::seconds);
    let kept = job["spec"]["ttlSecondsAfterFinished"].as_i64();
    kept.zip(ended).zip(time::seconds(now)).is_some_and(|((kept, ended), now)| now - ended >= kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(spec: Value) -> Value {
        let mut job = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "sum", "namespace": "n", "uid": "u"}, "spec": spec});
        job["spec"]["template"] = json!({"metadata": {"labels": {}}, "spec": {"containers": []}});
        select(&mut job);
        job
    }

    /// Runs a step with pods in these phases; gives the writes and the job afterwards.
    fn run(job: &mut Value, phases: &[&str]) -> String {
        let pods: Vec<Value> = phases
            .iter()
            .enumerate()
            .map(|(index, phase)| {
                let mut pod = pods::from_template(job, &format!("sum-{index}"));
                pod["status"] = json!({"phase": phase});
                pod
            })
            .collect();
        let pods: Vec<&Value> = pods.iter().collect();
        let mut said = Vec::new();
        for write in step(job, &pods, "2026-01-01T00:00:00Z", &mut || "abcde".into()) {
            match write {
                Write::Create(pod) => said.push(format!("create {}", object::name(&pod))),
                Write::Delete(pod) => said.push(format!("delete {}", object::name(&pod))),
                Write::Status(told) => job["status"] = told["status"].clone(),
                other => said.push(format!("{other:?}")),
            }
        }
        said.extend(end(job).map(str::to_owned));
        said.join(", ")
    }

    #[test]
    fn a_job_ends_when_enough_pods_have_succeeded() {
        let mut one = job(json!({"completions": 1, "parallelism": 1}));
        assert_eq!(run(&mut one, &[]), "create sum-abcde");
        assert_eq!(run(&mut one, &["Running"]), "");
        assert_eq!(run(&mut one, &["Succeeded"]), "Complete");
        let mut two = job(json!({"completions": 2, "parallelism": 2}));
        assert_eq!(run(&mut two, &["Succeeded"]), "create sum-abcde");
        assert_eq!(run(&mut two, &["Succeeded", "Succeeded"]), "Complete");
    }

    #[test]
    fn many_pods_at_once_are_made_in_bursts() {
        let many = job(json!({"completions": u64::MAX, "parallelism": u64::MAX}));
        let writes = step(&many, &[], "2026-01-01T00:00:00Z", &mut || "a".into());
        assert_eq!(writes.iter().filter(|write| matches!(write, Write::Create(_))).count(), 500);
    }

    #[test]
    fn a_job_fails_after_its_limit() {
        let mut one = job(json!({"completions": 1, "parallelism": 1, "backoffLimit": 1}));
        assert_eq!(run(&mut one, &["Failed"]), "create sum-abcde");
        assert_eq!(run(&mut one, &["Failed", "Failed"]), "Failed");
        assert_eq!(object::condition(&one, "Failed").unwrap()["reason"], "BackoffLimitExceeded");
    }

    #[test]
    fn an_ended_job_goes_when_its_time_is_over() {
        let mut one =
            job(json!({"completions": 1, "parallelism": 1, "ttlSecondsAfterFinished": 0}));
        run(&mut one, &["Succeeded"]);
        assert_eq!(run(&mut one, &["Succeeded"]), "delete sum, Complete");
    }
}
