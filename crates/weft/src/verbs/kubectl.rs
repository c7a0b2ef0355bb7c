//! `weft kubectl`: the user's own kubectl, for the running mesh.

use std::{
    io::ErrorKind,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::{Result, bail};

use super::ChosenCluster;

/// Runs the installed kubectl against this mesh.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// kubectl's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

/// Runs the command; returns only when it cannot be run.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let error = Command::new("kubectl")
        .args(&arguments.arguments)
        .env("KUBECONFIG", chosen.kubeconfig()?)
        .exec();
    match error.kind() {
        ErrorKind::NotFound => bail!(
            "there is no kubectl on this machine; `weft get|describe|apply|delete|logs|exec|scale|\
             label` work without it"
        ),
        _ => bail!("running kubectl: {error}"),
    }
}
