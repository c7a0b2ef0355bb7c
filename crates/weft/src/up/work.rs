//! What `weft up` does once the API can be used: the mesh itself, then the
//! user's files, then whatever changes in them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{StreamExt, future::try_join_all, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weft_cluster::{
    client::{Cluster, Deletion, Outcome, Resource, Resources},
    install,
};
use weft_manifest::{
    Document,
    files::{Changes, Files, ObjectName, Source},
};

use super::{
    report::Report,
    sources::{QUIET, Sources},
};
use crate::{
    checks,
    world::{self, Workloads},
};

/// Objects that are applied at once; each has a connection, and a user may have
/// only a thousand open files.
const AT_ONCE: usize = 64;

/// The namespace of objects that name none.
const NAMESPACE: &str = "default";

/// The mesh's own settings: Istio's, with the access log on, and the behaviour of
/// the release that the courses were written for.
const MESH: &str = "\
accessLogFile: /dev/stdout
compatibility: istio-1.0
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
rootNamespace: istio-system
trustDomain: cluster.local
";

/// What the work needs.
pub struct Work {
    /// The API.
    pub cluster: Cluster,
    /// The user's files.
    pub sources: Sources,
    /// Whether namespace `default` is left unlabelled.
    pub no_inject: bool,
    /// How long the start may take.
    pub timeout: Duration,
    /// Where it is told.
    pub report: Arc<Report>,
}

