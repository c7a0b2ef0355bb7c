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
    client::{
        ApplyOutcome, ApplyRefusal, Cluster, Deletion, NamespaceScope, Query, Resource, Resources,
        with_last_applied,
    },
    install,
};
use weft_explain::{Circumstances, Workloads, check, problems};
use weft_manifest::{
    Document,
    files::{Changes, Files, ObjectName, Source},
    waves,
};
use weft_pods::Image;

use super::{
    images,
    report::Report,
    sources::{FileText, QUIET, Sources},
    waiting::{Missing, WORKLOADS},
};

/// Objects that are applied at once; each has a connection, and a user may have
/// only a thousand open files.
const AT_ONCE: usize = 64;

/// The label of namespaces whose pods get sidecars.
const INJECTION: &str = "istio-injection";

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

/// What a start has come to.
pub struct Started {
    /// Problems of the objects together that have been reported.
    pub reported: Vec<String>,
    /// Documents and objects of the files that are not applied.
    pub refused: usize,
    /// Pods that are not ready.
    pub missing: Missing,
}

/// What has become of changed files.
struct CarriedOut {
    /// Problems of the objects together that have been reported.
    reported: Vec<String>,
    /// Documents and objects that are not applied.
    refused: usize,
}

/// What has become of one object.
struct AppliedObject {
    /// What there is to report about it.
    lines: Vec<String>,
    /// Whether it is not applied, by an error.
    is_refused: bool,
}

/// What the work needs.
pub struct Work {
    /// The API.
    pub cluster: Cluster,
    /// The user's files.
    pub sources: Sources,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// Whether that namespace is left without the label for injection.
    pub no_inject: bool,
    /// The domain of the cluster's names.
    pub domain: String,
    /// The commands that the user gave for images.
    pub images: Vec<Image>,
    /// How long the start may take.
    pub timeout: Duration,
    /// Where progress and problems are reported.
    pub report: Arc<Report>,
}

