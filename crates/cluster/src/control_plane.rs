//! The control plane inside a cluster: its watches, the tokens that it accepts, and
//! its admission webhooks.
//!
//! It watches objects for `control`, checks tokens by review, keeps its root in
//! a Secret and a copy for every namespace in ConfigMaps, and serves the admission
//! webhooks. How objects become configuration is not known here.

mod admission;
mod authority;
mod events;
mod injection_inputs;
mod reviews;
mod root;
#[cfg(test)]
mod scripted;
mod upkeep;
mod watches;
mod webhooks;

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use weft_control::{Installation, RootError, tls};
use weft_process::shutdown::Stopping;

use self::{injection_inputs::InjectionInputs, webhooks::Webhooks};
use crate::{
    client::{ClientError, Cluster},
    install::WEBHOOK_PORT,
};

/// Changes on their way to the translator.
const CHANGES: usize = 1024;

/// What the control plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace of the mesh's own objects.
    pub namespace: String,
    /// The name of the cluster, in metrics.
    pub cluster_name: String,
    /// The domain of the cluster's names.
    pub domain: String,
    /// Where proxies connect.
    pub xds: SocketAddr,
    /// Where proxies connect in plain text; none unless asked for.
    pub xds_plain: Option<SocketAddr>,
    /// Where metrics and readiness are served.
    pub monitoring: SocketAddr,
    /// Where the API server asks.
    pub webhooks: SocketAddr,
}

impl Options {
    /// Istio's ports on every address, TLS only.
    pub fn new(namespace: impl Into<String>) -> Self {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            namespace: namespace.into(),
            cluster_name: Installation::default().cluster,
            domain: Installation::default().domain,
            xds: any(15012),
            xds_plain: None,
            monitoring: any(15014),
            webhooks: any(WEBHOOK_PORT),
        }
    }
}

/// Why the control plane cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// A port is taken.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The API server cannot be used.
    #[error("{what}")]
    Api {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        source: ClientError,
    },
    /// The root cannot be used.
    #[error("the mesh's root, in Secret {secret}")]
    Root {
        /// Where it is kept.
        secret: String,
        /// What is wrong.
        source: RootError,
    },
    /// No threads can be started.
    #[error("starting threads for the webhooks")]
    Threads(#[source] io::Error),
    /// TLS cannot be served.
    #[error("serving TLS")]
    Tls(#[from] tls::TlsError),
}

/// Serves until `stopping`.
pub async fn run(
    cluster: Cluster,
    options: Options,
    stopping: Stopping,
) -> Result<(), ControlPlaneError> {
    let xds = listen(options.xds).await?;
    let monitoring = listen(options.monitoring).await?;
    let address = options.webhooks;
    let webhooks = listen(address).await?.into_std();
    let webhooks = webhooks.map_err(|source| ControlPlaneError::Listen { address, source })?;
    let xds_plain = match options.xds_plain {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let root = root::load(&cluster, &options.namespace).await?;
    let certificate = root::Certificate::new(root, &options.namespace, &options.domain)?;
    let tls = tls::serving(certificate.serving())?;
    let reviews = Arc::new(reviews::Reviews::new(cluster.clone()));
    let (changes, receiver) = mpsc::channel(CHANGES);
    let control = weft_control::Options {
        xds_plain,
        installation: Installation {
            namespace: options.namespace.clone(),
            cluster: options.cluster_name,
            domain: options.domain,
        },
        ..weft_control::Options::new(xds, Arc::clone(&tls), monitoring, reviews)
    };
    let (_handle, serving) = weft_control::run(control, receiver, stopping.clone());

    let mut tasks = JoinSet::new();
    let ca_pem: Arc<str> = certificate.root().certificate_pem().into();
    let inputs = Arc::new(InjectionInputs::new());
    let answers = Webhooks::new(cluster.clone(), Arc::clone(&inputs));
    let threads = webhooks::Threads::start().map_err(ControlPlaneError::Threads)?;
    let reviewing = threads.spawn(webhooks::serve(webhooks, tls, answers, stopping));
    tasks.spawn(authority::distribute(cluster.clone(), Arc::clone(&ca_pem)));
    tasks.spawn(authority::inject_bundle(cluster.clone(), ca_pem, options.namespace.clone()));
    tasks.spawn(watches::run(cluster, options.namespace, changes, inputs));
    tasks.spawn(certificate.renew());
    serving.await;
    match reviewing.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the webhooks ended: {error}"),
        Err(error) => tracing::error!("the webhooks ended: {error}"),
    }
    tasks.shutdown().await;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ControlPlaneError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ControlPlaneError::Listen { address, source })
}
