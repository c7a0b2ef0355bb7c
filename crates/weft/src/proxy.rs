//! `weft proxy`: the engine, with the arguments and variables that Istio's
//! injected pods give it, or from a file.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use weft_pods::supervisor::{Users, users};
use weft_process::log::{self, Form};
use weft_proxy::{Application, Options, Ports, Reach, Sockets, Source, Stream};

use crate::istio_iptables::MARK;

/// Where the node hands out listening sockets.
const NODE_SOCKETS: &str = "/run/weft/sockets";
/// The root certificate of the mesh, and the token of this proxy.
const ROOT: &str = "/var/run/secrets/istio/root-cert.pem";
const TOKEN: &str = "/var/run/secrets/tokens/istio-token";
/// A folder in memory that outlives the container.
const STATE: &str = "/var/lib/istio/data";
/// The default address of the control plane.
const DISCOVERY: &str = "istiod.istio-system.svc:15012";

/// Runs a proxy: for this pod, or from a file.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// `sidecar` or `router`, as in Istio's pods
    role: Option<String>,
    /// Run from this file, as `weft translate` prints it, without a control plane
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Threads that serve connections [default: 1; for a router, one per core]
    #[arg(long, value_name = "COUNT")]
    workers: Option<usize>,
    /// Port of the admin page, on loopback; with --config only
    #[arg(long, value_name = "PORT")]
    admin: Option<u16>,
    /// Log levels, as in `info,weft_proxy=debug` [default: info]
    #[arg(long)]
    log: Option<String>,
    /// Flags of Istio's pods that have no meaning here
    #[arg(long = "domain", hide = true)]
    domain: Option<String>,
    #[arg(long = "proxyLogLevel", hide = true)]
    proxy_log_level: Option<String>,
    #[arg(long = "proxyComponentLogLevel", hide = true)]
    _proxy_component_log_level: Option<String>,
    #[arg(long = "log_output_level", hide = true)]
    _log_output_level: Option<String>,
    #[arg(long = "concurrency", hide = true)]
    concurrency: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let levels = log::init(log_levels(arguments), Form::Text)?;
    let options = match &arguments.config {
        Some(path) => from_file(arguments, path)?,
        None => in_pod(arguments)?,
    };
    weft_proxy::run(options, levels)?;
    Ok(ExitCode::SUCCESS)
}

fn from_file(arguments: &Arguments, path: &Path) -> Result<Options> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let documents = weft_manifest::read(&path.display().to_string(), &text);
    let problems: Vec<String> =
        documents.iter().flat_map(|document| &document.problems).map(ToString::to_string).collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let [document] = documents.as_slice() else {
        bail!("{}: one document with `resources` is expected", path.display());
    };
    let value = document.value.clone().unwrap_or_default();
    let file = serde_json::from_value(value)
        .with_context(|| format!("{} is not what `weft translate` prints", path.display()))?;
    let admin = arguments.admin.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    Ok(Options {
        workers: arguments.workers.unwrap_or(1),
        source: Source::File(Box::new(file)),
        ports: Ports { admin, ..Ports::default() },
        // A user who starts a program with a file may reach this machine without it.
        reach: Reach::Anywhere,
        ..Options::default()
    })
}

fn in_pod(arguments: &Arguments) -> Result<Options> {
    let router = match arguments.role.as_deref() {
        Some("sidecar") => false,
        Some("router") => true,
        _ => bail!("say `sidecar` or `router`, or give a file with --config"),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let config = variable("PROXY_CONFIG").map(|text| Config::read(&text)).unwrap_or_default();
    // As in Istio, none means one per core where it is asked for.
    let workers = match arguments.workers.or(arguments.concurrency).or(config.concurrency) {
        Some(0) => Some(cores),
        workers => workers,
    };
    let own = |port| Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let address: Option<IpAddr> = variable("INSTANCE_IP").and_then(|text| text.parse().ok());
    let node_sockets = Path::new(NODE_SOCKETS);
    Ok(Options {
        workers: workers.unwrap_or(if router { cores } else { 1 }),
        source: Source::Stream(Stream {
            address: config.discovery_address(),
            name: None,
            ca_pem: Some(ROOT.into()),
            token: Some(TOKEN.into()),
            node: node(router, address, arguments.domain.as_deref()),
            state: Path::new(STATE).is_dir().then(|| STATE.into()),
        }),
        ports: Ports {
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 15000))),
            metrics: own(15090),
            merged: config.status_port.map_or(own(15020), |port| own(port).filter(|_| port > 0)),
            readiness: own(15021),
        },
        sockets: match node_sockets.exists() {
            true => Sockets::Node { lender: node_sockets.to_owned(), address },
            false => Sockets::Bind,
        },
        mark: (users() == Users::One).then_some(MARK),
        reach: Reach::Mesh,
        drain: config.drain.unwrap_or(Duration::from_secs(5)),
        application: Application {
            metrics: variable("ISTIO_PROMETHEUS_ANNOTATIONS").as_deref().and_then(metrics_url),
            probes: variable("ISTIO_KUBE_APP_PROBERS"),
            address,
        },
    })
}

