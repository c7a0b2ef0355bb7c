//! Options and output that the verbs of the API have in common: cluster, namespace,
//! objects.

pub mod apply;
pub mod delete;
pub mod describe;
pub mod exec;
pub mod get;
pub mod kubectl;
pub mod label;
pub mod logs;
pub mod scale;

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::runtime::Runtime;
use weft_cluster::client::{Cluster, Container, NamespaceScope, Query};

use crate::{meshes, terminal::note};

/// The cluster of a command, as options of the program or of the command.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ClusterArgs {
    /// A mesh that runs on this machine [default: the only one]
    #[arg(long, value_name = "NAME", help_heading = "Which cluster")]
    mesh: Option<String>,
    /// Any cluster, instead of a mesh on this machine
    #[arg(long, value_name = "FILE", conflicts_with = "mesh", help_heading = "Which cluster")]
    kubeconfig: Option<PathBuf>,
}

impl ClusterArgs {
    /// The cluster given here, else the one given by `outer`.
    pub fn or<'a>(&'a self, outer: &'a Self) -> ChosenCluster<'a> {
        let is_given = |target: &Self| target.mesh.is_some() || target.kubeconfig.is_some();
        let target = if is_given(self) { self } else { outer };
        ChosenCluster { mesh: target.mesh.as_deref(), kubeconfig: target.kubeconfig.as_deref() }
    }
}

/// Which cluster a command is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChosenCluster<'a> {
    /// A mesh that runs on this machine, by name.
    pub mesh: Option<&'a str>,
    /// Any cluster, by its kubeconfig.
    pub kubeconfig: Option<&'a Path>,
}

impl ChosenCluster<'_> {
    /// Whether one was given.
    pub fn is_given(self) -> bool {
        self.mesh.is_some() || self.kubeconfig.is_some()
    }

    /// Refuses a cluster beside files that are looked at instead of one.
    pub fn not_with_files(self, files: &[PathBuf]) -> Result<()> {
        match files.is_empty() || !self.is_given() {
            true => Ok(()),
            false => bail!(
                "-f looks at files instead of a cluster; leave out -f, or --mesh and --kubeconfig"
            ),
        }
    }

    /// The kubeconfig: the one given, else that of the running mesh.
    pub fn kubeconfig(self) -> Result<PathBuf> {
        match self.kubeconfig {
            Some(path) => Ok(path.to_owned()),
            None => Ok(meshes::choose(&meshes::folder()?, self.mesh)?.kubeconfig),
        }
    }

    /// A connection to the cluster.
    pub async fn connect(self) -> Result<Cluster> {
        let path = self.kubeconfig()?;
        let text = fs::read_to_string(&path)
            .with_context(|| format!("reading the kubeconfig {}", path.display()))?;
        Ok(Cluster::from_kubeconfig(&text).await?)
    }
}

/// In which namespace.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct NamespaceArgs {
    /// The objects' namespace [default: the kubeconfig's]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

impl NamespaceArgs {
    /// The namespace that is meant.
    pub fn namespace(&self, cluster: &Cluster) -> String {
        self.namespace.clone().unwrap_or_else(|| cluster.namespace().to_owned())
    }
}

/// Which container.
#[derive(clap::Args, Clone, Debug)]
pub struct InPod {
    /// The pod, or a workload of it: `hello-1`, `deployment/hello`
    pod: String,
    #[command(flatten)]
    place: NamespaceArgs,
    /// The container [default: the pod's first]
    #[arg(short, long)]
    container: Option<String>,
}

impl InPod {
    /// The container that is meant, and its cluster; tells how it was chosen.
    pub async fn find(&self, chosen: ChosenCluster<'_>) -> Result<(Cluster, Container)> {
        let cluster = chosen.connect().await?;
        let resources = cluster.resources().await?;
        let namespace = self.place.namespace(&cluster);
        let which = (self.pod.as_str(), namespace.as_str());
        let container = cluster.container(&resources, which, self.container.as_deref()).await?;
        if let Some(remark) = &container.remark {
            note(remark);
        }
        Ok((cluster, container))
    }
}

/// Which objects.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selection {
    #[command(flatten)]
    place: NamespaceArgs,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels, as in `app=hello,version!=v1`
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only objects with these fields, as in `status.phase=Running`
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
}

impl Selection {
    /// The question that these options and `words` are.
    pub fn query(&self, words: &[String], cluster: &Cluster) -> Query {
        let scope = match self.all_namespaces {
            true => NamespaceScope::All,
            false => NamespaceScope::Namespace(self.place.namespace(cluster)),
        };
        Query {
            words: words.to_vec(),
            scope,
            labels: self.selector.clone(),
            fields: self.field_selector.clone(),
        }
    }
}

/// A runtime for one command.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// One of this process's own streams, to be used without blocking.
pub fn stream(own: impl AsFd) -> Result<tokio::fs::File> {
    let copy = own.as_fd().try_clone_to_owned().context("using a standard stream")?;
    Ok(tokio::fs::File::from_std(copy.into()))
}
