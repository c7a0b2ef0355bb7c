//! `weft analyze`: everything that is wrong with objects.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use weft_api::Severity;
use weft_explain::{Unlabelled, World};
use weft_translate::Installation;

use crate::{
    documents,
    installed::Installed,
    terminal::{note, print, print_data},
    verbs::{ChosenCluster, runtime},
};

/// The exit code when nothing could be analyzed.
const FAILED: u8 = 2;

const ENDS: &str = "\
Exit codes:
  0  nothing is wrong, or nothing as bad as --fail-on says
  1  something is
  2  it could not be found out: a file or the mesh cannot be read

Examples:
  weft analyze samples/helloworld           what is wrong with the manifests of a folder
  weft analyze . --fail-on warning          the same in CI, where warnings count as well
  weft analyze                              what is wrong in the running mesh";

/// Tells everything that is wrong with objects, each alone and all together, from files or
/// from the running mesh.
#[derive(clap::Args, Debug)]
#[command(after_help = ENDS)]
pub struct Arguments {
    /// Files or folders with manifests [default: the running mesh]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What makes the exit code 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = FailOn::Error)]
    fail_on: FailOn,
    /// The namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Pods of the files have sidecars only where a namespace asks for it
    #[arg(long, requires = "paths")]
    no_inject: bool,
    /// Follow that release where it differs from today's, as `weft up` does; for files
    #[arg(long, value_name = "RELEASE", requires = "paths", value_parser = ["istio-1.0"])]
    compatibility: Option<String>,
    #[command(flatten)]
    installed: Installed,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// How bad something must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// Part of an object is closed: requests that it names are refused
    Error,
    /// Part of an object has no effect
    Warning,
    /// Something works, though perhaps not as meant
    Info,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line each
    Text,
    /// JSON with documented fields
    Json,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    match analyze(arguments, chosen) {
        Ok(code) => Ok(code),
        Err(error) => {
            note(format_args!("error: {error:#}"));
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn analyze(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    chosen.not_with_files(&arguments.paths)?;
    let installation = arguments.installed.installation();
    let mut world = match arguments.paths.is_empty() {
        true => runtime()?.block_on(of_cluster(chosen, installation))?,
        false => {
            let mut documents = documents::read(&arguments.paths)?;
            documents::into_namespace(&mut documents, &arguments.namespace);
            if let Some(release) = &arguments.compatibility {
                documents::with_compatibility(&mut documents, release, &installation.namespace);
            }
            let unlabelled =
                if arguments.no_inject { Unlabelled::Skip } else { Unlabelled::Inject };
            World::of_files_in(documents, unlabelled, installation)
        }
    };
    let analysis = world.analysis();
    match arguments.output {
        Format::Text => print(&analysis.to_string())?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&analysis).context("writing JSON")?;
            print_data(&(text + "\n"))?;
        }
    }
    let fails = analysis.has(match arguments.fail_on {
        FailOn::Error => Severity::Error,
        FailOn::Warning => Severity::Warning,
        FailOn::Info => Severity::Info,
    });
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The world as the API server has it now.
async fn of_cluster(chosen: ChosenCluster<'_>, installation: Installation) -> Result<World> {
    let cluster = chosen.connect().await?;
    let resources = cluster.resources().await?;
    Ok(World::of_objects_in(cluster.expected_objects(&resources).await?, installation))
}
