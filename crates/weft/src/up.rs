//! `weft up`: a whole mesh on this machine, from manifests, until Ctrl-C.

mod images;
mod report;
mod sources;
mod table;
mod waiting;
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
    host::{Egress, Host, HostEvent, HostOptions, HostPort},
};

use self::{
    report::{Output, Report},
    sources::Sources,
    waiting::Missing,
    work::Work,
};
use crate::{
    meshes::{self, Claim},
    supervise::{self, Ready, SupervisorSettings},
    verbs::ChosenCluster,
};

/// Runs a whole mesh on this machine: API server, control plane, ingress gateway,
/// and the pods of PATH with their sidecars. Follows the files until Ctrl-C.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Manifests: files, folders (without subfolders), or `-` for standard input. Without
    /// any, the mesh begins empty: `weft apply` and kubectl fill it
    paths: Vec<PathBuf>,
    /// The mesh's name: letters, digits, `-`, `_`, `.` [default: the folder of the first path]
    #[arg(long, value_parser = meshes::name)]
    name: Option<String>,
    /// Whether pods can reach addresses outside the mesh
    #[arg(long, alias = "uplink", value_enum, default_value_t = EgressChoice::Host)]
    egress: EgressChoice,
    /// Address of the host on which ports are bound; may be repeated [default: 127.0.0.1 and ::1]
    #[arg(long = "host-ip", value_name = "ADDRESS")]
    host_ip: Vec<IpAddr>,
    /// The command of this machine that an image stands for; may be repeated
    #[arg(long = "image", value_name = "NAME=COMMAND", value_parser = images::parse)]
    images: Vec<Image>,
    /// The namespace of objects that name none; made if the files do not define it
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Do not give that namespace the label istio-injection=enabled
    #[arg(long)]
    no_inject: bool,
    /// The domain of the names of Services
    #[arg(long, default_value = "cluster.local", value_parser = domain)]
    domain: String,
    /// Output format
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// How long to wait until every pod is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

const SUPERVISOR_ENDED: &str = "the process in which the mesh ran has ended, and all pods with \
                                it; the lines above may say why, and `weft up` starts it again";

/// What pods can reach outside the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EgressChoice {
    /// Everything that this machine can reach
    Host,
    /// Nothing
    None,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    if chosen.is_given() {
        bail!("`weft up` starts a mesh of its own; name it with --name NAME");
    }
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
    sources.empty_folders().for_each(|line| report.line(&line));
    arguments.host_ip.iter().try_for_each(|address| check_address(*address))?;
    let folder = meshes::folder()?;
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => meshes::name_for(arguments.paths.first().map(PathBuf::as_path)),
    };
    let claim = meshes::claim(&folder, &name)?;
    let mut stop = Stop::new()?;
    let mut host = Host::start(options(arguments, &name)?)?;
    let mesh = Mesh { arguments, name, claim, report: Arc::clone(&report) };
    let ended = tokio::select! {
        ended = mesh.run(sources, &mut host) => ended,
        () = stop.wanted() => Ok(()),
    };
    report.line("stopping; Ctrl-C again stops at once");
    tokio::select! {
        () = host.stop() => {}
        () = stop.wanted() => report.line("stopping at once"),
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// A domain, as DNS has it (RFC 1123): it becomes part of each name.
fn domain(text: &str) -> Result<String, String> {
    let is_domain = text.len() <= LONGEST_DOMAIN && text.split('.').all(weft_api::is_dns_label);
    match is_domain {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "a domain has up to {LONGEST_DOMAIN} letters: labels of a-z, 0-9 and `-`, with dots between"
        )),
    }
}

/// Names of Services in a domain have room before it.
const LONGEST_DOMAIN: usize = 120;

/// Whether ports can be bound at an address at all.
fn check_address(address: IpAddr) -> Result<()> {
    std::net::TcpListener::bind((address, 0)).map(drop).with_context(|| {
        format!(
            "no port can be bound at --host-ip {address}; it must be an address of this machine"
        )
    })
}

fn options(arguments: &Arguments, name: &str) -> Result<HostOptions> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut options = HostOptions::new(program, vec![supervise::COMMAND.into()]);
    options.egress = match arguments.egress {
        EgressChoice::Host => Egress::Open,
        EgressChoice::None => Egress::Closed,
    };
    if !arguments.host_ip.is_empty() {
        options.addresses.clone_from(&arguments.host_ip);
    }
    options.settings = json!(SupervisorSettings {
        name: name.to_owned(),
        images: images::all(&arguments.images),
        path: std::env::var("PATH").unwrap_or_default(),
        domain: arguments.domain.clone(),
    });
    Ok(options)
}

/// A mesh of this process.
struct Mesh<'a> {
    arguments: &'a Arguments,
    name: String,
    claim: Claim,
    report: Arc<Report>,
}

