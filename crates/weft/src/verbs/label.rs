//! `weft label`: sets and removes labels.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Result, bail};
use weft_cluster::client::Labelled;

use super::{ChosenCluster, Selection, runtime};
use crate::terminal::print;

/// Sets labels (`KEY=VALUE`), and removes them (`KEY-`).
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Objects and labels: `namespace default istio-injection=enabled`
    #[arg(required = true, value_name = "TYPE NAME… KEY=VALUE|KEY-")]
    words: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Change labels that have another value
    #[arg(long)]
    overwrite: bool,
    /// Label all objects of the type
    #[arg(long)]
    all: bool,
}

/// Labels by key; those without a value are removed.
type Labels = BTreeMap<String, Option<String>>;

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let (words, labels) = split(&arguments.words)?;
    runtime()?.block_on(label(arguments, (&words, &labels), chosen))
}

async fn label(
    arguments: &Arguments,
    (words, labels): (&[String], &Labels),
    chosen: ChosenCluster<'_>,
) -> Result<ExitCode> {
    let cluster = chosen.connect().await?;
    let query = arguments.selection.query(words, &cluster);
    let targets = query.targets(&cluster.resources().await?)?;
    let named = targets.iter().all(|target| !target.names.is_empty());
    if !named && query.labels.is_none() && query.fields.is_none() && !arguments.all {
        bail!("say which objects by name, with -l LABELS, or with --all");
    }
    let mut text = String::new();
    for (resource, object) in cluster.objects(&targets, &query).await? {
        let outcome = cluster.label(&resource, &object, (labels, arguments.overwrite)).await?;
        let word = match outcome {
            Labelled::Labelled => "labeled",
            Labelled::Unlabelled => "unlabeled",
            Labelled::Unchanged => "not labeled",
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        text += &format!("{}/{name} {word}\n", resource.display());
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The objects' words, and the labels after them.
fn split(words: &[String]) -> Result<(Vec<String>, Labels)> {
    let is_label = |word: &String| word.contains('=') || word.ends_with('-');
    let at = words.iter().position(is_label).unwrap_or(words.len());
    let (objects, rest) = words.split_at(at);
    if rest.is_empty() {
        bail!("say which labels: KEY=VALUE to set one, KEY- to remove it");
    }
    let mut labels = Labels::new();
    for word in rest {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => labels.insert(key.to_owned(), Some(value.to_owned())),
            (None, Some(key)) => labels.insert(key.to_owned(), None),
            (None, None) => bail!("{word:?} is not a label; write KEY=VALUE or KEY-"),
        };
    }
    Ok((objects.to_vec(), labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let text = match split(&words) {
            Ok((objects, labels)) => format!("{objects:?} {labels:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn labels_follow_the_objects() {
        check("ns a x=y z-", r#"["ns", "a"] {"x": Some("y"), "z": None}"#);
        check("pod/a x=", r#"["pod/a"] {"x": Some("")}"#);
        check("pod a", "say which labels: KEY=VALUE to set one, KEY- to remove it");
        check("pod a x=1 y", "\"y\" is not a label; write KEY=VALUE or KEY-");
    }
}
