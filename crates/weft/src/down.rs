//! `weft down`: ends a running mesh as Ctrl-C in its own terminal does.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::meshes;

/// How long a graceful end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the mesh called `mesh`, or the only one that runs.
#[derive(clap::Args, Debug)]
pub struct Arguments {}

/// Runs the command.
pub fn run(_: &Arguments, mesh: Option<&str>) -> Result<ExitCode> {
    let folder = meshes::folder()?;
    let mesh = meshes::choose(&folder, mesh)?;
    let process = Pid::from_raw(mesh.process).context("the mesh's lock names no process")?;
    kill_process(process, Signal::INT)
        .with_context(|| format!("telling process {} to end", mesh.process))?;
    let begun = Instant::now();
    while meshes::running(&folder).iter().any(|running| running.name == mesh.name) {
        if begun.elapsed() > PATIENCE {
            bail!("{} has not ended within {} s", mesh.name, PATIENCE.as_secs());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    println!("{} has ended", mesh.name);
    Ok(ExitCode::SUCCESS)
}
