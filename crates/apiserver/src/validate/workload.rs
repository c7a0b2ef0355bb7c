//! What Deployments and other makers of pods have to be.

use serde_json::Value;
use weft_controllers::object::items;

use super::{causes::Causes, metadata, pod};

/// Checks a maker of pods of some kind.
pub fn check(kind: &str, object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]
    {
        causes.not_negative(format!("spec.{field}"), &spec[field]);
    }
    selector(kind, spec, causes);
    template(&spec["template"], "spec.template", causes);
    let pod = &spec["template"]["spec"];
    causes.one_of("spec.template.spec.restartPolicy", &pod["restartPolicy"], &["Always"]);
    if !pod["activeDeadlineSeconds"].is_null() {
        let message = format!("activeDeadlineSeconds in {kind} is not Supported");
        causes.forbidden("spec.template.spec.activeDeadlineSeconds", &message);
    }
    match kind {
        "Deployment" => strategy(&spec["strategy"], spec, causes),
        "StatefulSet" => {
            let policies = ["OrderedReady", "Parallel"];
            causes.one_of("spec.podManagementPolicy", &spec["podManagementPolicy"], &policies);
            let kinds = ["RollingUpdate", "OnDelete"];
            causes.one_of("spec.updateStrategy.type", &spec["updateStrategy"]["type"], &kinds);
        }
        "DaemonSet" => {
            let kinds = ["RollingUpdate", "OnDelete"];
            causes.one_of("spec.updateStrategy.type", &spec["updateStrategy"]["type"], &kinds);
        }
        _ => {}
    }
}

/// Checks a Job, or the template of one.
pub fn job(spec: &Value, path: &str, causes: &mut Causes) {
    let field = |name: &str| format!("{path}.{name}");
    for name in [
        "parallelism",
        "completions",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "activeDeadlineSeconds",
    ] {
        causes.not_negative(field(name), &spec[name]);
    }
    template(&spec["template"], &field("template"), causes);
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if policy == "Always" {
        let field = field("template.spec.restartPolicy");
        causes.required(field, "valid values: \"OnFailure\", \"Never\"");
    }
}

/// Checks a CronJob.
pub fn cron_job(spec: &Value, causes: &mut Causes) {
    match spec["schedule"].as_str() {
        None | Some("") => causes.required("spec.schedule", ""),
        Some(text) if weft_controllers::schedule::parse(text).is_none() => {
            let rule =
                "expected five fields, or one of @hourly, @daily, @weekly, @monthly, @yearly";
            causes.invalid("spec.schedule", &spec["schedule"], rule);
        }
        Some(_) => {}
    }
    let policies = ["Allow", "Forbid", "Replace"];
    causes.one_of("spec.concurrencyPolicy", &spec["concurrencyPolicy"], &policies);
    job(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", causes);
}

fn selector(kind: &str, spec: &Value, causes: &mut Causes) {
    let selector = &spec["selector"];
    let labels = &spec["template"]["metadata"]["labels"];
    if !selector.is_object() {
        causes.required("spec.selector", "");
        return;
    }
    metadata::selector(selector, "spec.selector", causes);
    let has_labels = selector["matchLabels"].as_object().is_some_and(|labels| !labels.is_empty());
    if !has_labels && items(&selector["matchExpressions"]).next().is_none() {
        let kind = kind.to_lowercase();
        let rule = format!("empty selector is invalid for {kind}");
        causes.invalid("spec.selector", selector, &rule);
    } else if !weft_api::selector::matches(selector, labels) {
        let rule = "`selector` does not match template `labels`";
        causes.invalid("spec.template.metadata.labels", labels, rule);
    }
}

/// Checks the template of a pod.
fn template(template: &Value, path: &str, causes: &mut Causes) {
    let metadata = &template["metadata"];
    metadata::labels(&metadata["labels"], &format!("{path}.metadata.labels"), causes);
    metadata::annotations(
        &metadata["annotations"],
        &format!("{path}.metadata.annotations"),
        causes,
    );
    pod::spec(&template["spec"], &format!("{path}.spec"), causes);
}

fn strategy(strategy: &Value, spec: &Value, causes: &mut Causes) {
    const PATH: &str = "spec.strategy";
    causes.one_of(format!("{PATH}.type"), &strategy["type"], &["Recreate", "RollingUpdate"]);
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "Recreate" && rolling.is_object() {
        let message = "may not be specified when strategy `type` is 'Recreate'";
        causes.forbidden(format!("{PATH}.rollingUpdate"), message);
    }
    let mut nothing = 0;
    for name in ["maxUnavailable", "maxSurge"] {
        let (value, field) = (&rolling[name], format!("{PATH}.rollingUpdate.{name}"));
        causes.not_negative(field.clone(), value);
        if let Some(text) = value.as_str() {
            let share = text.strip_suffix('%').and_then(|share| share.parse::<u32>().ok());
            match share {
                None => {
                    let rule = "a valid percent string must be a numeric string followed by an \
                                ending '%' (e.g. '1%',  or '93%', regex used for validation is \
                                '[0-9]+%')";
                    causes.invalid(field, value, rule);
                }
                Some(share) if share > 100 && name == "maxUnavailable" => {
                    causes.invalid(field, value, "must not be greater than 100%");
                }
                Some(_) => {}
            }
        }
        nothing += usize::from(value == 0 || value == "0%");
    }
    if nothing == 2 {
        let field = format!("{PATH}.rollingUpdate.maxUnavailable");
        causes.invalid(field, &rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0");
    }
    let (deadline, ready) = (&spec["progressDeadlineSeconds"], &spec["minReadySeconds"]);
    if deadline.as_i64().is_some_and(|deadline| deadline <= ready.as_i64().unwrap_or(0)) {
        let rule = "must be greater than minReadySeconds";
        causes.invalid("spec.progressDeadlineSeconds", deadline, rule);
    }
}
