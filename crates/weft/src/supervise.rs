//! `weft supervise` (hidden): process 1 of a mesh on the laptop.
//!
//! Started by `weft up`, with the channel to it as standard input. Puts the API
//! server and the node together; what runs on them comes through the API.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use weft_apiserver::{Authority, Server, Store};
use weft_cluster::client::Cluster;
use weft_pods::{
    Acknowledged, Images, Settings, Tool,
    supervisor::{EnterError, EnterOutcome, enter, prepare},
};

/// The subcommand's name, for `weft up`.
pub const COMMAND: &str = "supervise";

/// The settings that `weft up` passes.
#[derive(Debug, Serialize, Deserialize)]
pub struct SupervisorSettings {
    /// The mesh's name.
    pub name: String,
    /// The images that can be run.
    pub images: Images,
    /// Where containers look for programs.
    pub path: String,
    /// The domain of the cluster's names.
    pub domain: String,
}

/// The message of the supervisor once its API can be used.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The administrator's kubeconfig.
    pub kubeconfig: String,
}

/// The exit code where namespaces are not permitted, after a message.
pub const FORBIDDEN: u8 = 77;

/// Runs the command; must be called before any thread is started.
pub fn run() -> Result<ExitCode> {
    match enter(&[COMMAND.into()]) {
        Err(error @ EnterError::Forbidden { .. }) => {
            crate::terminal::note(format_args!("error: {error}"));
            Ok(ExitCode::from(FORBIDDEN))
        }
        Err(error) => Err(error.into()),
        Ok(EnterOutcome::Left(code)) => Ok(ExitCode::from(code)),
        Ok(EnterOutcome::Inside(entered)) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("starting the supervisor's runtime")?;
            runtime.block_on(inside(entered))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn inside(entered: weft_pods::supervisor::Entered) -> Result<()> {
    let mut prepared = prepare(entered).await?;
    let given: SupervisorSettings = serde_json::from_value(prepared.settings().clone())
        .context("reading what was handed over")?;
    let listeners = prepared.api_listeners();
    let address = listeners.first().context("no socket for the API server")?.local_addr()?;
    let store = Store::new();
    let authority = Arc::new(Authority::of_domain(&given.domain)?);
    let dial = prepared.dial(&store);
    let inside = SocketAddr::from((weft_pods::API, 443));
    let own = authority.admin_kubeconfig(inside, &given.name);
    let settings = Settings {
        images: given.images,
        tools: vec![curl(), pilot_agent()],
        path: given.path,
        domain: given.domain,
        authority: Arc::clone(&authority),
        acknowledged: acknowledged(own),
    };
    let running = prepared.start(store.clone(), settings).await?;
    let node = Arc::new(running.node());
    let server = Arc::new(Server::new(store, Arc::clone(&authority), node, dial)?);
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(Arc::clone(&server).serve(listener, std::future::pending()));
    }
    tokio::spawn(Arc::clone(&server).control(std::future::pending()));
    let kubeconfig = authority.admin_kubeconfig(address, &given.name);
    running.link().ready(json!(Ready { kubeconfig })).await;
    running.until_stopped().await;
    Ok(())
}

/// Asks the control plane of the cluster behind `kubeconfig`. When it cannot be asked, the
/// wait ends at once.
fn acknowledged(kubeconfig: String) -> Acknowledged {
    let kubeconfig: Arc<str> = kubeconfig.into();
    Arc::new(move |slices, wait| {
        let kubeconfig = Arc::clone(&kubeconfig);
        Box::pin(async move {
            let Ok(cluster) = Cluster::from_kubeconfig(&kubeconfig).await else { return };
            cluster.until_acknowledged(&slices, wait).await;
        })
    })
}

/// `pilot-agent` is this program: injected pods call it in their hooks.
fn pilot_agent() -> Tool {
    Tool {
        name: "pilot-agent".to_owned(),
        command: vec![weft_pods::PROGRAM.to_owned(), "pilot-agent".to_owned()],
        first_in: vec!["istio-proxy".to_owned()],
    }
}

/// `curl` is built in: always beside a proxy, elsewhere when the host has none.
fn curl() -> Tool {
    Tool {
        name: "curl".to_owned(),
        command: vec![weft_pods::PROGRAM.to_owned(), "curl".to_owned()],
        first_in: vec!["istio-proxy".to_owned()],
    }
}
