//! `weft down`: ends a running mesh as Ctrl-C in its own terminal does.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{meshes, terminal::print, verbs::ChosenCluster};

/// How long a graceful end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a running mesh, as Ctrl-C in its own terminal does.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The mesh to end [default: the only one that runs]
    #[arg(long, value_name = "NAME")]
    mesh: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    if chosen.kubeconfig.is_some() {
        bail!("only a mesh that runs on this machine can be ended; say which with --mesh NAME");
    }
    let mesh = arguments.mesh.as_deref().or(chosen.mesh);
    let folder = meshes::folder()?;
    let mesh = meshes::choose(&folder, mesh)?;
    let process = Pid::from_raw(mesh.process).context("the mesh's lock names no process")?;
    kill_process(process, Signal::INT)
        .with_context(|| format!("telling process {} to end", mesh.process))?;
    let begun = Instant::now();
    while meshes::running(&folder).iter().any(|running| running.name == mesh.name) {
        if begun.elapsed() > PATIENCE {
            let (name, process, seconds) = (&mesh.name, mesh.process, PATIENCE.as_secs());
            bail!("{name} has not ended within {seconds} s; end it hard with `kill -9 {process}`");
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    print(&format!("{} has ended\n", mesh.name))?;
    Ok(ExitCode::SUCCESS)
}
