//! `weft translate`: what a proxy would be given, as the file it can run from.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use weft_explain::{Start, Unlabelled, World};
use weft_manifest::to_yaml;

use crate::{
    documents,
    verbs::{Whose, print, runtime},
    world,
};

/// Prints what a proxy would be given, as YAML that `weft proxy --config` runs from.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Files or folders with manifests [default: the running mesh]
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// Decide as that release where it differs from today's, as `weft up` does; for files
    #[arg(long, value_name = "RELEASE", requires = "filename", value_parser = ["istio-1.0"])]
    compatibility: Option<String>,
    /// Whose proxy: a pod, a Deployment, or `ingress`
    #[arg(long = "for", value_name = "POD[.NAMESPACE]|ingress")]
    whom: Start,
}

/// Runs the command.
pub fn run(arguments: &Arguments, whose: Whose<'_>) -> Result<ExitCode> {
    whose.not_with_files(&arguments.filename)?;
    let mut world = match arguments.filename.is_empty() {
        true => runtime()?.block_on(world::of_cluster(whose))?,
        false => {
            let mut documents = documents::read(&arguments.filename)?;
            if let Some(release) = &arguments.compatibility {
                documents::with_compatibility(&mut documents, release);
            }
            let mut world = World::of_files(documents, Unlabelled::Inject);
            world.complaints().iter().for_each(|line| eprintln!("{line}"));
            world
        }
    };
    let file = weft_explain::translate_for(&mut world, &arguments.whom)?;
    let value = serde_json::to_value(&file).context("writing the configuration")?;
    print(&to_yaml(&value))?;
    let readable = world.unreadable().is_empty();
    Ok(if readable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
