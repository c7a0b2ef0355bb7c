//! `weft scale`: how many pods a workload has.

use std::process::ExitCode;

use anyhow::Result;

use super::{ChosenCluster, Selection, runtime};
use crate::terminal::print;

/// Sets the number of pods of a workload.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The workload: `deployment hello`, `deployment/hello`
    #[arg(required = true, value_name = "TYPE NAME")]
    words: Vec<String>,
    /// Number of pods
    #[arg(long, value_name = "NUMBER")]
    replicas: u32,
    #[command(flatten)]
    selection: Selection,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    runtime()?.block_on(scale(arguments, chosen))
}

async fn scale(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let cluster = chosen.connect().await?;
    let query = arguments.selection.query(&arguments.words, &cluster);
    let targets = query.targets(&cluster.resources().await?)?;
    let mut text = String::new();
    for (resource, object) in cluster.objects(&targets, &query).await? {
        cluster.scale(&resource, &object, arguments.replicas).await?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        text += &format!("{}/{name} scaled\n", resource.display());
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
