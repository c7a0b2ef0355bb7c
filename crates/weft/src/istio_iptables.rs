//! `weft istio-iptables`: what the init container of an injected pod runs, with
//! the flags that it has in Istio. Sets the pod's capture rules over netlink.

use std::process::ExitCode;

use anyhow::{Context, Result};
use weft_nft::{Capture, Change, to_batch, to_text};
use weft_pods::supervisor::{Users, users};
use weft_process::netfilter;

use crate::terminal::print;

/// The mark of the proxy's own packets, where it cannot have a user of its own.
pub const MARK: u32 = 1337;

/// Flags of istio-iptables, read by the crate that knows the rules.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Flags as Istio's injected pods have them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut capture = Capture::from_arguments(&arguments.flags).context("reading the flags")?;
    if users() == Users::One {
        capture = capture.excluding_mark(MARK);
    }
    let tables = capture.tables();
    print(&to_text(&tables))?;
    let changes: Vec<Change> = tables.into_iter().map(Change::ReplaceTable).collect();
    netfilter::apply(&to_batch(&changes)).context("setting the capture rules")?;
    Ok(ExitCode::SUCCESS)
}
