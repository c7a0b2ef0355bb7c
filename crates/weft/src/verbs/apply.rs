//! `weft apply`: creates and updates objects from files, and waits until proxies have
//! taken the changes over.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{StreamExt, stream};
use serde_json::Value;
use weft_api::{Kind, kind::Effect};
use weft_cluster::client::{
    Applied, ApplyOutcome, ApplyRefusal, ClientError, Cluster, Resources, all_acknowledged,
    with_last_applied,
};
use weft_explain::{Circumstances, Workloads, check, problems};
use weft_manifest::{Document, waves};

use super::{ChosenCluster, NamespaceArgs, runtime};
use crate::{
    documents,
    terminal::{note, print},
};

/// How many objects are sent at once.
const AT_ONCE: usize = 8;
/// How long proxies may take to take a change over.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// Where the mesh's own settings are.
const ROOT_NAMESPACE: &str = "istio-system";

/// Creates and updates objects from files; reports problems by file, line and column.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Files or folders with manifests, `-` for standard input
    #[arg(short, long, required = true, value_name = "PATH")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    place: NamespaceArgs,
    /// Do not wait until the proxies have taken the changes over
    #[arg(long)]
    no_wait: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let documents = documents::read(&arguments.filename)?;
    runtime()?.block_on(apply(arguments, &documents, chosen))
}

// Outcomes are printed in the order of the files, not of the answers.
async fn apply(
    arguments: &Arguments,
    documents: &[Document],
    chosen: ChosenCluster<'_>,
) -> Result<ExitCode> {
    let cluster = chosen.connect().await?;
    let namespace = arguments.place.namespace(&cluster);
    let mut sound = Vec::new();
    let mut refused = false;
    for document in documents {
        let found = check(document);
        found.lines.iter().for_each(note);
        refused |= found.refused;
        if let (false, Some(value)) = (found.refused, &document.value) {
            sound.push(One { document, value, reported: found.lines });
        }
    }
    let mut changed = Vec::new();
    let mut taken = false;
    for wave in waves(sound, |one| one.value["kind"].as_str().unwrap_or_default()) {
        // What a definition adds is served from the next wave on.
        let resources = cluster.resources().await?;
        let mut applying = stream::iter(&wave)
            .map(|one| send(&cluster, &resources, (one, &namespace)))
            .buffered(AT_ONCE);
        while let Some((one, outcome)) = applying.next().await {
            match outcome {
                Ok(applied) => {
                    for warning in applied.new_warnings(&one.reported) {
                        note(format_args!("{}: warning: {warning}", one.document.place()));
                    }
                    print(&format!("{} {}\n", applied.name, applied.outcome.word()))?;
                    taken |= concerns_traffic(&applied.object);
                    changed.extend(of_interest(applied));
                }
                Err(error) => {
                    let refusal = ApplyRefusal::of(one.value, &error, &resources);
                    note(format_args!("{}: {refusal}", one.document.place()));
                    refused |= refusal.is_error;
                }
            }
        }
    }
    if taken {
        let workloads = Workloads::after(documents.iter());
        match together(&cluster).await {
            Ok((objects, domain)) => {
                let known = Circumstances { namespace: &namespace, domain: &domain, workloads };
                let found = problems(objects, documents.iter(), known);
                found.lines.iter().for_each(note);
                refused |= found.has_errors;
            }
            // Who may write in one namespace need not be allowed to read all others.
            Err(error) => {
                note(format_args!(
                    "warning: the objects are not checked together with others: {error:#}"
                ));
            }
        }
    }
    if !arguments.no_wait && !changed.is_empty() {
        wait(&cluster, &changed).await?;
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// An object of a file, and what has been reported about it.
struct One<'a> {
    document: &'a Document,
    value: &'a Value,
    reported: Vec<String>,
}

/// All objects that decide something about traffic, and the domain of the cluster's names.
async fn together(cluster: &Cluster) -> Result<(Vec<Value>, String)> {
    let resources = cluster.resources().await?;
    let (settings, _) = cluster.injection_settings(ROOT_NAMESPACE).await?;
    Ok((cluster.deciding_objects(&resources).await?, settings.cluster_domain))
}

async fn send<'a>(
    cluster: &Cluster,
    resources: &Resources,
    (one, namespace): (&'a One<'a>, &str),
) -> (&'a One<'a>, Result<Applied, ClientError>) {
    (one, cluster.apply(resources, &with_last_applied(one.value), namespace).await)
}

/// The object, when it has changed and proxies have to take it over.
fn of_interest(applied: Applied) -> Option<Value> {
    let wanted = applied.outcome != ApplyOutcome::Unchanged && concerns_traffic(&applied.object);
    wanted.then_some(applied.object)
}

fn concerns_traffic(object: &Value) -> bool {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let Some(kind) = Kind::of(text("apiVersion"), text("kind")) else { return false };
    // Of ConfigMaps the control plane looks at those beside it.
    let is_seen = kind != Kind::ConfigMap || object["metadata"]["namespace"] == "istio-system";
    is_seen && kind.effect() == Effect::Configures
}

/// Objects that the control plane is asked about at once, each on a connection.
const ASKED_AT_ONCE: usize = 256;

/// Waits until the proxies concerned have taken the changes over, and reports it.
async fn wait(cluster: &Cluster, changed: &[Value]) -> Result<()> {
    let begun = Instant::now();
    // A mesh whose control plane is down takes the change over later.
    let control_plane = match cluster.control_plane().await {
        Ok(Some(control_plane)) => control_plane,
        Ok(None) => return Ok(()),
        Err(error) => {
            note(format_args!("warning: cannot tell whether proxies use the change: {error}"));
            return Ok(());
        }
    };
    let asking = changed
        .iter()
        .map(|object| cluster.acknowledged(&control_plane, object, ACKNOWLEDGED_WITHIN));
    let answers: Vec<_> = stream::iter(asking).buffered(ASKED_AT_ONCE).collect().await;
    let mut proxies = 0;
    let mut all = true;
    for (object, answer) in changed.iter().zip(answers) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").unwrap_or_default();
        let name = format!("{kind}/{}", text("/metadata/name").unwrap_or_default());
        let missing = match answer {
            Ok(answer) => {
                proxies = proxies.max(answer.proxies);
                answer.missing(ACKNOWLEDGED_WITHIN)
            }
            Err(error) => Some(format!("cannot tell whether proxies use the change: {error}")),
        };
        if let Some(missing) = missing {
            all = false;
            note(format_args!("warning: {name}: {missing}"));
        }
    }
    if all {
        note(all_acknowledged(proxies, begun.elapsed()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_control_plane_looks_at_is_waited_for() {
        let of = |version: &str, kind: &str, namespace: &str| {
            let metadata = json!({"namespace": namespace});
            concerns_traffic(&json!({"apiVersion": version, "kind": kind, "metadata": metadata}))
        };
        assert!(of("v1", "Service", "default") && of("v1", "ConfigMap", "istio-system"));
        assert!(!of("v1", "ConfigMap", "default") && !of("apps/v1", "Deployment", "default"));
        assert!(of("networking.istio.io/v1beta1", "Gateway", "default"));
        assert!(!of("gateway.networking.k8s.io/v1", "Gateway", "default"));
    }
}