impl Work {
    /// Installs the mesh and applies the files; resolves when every pod is up, with
    /// what was told to be wrong with the objects together.
    pub async fn start(&self, files: &mut Files) -> Result<Vec<String>> {
        let begun = Instant::now();
        let resources = self.install().await?;
        // Its Deployment, and its pods.
        let is_control_plane = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            object["metadata"]["namespace"] == "istio-system" && name.starts_with("istiod")
        };
        self.wait_for(&resources, (begun, "control plane"), is_control_plane).await?;
        let changes = self.read(files);
        if !self.no_inject && !owns_default(&changes) {
            let labels = json!({"istio-injection": "enabled"});
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": NAMESPACE, "labels": labels},
            });
            self.cluster.apply(&resources, &namespace, "").await?;
        }
        let told = self.carry_out(changes, files, Vec::new()).await;
        self.wait_for(&resources, (begun, "workloads"), |_| true).await?;
        Ok(self.complain(&resources, files, Workloads::Settled, told).await)
    }

    /// Follows the files until the process ends; `told` is what is known to be wrong.
    pub async fn follow(&self, mut files: Files, mut told: Vec<String>) -> Result<()> {
        let (_watcher, mut events) = self.sources.watch()?;
        // What was saved between the start and the watch.
        let changes = self.read(&mut files);
        told = self.carry_out(changes, &files, told).await;
        loop {
            let due = files.due().map(tokio::time::Instant::from_std);
            let fading = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let changes = tokio::select! {
                event = events.recv() => {
                    event.context("the watch of the files has ended")?;
                    settle(&mut events).await;
                    self.read(&mut files)
                }
                () = fading => files.wait(Instant::now()),
            };
            told = self.carry_out(changes, &files, told).await;
        }
    }

    /// Installs the mesh; what the API serves from then on.
    async fn install(&self) -> Result<Resources> {
        let settings = install::Settings { mesh: MESH.to_owned(), ..Default::default() };
        let objects = install::objects(&settings);
        let total = objects.len();
        self.report.progress("installing the mesh", 0, total);
        let mut resources = Resources::default();
        // Kinds before objects of these kinds, namespaces before what is in them.
        for step in [&["CustomResourceDefinition", "Namespace"][..], &[][..]] {
            resources = self.cluster.resources().await?;
            let early = |object: &&Value| {
                let kind = object["kind"].as_str().unwrap_or_default();
                ["CustomResourceDefinition", "Namespace"].contains(&kind) != step.is_empty()
            };
            let applying = objects
                .iter()
                .filter(early)
                .map(|object| self.cluster.apply(&resources, object, NAMESPACE));
            try_join_all(applying).await.context("installing the mesh")?;
        }
        self.report.progress("installing the mesh", total, total);
        Ok(resources)
    }

    fn read(&self, files: &mut Files) -> Changes {
        let mut all = Changes::default();
        let known: Vec<Source> = files.sources().cloned().collect();
        let look = self.sources.read(&known);
        look.unreadable.iter().for_each(|line| self.report.line(line));
        for (source, text) in look.seen {
            let changes = files.saw(&source, text.as_deref(), Instant::now());
            // A later file of the same look may have taken an object over.
            for (name, document) in changes.apply {
                all.prune.retain(|pruned| *pruned != name);
                all.apply.retain(|(applied, _)| *applied != name);
                all.apply.push((name, document));
            }
            all.prune.extend(changes.prune);
            all.problems.extend(changes.problems);
            all.conflicts.extend(changes.conflicts);
        }
        all
    }

    /// Does what changed files say; what is wrong with the objects together now.
    async fn carry_out(&self, changes: Changes, files: &Files, told: Vec<String>) -> Vec<String> {
        for problem in &changes.problems {
            self.report.line(&problem.to_string());
        }
        for conflict in &changes.conflicts {
            self.report.line(&conflict.to_string());
        }
        if changes.apply.is_empty() && changes.prune.is_empty() {
            return told;
        }
        let Some(mut resources) = self.served().await else { return told };
        let workloads =
            Workloads::after(changes.apply.iter().map(|(_, document)| Arc::as_ref(document)));
        for kinds in in_order(changes.apply) {
            let applying =
                kinds.iter().map(|(name, document)| self.apply(&resources, name, document));
            stream::iter(applying).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
            // What a definition adds is served from the next step on.
            if kinds.iter().any(|(name, _)| name.kind == "CustomResourceDefinition") {
                resources = self.served().await.unwrap_or(resources);
            }
        }
        for name in &changes.prune {
            self.prune(&resources, name).await;
        }
        self.complain(&resources, files, workloads, told).await
    }

    /// What the API serves now; says so when it cannot be asked.
    async fn served(&self) -> Option<Resources> {
        match self.cluster.resources().await {
            Ok(resources) => Some(resources),
            Err(error) => {
                self.report.line(&format!("error: {error}"));
                None
            }
        }
    }

    /// Tells what is wrong with the objects of all files together, whichever of
    /// them has changed, without what was told before; all of it.
    async fn complain(
        &self,
        resources: &Resources,
        files: &Files,
        workloads: Workloads,
        told: Vec<String>,
    ) -> Vec<String> {
        let whole = (NAMESPACE, workloads);
        let cluster = (&self.cluster, resources);
        let lines = match world::complaints(cluster, files.documents(), whole).await {
            Ok(lines) => lines,
            Err(error) => vec![format!("error: looking at the objects together: {error:#}")],
        };
        lines.iter().filter(|line| !told.contains(line)).for_each(|line| self.report.line(line));
        lines
    }

    async fn apply(&self, resources: &Resources, name: &ObjectName, document: &Document) {
        let found = checks::check(document);
        found.lines.iter().for_each(|line| self.report.line(line));
        let Some(value) = document.value.as_ref().filter(|_| !found.refused) else {
            return self
                .report
                .line(&format!("{}: error: {name} is not applied", document.place()));
        };
        match self.cluster.apply(resources, value, NAMESPACE).await {
            Ok(applied) => {
                let remarks = checks::remarks(document, &applied, &found.lines);
                remarks.iter().for_each(|line| self.report.line(line));
                if applied.outcome != Outcome::Unchanged {
                    self.report.line(&format!("{} {}", applied.name, applied.outcome.word()));
                }
            }
            Err(error) => {
                let found = checks::refusal(document, &error, resources);
                found.lines.iter().for_each(|line| self.report.line(line));
            }
        }
    }

    async fn prune(&self, resources: &Resources, name: &ObjectName) {
        let served = |one: &&Resource| one.group == name.group && one.kind == name.kind;
        let Some(resource) = resources.iter().find(served) else { return };
        let namespace = match name.namespace.is_empty() {
            true => NAMESPACE,
            false => &name.namespace,
        };
        let deleting = self.cluster.delete(resource, (namespace, &name.name), Deletion::default());
        match deleting.await {
            Ok(true) => self.report.line(&format!("{name} deleted: no file has it any more")),
            Ok(false) => {}
            Err(error) => self.report.line(&format!("error: deleting {name}: {error}")),
        }
    }
}

/// Waits until nothing has happened for a while.
async fn settle(events: &mut mpsc::Receiver<()>) {
    while tokio::time::timeout(QUIET, events.recv()).await.is_ok_and(|event| event.is_some()) {}
}

/// Namespaces and kinds first, then what others refer to, then the rest.
fn in_order(mut all: Vec<(ObjectName, Arc<Document>)>) -> Vec<Vec<(ObjectName, Arc<Document>)>> {
    let rank = |kind: &str| match kind {
        "CustomResourceDefinition" | "Namespace" => 0,
        "ServiceAccount" | "ConfigMap" | "Secret" | "Service" => 1,
        _ => 2,
    };
    let mut steps: Vec<Vec<_>> = vec![Vec::new(), Vec::new(), Vec::new()];
    for (name, document) in all.drain(..) {
        steps[rank(&name.kind)].push((name, document));
    }
    steps
}

fn owns_default(changes: &Changes) -> bool {
    changes.apply.iter().any(|(name, _)| name.kind == "Namespace" && name.name == NAMESPACE)
}
