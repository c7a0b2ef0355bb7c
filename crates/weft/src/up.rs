//! `weft up`: a whole mesh on this machine, from manifests, until Ctrl-C.

mod images;
mod report;
mod sources;
mod table;
mod work;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use weft_cluster::client::Cluster;
use weft_manifest::files::Files;
use weft_pods::{
    Image,
    host::{Host, HostEvent, HostOptions, HostPort, Uplink},
};

use self::{
    report::{Output, Report},
    sources::Sources,
    work::Work,
};
use crate::{
    meshes::{self, Claim},
    supervise::{self, Handed, Ready},
};

/// Runs a whole mesh on this machine: API server, control plane, ingress gateway,
/// and the pods of PATH with their sidecars. Follows the files until Ctrl-C.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Manifests: files, folders, or `-` for standard input
    paths: Vec<PathBuf>,
    /// The mesh's name [default: the folder of the first path]
    #[arg(long)]
    name: Option<String>,
    /// Whether pods reach what is beyond the mesh
    #[arg(long, value_enum, default_value_t = UplinkChoice::Host)]
    uplink: UplinkChoice,
    /// Address of the host on which ports are bound; may be repeated [default: 127.0.0.1 and ::1]
    #[arg(long = "host-ip", value_name = "ADDRESS")]
    host_ip: Vec<IpAddr>,
    /// The command of this machine that an image stands for; may be repeated
    #[arg(long = "image", value_name = "NAME=COMMAND", value_parser = images::parse)]
    images: Vec<Image>,
    /// Leaves namespace `default` without the label istio-injection=enabled
    #[arg(long)]
    no_inject: bool,
    /// How it tells what happens
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Seconds that the start may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// What lies beyond the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum UplinkChoice {
    /// What this machine reaches
    Host,
    /// Nothing
    None,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(up(arguments))
}

async fn up(arguments: &Arguments) -> Result<ExitCode> {
    let report = Arc::new(Report::new(arguments.output));
    let sources = Sources::new(&arguments.paths)?;
    let folder = meshes::folder()?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => meshes::name_for(arguments.paths.first().map(PathBuf::as_path)),
    };
    let claim = meshes::claim(&folder, &name)?;
    let mut stop = Stop::new()?;
    let mut host = Host::start(options(arguments, &name)?)?;
    let ended = tokio::select! {
        ended = mesh(arguments, sources, &name, &claim, &report, &mut host) => ended,
        () = stop.wanted() => Ok(()),
    };
    report.line("ending");
    tokio::select! {
        () = host.stop() => {}
        () = stop.wanted() => report.line("ending at once"),
    }
    ended.map(|()| ExitCode::SUCCESS)
}

fn options(arguments: &Arguments, name: &str) -> Result<HostOptions> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut options = HostOptions::new(program, vec![supervise::COMMAND.into()]);
    options.uplink = match arguments.uplink {
        UplinkChoice::Host => Uplink::Open,
        UplinkChoice::None => Uplink::Closed,
    };
    if !arguments.host_ip.is_empty() {
        options.addresses.clone_from(&arguments.host_ip);
    }
    options.settings = json!(Handed {
        name: name.to_owned(),
        images: images::all(&arguments.images),
        path: std::env::var("PATH").unwrap_or_default(),
    });
    Ok(options)
}

/// Starts everything and follows the files; ends only by an error.
async fn mesh(
    arguments: &Arguments,
    sources: Sources,
    name: &str,
    claim: &Claim,
    report: &Arc<Report>,
    host: &mut Host,
) -> Result<()> {
    let mut ports = Vec::new();
    report.progress("starting the API server", 0, 1);
    let ready = loop {
        match host.next().await {
            Some(HostEvent::Ready(ready)) => break ready,
            Some(event) => tell(report, &mut ports, event)?,
            None => bail!("the supervisor has ended"),
        }
    };
    report.progress("starting the API server", 1, 1);
    let ready: Ready = serde_json::from_value(ready).context("reading what the supervisor says")?;
    claim.write(&ready.kubeconfig)?;
    let work = Work {
        cluster: Cluster::from_kubeconfig(&ready.kubeconfig).await?,
        sources,
        no_inject: arguments.no_inject,
        timeout: Duration::from_secs(arguments.timeout),
        report: Arc::clone(report),
    };
    let mut files = Files::new();
    {
        let starting = work.start(&mut files);
        tokio::pin!(starting);
        loop {
            tokio::select! {
                started = &mut starting => break started?,
                event = host.next() => match event {
                    Some(event) => tell(report, &mut ports, event)?,
                    None => bail!("the supervisor has ended"),
                },
            }
        }
    }
    let table = table::render(&work.cluster, &ports, &claim.kubeconfig, report.seconds()).await?;
    report.ready(ready_event(name, &claim.kubeconfig, report.seconds()), &table);
    let following = work.follow(files);
    tokio::pin!(following);
    loop {
        tokio::select! {
            followed = &mut following => return followed,
            event = host.next() => match event {
                Some(event) => tell(report, &mut ports, event)?,
                None => bail!("the supervisor has ended"),
            },
        }
    }
}

fn ready_event(name: &str, kubeconfig: &Path, seconds: f64) -> serde_json::Value {
    json!({"event": "ready", "name": name, "kubeconfig": kubeconfig, "seconds": seconds})
}

fn tell(report: &Report, ports: &mut Vec<HostPort>, event: HostEvent) -> Result<()> {
    match event {
        HostEvent::Progress { text, done, total } => report.progress(&text, done, total),
        HostEvent::Log(line) => report.line(&line),
        HostEvent::HostPort(port) => {
            report.port(&port);
            ports.push(port);
        }
        HostEvent::HostPortClosed(port) => {
            report.port_closed(&port);
            ports.retain(|open| *open != port);
        }
        HostEvent::Ended(status) if status.success() => bail!("the supervisor has ended"),
        HostEvent::Ended(status) => bail!("the supervisor has ended with {status}"),
        _ => {}
    }
    Ok(())
}

/// The user's wish to end.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