impl Work {
    /// Installs the mesh and applies the files; resolves when every pod is ready or the
    /// others are not waited for any longer.
    pub async fn start(&self, files: &mut Files) -> Result<Started> {
        let begun = Instant::now();
        let resources = self.install().await?;
        // Its Deployment, and its pods.
        let is_control_plane = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            object["metadata"]["namespace"] == "istio-system" && name.starts_with("istiod")
        };
        self.wait_for(&resources, (begun, "control plane"), is_control_plane).await?;
        let changes = self.read(files);
        if !self.is_defined(&changes) {
            self.define(&resources).await?;
        }
        let CarriedOut { reported, refused } = self.carry_out(changes, files, Vec::new()).await;
        self.report_namespaces(&resources, files).await?;
        self.report_images(&resources, files).await?;
        let missing = self.wait_for(&resources, (begun, WORKLOADS), |_| true).await?;
        let reported = self.complain(&resources, files, Workloads::Settled, reported).await;
        Ok(Started { reported, refused, missing })
    }

    /// Whether the files define the namespace of objects that name none.
    fn is_defined(&self, changes: &Changes) -> bool {
        let is_own = |name: &ObjectName| name.kind == "Namespace" && name.name == self.namespace;
        changes.apply.iter().any(|(name, _)| is_own(name))
    }

    /// Makes the namespace of objects that name none, with sidecars for its pods.
    async fn define(&self, resources: &Resources) -> Result<()> {
        let labels = match self.no_inject {
            true => json!({}),
            false => json!({INJECTION: "enabled"}),
        };
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": labels},
        });
        self.cluster.apply(resources, &namespace, "").await?;
        Ok(())
    }

    /// Reports namespaces of the files whose pods get no sidecar because nothing asks
    /// for one.
    async fn report_namespaces(&self, resources: &Resources, files: &Files) -> Result<()> {
        if self.no_inject {
            return Ok(());
        }
        let query = Query {
            words: vec!["namespaces".to_owned()],
            scope: NamespaceScope::All,
            labels: None,
            fields: None,
        };
        let found = self.cluster.objects(&query.targets(resources)?, &query).await?;
        let namespaces: Vec<Value> = found.into_iter().map(|(_, object)| object).collect();
        let objects = files.documents().filter_map(|document| document.value.as_ref());
        for name in weft_inject::outside(objects, &namespaces, &self.namespace) {
            self.report.line(&format!(
                "namespace {name}: its pods get no sidecars, since it has no label {INJECTION}; \
                 `weft label namespace {name} {INJECTION}=enabled` changes that for pods made \
                 afterwards"
            ));
        }
        Ok(())
    }

    /// Reports images of the user that no container has: their names are not spelled as
    /// in the files.
    async fn report_images(&self, resources: &Resources, files: &Files) -> Result<()> {
        if self.images.is_empty() || files.documents().next().is_none() {
            return Ok(());
        }
        let words = vec![images::WORKLOADS.to_owned()];
        let query = Query { words, scope: NamespaceScope::All, labels: None, fields: None };
        let workloads = self.cluster.objects(&query.targets(resources)?, &query).await?;
        let workloads = workloads.iter().map(|(_, object)| object);
        for line in images::unused(&self.images, workloads) {
            self.report.line(&line);
        }
        Ok(())
    }

    /// Follows the files until the process ends; `reported` is what is known to be wrong.
    pub async fn follow(&self, mut files: Files, mut reported: Vec<String>) -> Result<()> {
        let (_watcher, mut events) = self.sources.watch()?;
        // What was saved between the start and the watch.
        let changes = self.read(&mut files);
        reported = self.carry_out(changes, &files, reported).await.reported;
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
                    event.context("the system no longer says when files change; run `weft up` again")?;
                    settle(&mut events).await;
                    self.read(&mut files)
                }
                () = fading => files.wait(Instant::now()),
            };
            reported = self.carry_out(changes, &files, reported).await.reported;
        }
    }

    /// Installs the mesh; what the API serves from then on.
    async fn install(&self) -> Result<Resources> {
        let settings = install::Settings {
            mesh: MESH.to_owned(),
            domain: self.domain.clone(),
            ..Default::default()
        };
        let objects = install::objects(&settings);
        let total = objects.len();
        self.report.progress("installing the mesh", 0, total);
        let mut resources = Resources::default();
        for wave in waves(&objects, |object| object["kind"].as_str().unwrap_or_default()) {
            resources = self.cluster.resources().await?;
            let applying = wave.iter().map(|object| self.cluster.apply(&resources, object, ""));
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
        for FileText { source, text } in look.seen {
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

    /// Does what changed files say; `reported` are the problems of the objects together that
    /// have been reported.
    async fn carry_out(
        &self,
        changes: Changes,
        files: &Files,
        reported: Vec<String>,
    ) -> CarriedOut {
        let mut refused = changes.problems.len();
        for problem in &changes.problems {
            self.report.line(&problem.to_string());
        }
        for conflict in &changes.conflicts {
            self.report.line(&conflict.to_string());
        }
        if changes.apply.is_empty() && changes.prune.is_empty() {
            return CarriedOut { reported, refused };
        }
        let Some(mut resources) = self.served().await else {
            refused += changes.apply.len();
            return CarriedOut { reported, refused };
        };
        let workloads =
            Workloads::after(changes.apply.iter().map(|(_, document)| Arc::as_ref(document)));
        for kinds in waves(changes.apply, |(name, _)| &name.kind) {
            let applying =
                kinds.iter().map(|(name, document)| self.apply(&resources, name, document));
            // Reported in the order of the files, not of the answers.
            let mut applied = stream::iter(applying).buffered(AT_ONCE);
            while let Some(applied) = applied.next().await {
                applied.lines.iter().for_each(|line| self.report.line(line));
                refused += usize::from(applied.is_refused);
            }
            drop(applied);
            // What a definition adds is served from the next step on.
            if kinds.iter().any(|(name, _)| name.kind == "CustomResourceDefinition") {
                resources = self.served().await.unwrap_or(resources);
            }
        }
        for name in &changes.prune {
            self.prune(&resources, name).await;
        }
        let reported = self.complain(&resources, files, workloads, reported).await;
        CarriedOut { reported, refused }
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

    /// Reports the problems that the objects of all files have together, but those in
    /// `reported`; returns all of them.
    async fn complain(
        &self,
        resources: &Resources,
        files: &Files,
        workloads: Workloads,
        reported: Vec<String>,
    ) -> Vec<String> {
        let known = Circumstances { namespace: &self.namespace, domain: &self.domain, workloads };
        let lines = match self.cluster.deciding_objects(resources).await {
            Ok(objects) => problems(objects, files.documents(), known).lines,
            Err(error) => vec![format!("error: checking the objects together: {error}")],
        };
        let new = lines.iter().filter(|line| !reported.contains(line));
        new.for_each(|line| self.report.line(line));
        lines
    }

    /// Applies one object.
    async fn apply(
        &self,
        resources: &Resources,
        name: &ObjectName,
        document: &Document,
    ) -> AppliedObject {
        let found = check(document);
        let mut lines = found.lines;
        let Some(value) = document.value.as_ref().filter(|_| !found.refused) else {
            lines.push(format!("{}: error: {name} is not applied", document.place()));
            return AppliedObject { lines, is_refused: true };
        };
        let value = with_last_applied(value);
        let mut is_refused = false;
        match self.cluster.apply(resources, &value, &self.namespace).await {
            Ok(applied) => {
                let place = document.place();
                let new = applied.new_warnings(&lines);
                let new: Vec<String> =
                    new.map(|text| format!("{place}: warning: {text}")).collect();
                lines.extend(new);
                if applied.outcome != ApplyOutcome::Unchanged {
                    lines.push(format!("{} {}", applied.name, applied.outcome.word()));
                }
            }
            Err(error) => {
                let refusal = ApplyRefusal::of(&value, &error, resources);
                is_refused = refusal.is_error;
                if !is_refused {
                    // What is left out has no fields that could be wrong.
                    lines.clear();
                }
                lines.push(format!("{}: {refusal}", document.place()));
            }
        }
        AppliedObject { lines, is_refused }
    }

    async fn prune(&self, resources: &Resources, name: &ObjectName) {
        let served = |one: &&Resource| one.group == name.group && one.kind == name.kind;
        let Some(resource) = resources.iter().find(served) else { return };
        let namespace = match name.namespace.is_empty() {
            true => &self.namespace,
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
