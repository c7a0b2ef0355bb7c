//! `weft curl` (hidden): the built-in curl of pods whose machine has none.

use std::{
    io::{stderr, stdout},
    process::ExitCode,
};

use anyhow::{Context, Result};
use weft_echo::curl::{self, Surroundings};
use weft_pods::supervisor::{Users, users};

use crate::istio_iptables::MARK;

/// curl's own arguments.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// As curl has them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command.
///
/// Beside a proxy it is not captured: there the proxy's user runs it, and where
/// that user does not exist, its packets carry the proxy's mark.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let beside_proxy = std::env::var_os("ISTIO_META_POD_PORTS").is_some();
    let mark = (beside_proxy && users() == Users::One).then_some(MARK);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let (mut out, mut err) = (stdout(), stderr());
    let surroundings = Surroundings { out: &mut out, err: &mut err, mark };
    Ok(ExitCode::from(runtime.block_on(curl::run(&arguments.arguments, surroundings))))
}
