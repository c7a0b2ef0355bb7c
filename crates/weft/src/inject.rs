//! `weft inject`: manifests with sidecars in them, to standard output.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use weft_inject::Settings;
use weft_manifest::to_yaml;

use crate::{documents, verbs::print};

/// Prints manifests with sidecars added to their pods; needs no cluster.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Files or folders with manifests, `-` for standard input
    #[arg(short, long, required = true, value_name = "PATH")]
    filename: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = Settings::default();
    let documents = documents::read(&arguments.filename)?;
    let problems: Vec<String> =
        documents.iter().flat_map(|one| &one.problems).map(ToString::to_string).collect();
    if !problems.is_empty() {
        bail!("nothing is printed, since not everything can be read:\n{}", problems.join("\n"));
    }
    let texts: Vec<String> = documents
        .iter()
        .filter_map(|document| document.value.as_ref())
        .map(|value| to_yaml(&weft_inject::document(value, &settings)))
        .collect();
    print(&texts.join("---\n"))?;
    Ok(ExitCode::SUCCESS)
}
