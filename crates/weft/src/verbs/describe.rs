//! `weft describe`: objects told for people, with what happened to them.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{ChosenCluster, Selection, runtime};
use crate::terminal::print;

/// Shows the details of objects and their events.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Objects to describe: `pod hello-1`, `virtualservice/helloworld`
    #[arg(required = true, value_name = "TYPE [NAME]…")]
    words: Vec<String>,
    #[command(flatten)]
    selection: Selection,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    runtime()?.block_on(describe(arguments, chosen))
}

async fn describe(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let cluster = chosen.connect().await?;
    let resources = cluster.resources().await?;
    let query = arguments.selection.query(&arguments.words, &cluster);
    let objects = cluster.objects(&query.targets(&resources)?, &query).await?;
    if objects.is_empty() {
        bail!("there are no such objects; `weft get TYPE -A` lists those of all namespaces");
    }
    let mut texts = Vec::new();
    for (resource, object) in &objects {
        texts.push(cluster.describe(&resources, (resource, object)).await?);
    }
    print(&texts.join("\n\n"))?;
    Ok(ExitCode::SUCCESS)
}
