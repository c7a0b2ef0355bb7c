//! `weft control`: the control plane, as it runs in its pod.

use std::process::ExitCode;

use anyhow::{Context, Result};
use weft_cluster::{client::Cluster, control_plane};
use weft_process::{
    log::{self, Form},
    shutdown,
};

/// Runs the control plane in a pod of a cluster.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Log levels, as in `info,weft_control=debug`
    #[arg(long, default_value = "info")]
    log: String,
    /// Also serve proxies in plain text, on this address
    #[arg(long, value_name = "ADDRESS:PORT")]
    plain: Option<std::net::SocketAddr>,
    /// The domain of the cluster's names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    domain: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    log::init(&levels(&arguments.log), Form::Text)?;
    let namespace = std::env::var("POD_NAMESPACE").unwrap_or_else(|_| "istio-system".to_owned());
    let cluster_name = std::env::var("CLUSTER_ID").unwrap_or_else(|_| "Kubernetes".to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let cluster = Cluster::in_cluster().context("`weft control` runs in a pod of a cluster only; `weft up PATH` runs a mesh on this machine")?;
        let (stop, stopping) = shutdown::channel();
        tokio::spawn(stop.on_signals());
        let options = control_plane::Options {
            xds_plain: arguments.plain,
            cluster_name,
            domain: arguments.domain.clone(),
            ..control_plane::Options::new(namespace)
        };
        control_plane::run(cluster, options, stopping).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The levels as written; without the bodies of answers that kube cannot read, which are
/// users' objects.
fn levels(written: &str) -> String {
    match written.contains("kube_client") {
        true => written.to_owned(),
        false => format!("{written},kube_client::client=error"),
    }
}