impl Mesh<'_> {
    /// Starts everything and follows the files; ends only by an error.
    async fn run(&self, sources: Sources, host: &mut Host) -> Result<()> {
        let report = &self.report;
        let mut ports = Vec::new();
        report.progress("starting the API server", 0, 1);
        let ready = loop {
            match host.next().await {
                Some(HostEvent::Ready(ready)) => break ready,
                event => report_event(report, &mut ports, event)?,
            }
        };
        report.progress("starting the API server", 1, 1);
        let ready: Ready =
            serde_json::from_value(ready).context("reading what the supervisor says")?;
        self.claim.write(&ready.kubeconfig)?;
        report.kubeconfig(&self.claim.kubeconfig);
        let work = Work {
            cluster: Cluster::from_kubeconfig(&ready.kubeconfig).await?,
            sources,
            namespace: self.arguments.namespace.clone(),
            no_inject: self.arguments.no_inject,
            images: self.arguments.images.clone(),
            domain: self.arguments.domain.clone(),
            timeout: Duration::from_secs(self.arguments.timeout),
            report: Arc::clone(report),
        };
        let mut files = Files::new(&self.arguments.namespace);
        let started = beside(work.start(&mut files), host, report, &mut ports).await?;
        let end = End {
            kubeconfig: &self.claim.kubeconfig,
            seconds: report.seconds(),
            missing: &started.missing,
            refused: started.refused,
        };
        let table = table::render(&work.cluster, &ports, &end).await?;
        report.ready(end.event(&self.name), &table);
        beside(work.follow(files, started.reported), host, report, &mut ports).await
    }
}

/// Does `work`, and meanwhile reports the supervisor's events.
async fn beside<T>(
    work: impl Future<Output = Result<T>>,
    host: &mut Host,
    report: &Report,
    ports: &mut Vec<HostPort>,
) -> Result<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            event = host.next() => report_event(report, ports, event)?,
        }
    }
}

/// How the start has ended.
struct End<'a> {
    /// How to reach the API.
    kubeconfig: &'a Path,
    /// How long it took.
    seconds: f64,
    /// Pods that are not ready.
    missing: &'a Missing,
    /// Documents and objects of the files that are not applied.
    refused: usize,
}

impl End<'_> {
    fn event(&self, name: &str) -> serde_json::Value {
        let Self { kubeconfig, seconds, missing, refused } = self;
        json!({
            "event": "ready", "name": name, "kubeconfig": kubeconfig, "seconds": seconds,
            "missing": missing, "refused": refused,
        })
    }

    /// The line that says whether everything is as the files want it.
    fn line(&self) -> String {
        let after = format!("after {:.1} s", self.seconds);
        let not_applied = match self.refused {
            0 => String::new(),
            1 => "1 object of the files is not applied, see the error above".to_owned(),
            more => format!("{more} objects of the files are not applied, see the errors above"),
        };
        match (self.missing.is_empty(), self.refused) {
            (true, 0) => format!("ready {after}"),
            (true, _) => format!("ready {after} but for errors: {not_applied}"),
            (false, 0) => format!("not ready {after}: {}", waiting::named(self.missing)),
            (false, _) => {
                format!("not ready {after}: {}; {not_applied}", waiting::named(self.missing))
            }
        }
    }
}

fn report_event(
    report: &Report,
    ports: &mut Vec<HostPort>,
    event: Option<HostEvent>,
) -> Result<()> {
    match event {
        None => bail!("{SUPERVISOR_ENDED}"),
        Some(HostEvent::Progress { text, done, total }) => report.progress(&text, done, total),
        Some(HostEvent::Log(line)) => report.line(&line),
        Some(HostEvent::HostPort(port)) => {
            report.port(&port);
            ports.push(port);
        }
        Some(HostEvent::HostPortClosed(port)) => {
            report.port_closed(&port);
            ports.retain(|open| *open != port);
        }
        Some(HostEvent::Ended(status)) if status.success() => bail!("{SUPERVISOR_ENDED}"),
        Some(HostEvent::Ended(status)) if status.code() == Some(supervise::FORBIDDEN.into()) => {
            bail!("a mesh cannot be started here; the line above says what would allow it")
        }
        Some(HostEvent::Ended(status)) => bail!("{SUPERVISOR_ENDED} ({status})"),
        Some(_) => {}
    }
    Ok(())
}

/// The signals that end the mesh.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_is_missing() {
        let pods = vec!["hello-1".to_owned()];
        for (missing, refused, expected) in [
            (&[][..], 0, "ready after 1.2 s"),
            (
                &[],
                1,
                "ready after 1.2 s but for errors: 1 object of the files is not applied, see the error above",
            ),
            (&pods, 0, "not ready after 1.2 s: hello-1"),
            (
                &pods,
                2,
                "not ready after 1.2 s: hello-1; 2 objects of the files are not applied, see the errors above",
            ),
        ] {
            let missing = &missing.to_vec();
            let end = End { kubeconfig: Path::new("k"), seconds: 1.2, missing, refused };
            assert_eq!(end.line(), expected);
            assert_eq!(end.event("a")["refused"], refused);
        }
    }

    #[test]
    fn a_domain_is_one_that_names_can_end_in() {
        for fine in ["cluster.local", "east", "a-1.example"] {
            assert_eq!(domain(fine).as_deref(), Ok(fine));
        }
        for odd in ["", ".", "a.", ".a", "A.b", "a b", "a_b", &"x.".repeat(100)] {
            assert!(domain(odd).is_err(), "{odd}");
        }
    }
}
