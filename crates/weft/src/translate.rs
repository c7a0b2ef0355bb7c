//! `weft translate`: what a proxy would be given, as the file it can run from.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use weft_explain::{Unlabelled, World};
use weft_manifest::to_yaml;

use crate::{
    documents, explain,
    installed::Installed,
    terminal::{note, print_data},
    verbs::{ChosenCluster, runtime},
};

/// Prints what a proxy would be given, as a file that `weft proxy --config` runs from.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Files or folders with manifests [default: the running mesh]
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<PathBuf>,
    /// Follow that release where it differs from today's, as `weft up` does; for files
    #[arg(long, value_name = "RELEASE", requires = "filename", value_parser = ["istio-1.0"])]
    compatibility: Option<String>,
    /// Whose proxy: a pod, a Deployment, or `ingress`
    #[arg(long = "for", value_name = "POD[.NAMESPACE]|ingress")]
    whom: String,
    /// The namespace of pods and objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    #[command(flatten)]
    installed: Installed,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

/// How the configuration is written; a proxy runs from either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    chosen.not_with_files(&arguments.filename)?;
    let start = explain::start(&arguments.whom, &arguments.namespace)?;
    let installation = arguments.installed.installation();
    let mut world = match arguments.filename.is_empty() {
        true => runtime()?.block_on(explain::of_cluster(chosen, installation))?,
        false => {
            let mut documents = documents::read(&arguments.filename)?;
            documents::into_namespace(&mut documents, &arguments.namespace);
            if let Some(release) = &arguments.compatibility {
                documents::with_compatibility(&mut documents, release, &installation.namespace);
            }
            let mut world = World::of_files_in(documents, Unlabelled::Inject, installation);
            world.diagnostics().iter().for_each(note);
            world
        }
    };
    let file = weft_explain::translate_for(&mut world, &start)?;
    let text = match arguments.output {
        Format::Yaml => to_yaml(&serde_json::to_value(&file).context("writing the configuration")?),
        Format::Json => {
            serde_json::to_string_pretty(&file).context("writing the configuration")? + "\n"
        }
    };
    print_data(&text)?;
    let readable = world.unreadable().is_empty();
    Ok(if readable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
