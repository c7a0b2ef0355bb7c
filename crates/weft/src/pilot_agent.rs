//! `weft pilot-agent`: what Istio's users and its injected pods call in the
//! container `istio-proxy`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};
use weft_echo::curl::{self, Surroundings};

/// Sends requests to the proxy of this pod, or waits for it.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand, Debug)]
enum Task {
    /// Makes a request to the proxy's admin page
    Request {
        /// Port of the page
        #[arg(long, default_value_t = 15000)]
        debug_port: u16,
        /// Such as GET or POST
        method: String,
        /// Such as stats/prometheus
        path: String,
    },
    /// Waits until the proxy is ready
    Wait {
        /// Longest time to wait
        #[arg(long = "timeoutSeconds", default_value_t = 60)]
        timeout: u64,
        /// Milliseconds between two requests
        #[arg(long = "periodMillis", default_value_t = 500)]
        period: u64,
        /// The page to ask
        #[arg(long, default_value = "http://127.0.0.1:15021/healthz/ready")]
        url: String,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        match &arguments.task {
            Task::Request { debug_port, method, path } => {
                let path = path.trim_start_matches('/');
                request(method, &format!("http://127.0.0.1:{debug_port}/{path}")).await
            }
            Task::Wait { timeout, period, url } => {
                wait(url, Duration::from_secs(*timeout), Duration::from_millis(*period)).await
            }
        }
    })
}

/// Prints the answer. As in Istio, a page that is not there is not a failure.
async fn request(method: &str, url: &str) -> Result<ExitCode> {
    let (status, body) = ask(&["-X", method, "-m", "60", url]).await?;
    crate::terminal::print_data(&body)?;
    match status {
        200..=399 | 404 => Ok(ExitCode::SUCCESS),
        other => bail!("{url} answers {other}"),
    }
}

async fn wait(url: &str, timeout: Duration, period: Duration) -> Result<ExitCode> {
    let end = Instant::now() + timeout;
    loop {
        match ask(&["-m", "1", url]).await {
            Ok((200, _)) => return Ok(ExitCode::SUCCESS),
            Ok((status, _)) if Instant::now() >= end => {
                bail!("the proxy is not ready after {timeout:?}: {url} answers {status}")
            }
            Err(error) if Instant::now() >= end => {
                return Err(error.context(format!("the proxy is not ready after {timeout:?}")));
            }
            _ => sleep(period).await,
        }
    }
}

/// Status and body of what the built-in curl is answered.
async fn ask(arguments: &[&str]) -> Result<(u16, String)> {
    let options = ["-sS", "-w", "\\n%{http_code}"];
    let arguments: Vec<String> =
        options.iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code =
        curl::run(&arguments, Surroundings { out: &mut out, err: &mut err, mark: None }).await;
    if code != 0 {
        bail!("{}", String::from_utf8_lossy(&err).trim().trim_start_matches("curl: "));
    }
    let said = String::from_utf8_lossy(&out);
    let (body, status) = said.rsplit_once('\n').context("the answer has no status")?;
    Ok((status.parse().context("the status is not a number")?, body.to_owned()))
}
