//! `weft installation` (hidden): the objects of the mesh itself, as JSON, for
//! `tests/with-kubernetes`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use weft_cluster::install::{Settings, objects};

use crate::terminal::print_data;

/// Runs the command.
pub fn run() -> Result<ExitCode> {
    let text = serde_json::to_string(&objects(&Settings::default())).context("writing JSON")?;
    print_data(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}