/// Istio's form: role, address, pod, and the domain of the pod's namespace.
fn node(router: bool, address: Option<IpAddr>, domain: Option<&str>) -> String {
    let role = if router { "router" } else { "sidecar" };
    let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let word = |name: &str| variable(name).unwrap_or_else(|| "unknown".to_owned());
    let (pod, namespace) = (word("POD_NAME"), word("POD_NAMESPACE"));
    let own = format!("{namespace}.svc.cluster.local");
    format!("{role}~{address}~{pod}.{namespace}~{}", domain.unwrap_or(&own))
}

/// The log levels: Weft's own, else Istio's unless they are its default.
fn log_levels(arguments: &Arguments) -> &str {
    let istios = match arguments.proxy_log_level.as_deref() {
        Some("trace") => Some("trace"),
        Some("debug") => Some("debug"),
        Some("error" | "critical") => Some("error"),
        Some("off") => Some("off"),
        _ => None,
    };
    arguments.log.as_deref().or(istios).unwrap_or("info")
}

/// The part of ProxyConfig that the proxy uses, as the injector writes it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Config {
    discovery: Option<String>,
    concurrency: Option<usize>,
    status_port: Option<u16>,
    drain: Option<Duration>,
}

impl Config {
    fn read(text: &str) -> Self {
        let documents = weft_manifest::read("PROXY_CONFIG", text);
        let value = documents.into_iter().find_map(|document| document.value).unwrap_or_default();
        let number = |name: &str| value[name].as_u64();
        Self {
            discovery: value["discoveryAddress"].as_str().map(str::to_owned),
            concurrency: number("concurrency").and_then(|number| number.try_into().ok()),
            status_port: number("statusPort").and_then(|number| number.try_into().ok()),
            drain: value["terminationDrainDuration"]
                .as_str()
                .and_then(|text| weft_api::span::parse(text).ok()),
        }
    }

    fn discovery_address(&self) -> String {
        let configured = self.discovery.clone().or_else(|| variable("CA_ADDR"));
        configured.unwrap_or_else(|| DISCOVERY.to_owned())
    }
}

/// Where the application's own metrics are, from its pod's annotations as JSON.
fn metrics_url(annotations: &str) -> Option<String> {
    let value: Value = serde_json::from_str(annotations).ok()?;
    let text = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
    if text("scrape") == Some("false") {
        return None;
    }
    let port = text("port").unwrap_or("80");
    let path = text("path").unwrap_or("/metrics");
    Some(format!("http://127.0.0.1:{port}{path}"))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_configuration_is_read_as_the_injector_wrote_it() {
        let text = r#"{"concurrency":2,"statusPort":0,"terminationDrainDuration":"7s"}"#;
        let expected = Config {
            discovery: None,
            concurrency: Some(2),
            status_port: Some(0),
            drain: Some(Duration::from_secs(7)),
        };
        assert_eq!(Config::read(text), expected);
        assert_eq!(Config::read("{}"), Config::default());
    }

    #[test]
    fn the_applications_metrics_are_where_its_annotations_say() {
        for (annotations, expected) in [
            (r#"{"port":"9090","path":"/m"}"#, Some("http://127.0.0.1:9090/m")),
            (r#"{"port":"9090"}"#, Some("http://127.0.0.1:9090/metrics")),
            (r#"{"scrape":"false","port":"9090"}"#, None),
            ("nonsense", None),
        ] {
            assert_eq!(metrics_url(annotations).as_deref(), expected, "{annotations}");
        }
    }
}
