//! `weft http-echo` (hidden): what stands for the image of the same name.

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use weft_echo::http_echo::{self, Settings};

/// The port that the image listens on.
const PORT: u16 = 8080;

/// Runs the command; its settings are the image's environment variables.
pub fn run() -> Result<ExitCode> {
    let variable = |name| std::env::var(name).ok();
    let settings =
        Settings::from_variables(variable("TEXT"), variable("NEXT"), variable("LATENCY"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await;
        let listener = listener.with_context(|| format!("listening on port {PORT}"))?;
        http_echo::serve(listener, settings, Arc::new(|line| println!("{line}"))).await?;
        Ok(ExitCode::SUCCESS)
    })
}
