//! `weft get`: objects as tables, YAML, JSON or names.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};
use weft_cluster::client::{Cluster, NamespaceScope, Query, Resource, ResourceNames, TableOptions};
use weft_manifest::to_yaml;

use super::{ChosenCluster, Selection, runtime};
use crate::terminal::{note, print, print_data};

/// Lists objects.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Objects to list: `pods`, `deployment hello`, `pod/hello-1`, `gateway,virtualservice`
    #[arg(required = true, value_name = "TYPE [NAME]…")]
    words: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Output format [default: a table]
    #[arg(short, long, value_enum)]
    output: Option<OutputFormat>,
    /// Add a column with labels
    #[arg(long)]
    show_labels: bool,
    /// Include managedFields in JSON and YAML
    #[arg(long)]
    show_managed_fields: bool,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// As JSON
    Json,
    /// As YAML
    Yaml,
    /// As TYPE/NAME
    Name,
    /// As a table with more columns
    Wide,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    runtime()?.block_on(get(arguments, chosen))
}

async fn get(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let cluster = chosen.connect().await?;
    let query = arguments.selection.query(&arguments.words, &cluster);
    let targets = query.targets(&cluster.resources().await?)?;
    match arguments.output {
        None | Some(OutputFormat::Wide) => {
            let options = TableOptions {
                wide: arguments.output == Some(OutputFormat::Wide),
                namespaces: query.scope == NamespaceScope::All,
                labels: arguments.show_labels,
                prefix: None,
            };
            let text = cluster.tables(&targets, &query, options).await?;
            if text.is_empty() {
                note(nothing(&query));
            }
            print(&text)?;
        }
        Some(OutputFormat::Name) => print(&names(&cluster, &targets, &query).await?)?,
        Some(form) => {
            let mut objects = cluster.objects(&targets, &query).await?;
            if !arguments.show_managed_fields {
                objects.iter_mut().for_each(|(_, object)| drop_managed_fields(object));
            }
            let one = matches!(targets.as_slice(), [target] if target.names.len() == 1);
            let value = gather(objects, one);
            print_data(&match form {
                OutputFormat::Json => serde_json::to_string_pretty(&value)? + "\n",
                _ => to_yaml(&value),
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn nothing(query: &Query) -> String {
    match &query.scope {
        NamespaceScope::All => "No resources found".to_owned(),
        NamespaceScope::Namespace(namespace) => {
            format!("No resources found in {namespace} namespace.")
        }
    }
}

async fn names(cluster: &Cluster, targets: &[ResourceNames], query: &Query) -> Result<String> {
    let objects = cluster.objects(targets, query).await?;
    let line = |(resource, object): &(Resource, Value)| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        format!("{}/{name}\n", resource.display())
    };
    Ok(objects.iter().map(line).collect())
}

/// The one object that was asked for by name, else a list.
fn gather(mut objects: Vec<(Resource, Value)>, one: bool) -> Value {
    match objects.pop() {
        Some((_, object)) if one && objects.is_empty() => object,
        last => {
            let items: Vec<Value> = objects.into_iter().chain(last).map(|(_, one)| one).collect();
            json!({
                "apiVersion": "v1",
                "kind": "List",
                "metadata": {"resourceVersion": ""},
                "items": items,
            })
        }
    }
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}
