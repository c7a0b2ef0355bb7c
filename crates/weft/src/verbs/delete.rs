//! `weft delete`: objects by name, by label, or as files name them.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use clap::ArgAction;
use futures::{StreamExt, stream};
use weft_cluster::client::{Cluster, Deletion, Resource, Resources};

use super::{ChosenCluster, Selection, runtime};
use crate::{
    documents,
    terminal::{note, print},
};

/// Objects that are deleted at once, each on a connection.
const AT_ONCE: usize = 64;

/// Deletes objects, and waits until they are gone.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Objects to delete: `pod hello-1`, `gateway/helloworld`
    #[arg(value_name = "TYPE NAME…")]
    words: Vec<String>,
    /// Delete the objects in these files or folders, `-` for standard input
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// Delete all objects of the type
    #[arg(long)]
    all: bool,
    /// Wait until they are gone
    #[arg(
        long,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true"
    )]
    wait: bool,
    /// Seconds that pods get to end [default: the pod's own]
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u64>,
    /// Succeed when there is nothing to delete
    #[arg(long)]
    ignore_not_found: bool,
    /// Longest time to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// One object to delete.
struct Doomed {
    resource: Resource,
    namespace: String,
    name: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    runtime()?.block_on(delete(arguments, chosen))
}

async fn delete(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let cluster = chosen.connect().await?;
    let resources = cluster.resources().await?;
    let doomed = match arguments.filename.is_empty() {
        true => selected(arguments, &cluster, &resources).await?,
        false => named(arguments, &cluster, &resources)?,
    };
    let deletion = Deletion {
        grace: arguments.grace_period.map(Duration::from_secs),
        wait: arguments.wait.then(|| Duration::from_secs(arguments.timeout)),
    };
    let mut code = ExitCode::SUCCESS;
    let deleting = doomed.iter().map(|one| async {
        let place = (one.namespace.as_str(), one.name.as_str());
        let found = cluster.delete(&one.resource, place, deletion).await?;
        let (what, name) = (one.resource.display(), &one.name);
        match found {
            true => print(&format!("{what} {name:?} deleted\n"))?,
            false if arguments.ignore_not_found => {}
            false => bail!("{what} {name:?} not found"),
        }
        Ok(())
    });
    let mut deleting = stream::iter(deleting).buffered(AT_ONCE);
    while let Some(deleted) = deleting.next().await {
        if let Err(error) = deleted {
            note(format_args!("error: {error:#}"));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The objects that the words and selectors mean.
async fn selected(
    arguments: &Arguments,
    cluster: &Cluster,
    resources: &Resources,
) -> Result<Vec<Doomed>> {
    let query = arguments.selection.query(&arguments.words, cluster);
    let targets = query.targets(resources)?;
    let all = targets.iter().any(|target| target.names.is_empty());
    if all && query.labels.is_none() && query.fields.is_none() && !arguments.all {
        bail!("say which objects by name, with -l LABELS, or with --all");
    }
    if !all {
        let namespace = match &query.scope {
            weft_cluster::client::NamespaceScope::Namespace(namespace) => namespace.clone(),
            weft_cluster::client::NamespaceScope::All => {
                bail!("names and --all-namespaces exclude each other")
            }
        };
        let doomed = targets.into_iter().flat_map(|target| {
            let (resource, namespace) = (target.resource, namespace.clone());
            target.names.into_iter().map(move |name| Doomed {
                resource: resource.clone(),
                namespace: namespace.clone(),
                name,
            })
        });
        return Ok(doomed.collect());
    }
    let objects = cluster.objects(&targets, &query).await?;
    let text = |object: &serde_json::Value, field: &str| {
        object["metadata"][field].as_str().unwrap_or_default().to_owned()
    };
    let doomed = objects.into_iter().map(|(resource, object)| Doomed {
        resource,
        namespace: text(&object, "namespace"),
        name: text(&object, "name"),
    });
    Ok(doomed.collect())
}

/// The objects that files name.
fn named(arguments: &Arguments, cluster: &Cluster, resources: &Resources) -> Result<Vec<Doomed>> {
    let namespace = arguments.selection.place.namespace(cluster);
    let mut doomed = Vec::new();
    for document in documents::read(&arguments.filename)? {
        let Some(value) = &document.value else {
            let problems: Vec<String> = document.problems.iter().map(ToString::to_string).collect();
            bail!("{}", problems.join("\n"));
        };
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
        let word = |field: &str| value[field].as_str().unwrap_or_default();
        let resource = resources.of(word("apiVersion"), word("kind"))?.clone();
        let own = text("namespace");
        let namespace = if own.is_empty() { namespace.clone() } else { own.to_owned() };
        doomed.push(Doomed { resource, namespace, name: text("name").to_owned() });
    }
    // Later objects lean on earlier ones: a namespace goes after what is in it.
    doomed.reverse();
    Ok(doomed)
}
