//! `weft logs`: what a container wrote.

use std::process::ExitCode;

use anyhow::Result;
use weft_cluster::client::LogQuery;

use super::{ChosenCluster, InPod, runtime, stream};

/// Prints the log of a container.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    within: InPod,
    /// Keep printing new lines
    #[arg(short, long)]
    follow: bool,
    /// The log of the run before the last restart
    #[arg(short, long)]
    previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Only lines of the last seconds
    #[arg(long, value_name = "SECONDS")]
    since_seconds: Option<u64>,
    /// Print the time of each line
    #[arg(long)]
    timestamps: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let runtime = runtime()?;
    let ended = runtime.block_on(logs(arguments, chosen));
    // A write to standard output that blocks must not keep the program here.
    runtime.shutdown_background();
    ended
}

async fn logs(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let (cluster, container) = arguments.within.find(chosen).await?;
    let query = LogQuery {
        follow: arguments.follow,
        previous: arguments.previous,
        timestamps: arguments.timestamps,
        // A negative number means all lines, as for kubectl.
        tail: arguments.tail.and_then(|lines| u64::try_from(lines).ok()),
        since_seconds: arguments.since_seconds,
    };
    cluster.logs(&container, &query, &mut stream(std::io::stdout())?).await?;
    Ok(ExitCode::SUCCESS)
}
