//! The objects of a running mesh: for the commands that explain it, and for what
//! is wrong with them together.

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::Value;
use weft_api::{Key, Kind};
use weft_cluster::client::{Cluster, Query, Resources, Scope};
use weft_explain::World;
use weft_manifest::Document;
use weft_translate::Translator;

use crate::{checks, verbs::Whose};

/// The world as the API server has it now.
pub async fn of_cluster(whose: Whose<'_>) -> Result<World> {
    let cluster = whose.connect().await?;
    let resources = cluster.resources().await?;
    Ok(World::of_objects(objects(&cluster, &resources).await?))
}

/// Whether pods are on their way, so that a Service without endpoints is no wonder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workloads {
    /// Some are being started.
    Starting,
    /// None is.
    Settled,
}

impl Workloads {
    /// What applying these documents makes of them.
    pub fn after<'d>(mut documents: impl Iterator<Item = &'d Document>) -> Self {
        let starts = |document: &Document| {
            let kind = document.value.as_ref().and_then(|value| value["kind"].as_str());
            matches!(kind, Some("Deployment" | "ReplicaSet" | "Pod" | "StatefulSet"))
        };
        if documents.any(starts) { Self::Starting } else { Self::Settled }
    }
}

/// What is wrong with the objects of `documents` together with all others: hosts
/// and subsets that do not exist, conflicts, rules that are never reached.
/// Objects that name no namespace are those of `namespace`.
pub async fn complaints<'d>(
    (cluster, resources): (&Cluster, &Resources),
    documents: impl Iterator<Item = &'d Document>,
    (namespace, workloads): (&str, Workloads),
) -> Result<Vec<String>> {
    let mut translator = Translator::new();
    let checked =
        objects(cluster, resources).await?.into_iter().map(|object| weft_api::check(&object));
    let changes: Vec<_> =
        checked.filter_map(|checked| Some((checked.key?, checked.object))).collect();
    translator.change(changes);
    let found = translator.diagnostics();
    let mut lines = Vec::new();
    for document in documents {
        let Some(key) = document.value.as_ref().and_then(|value| key(value, namespace)) else {
            continue;
        };
        if key.kind == Kind::Service && workloads == Workloads::Starting {
            continue;
        }
        let own = found.iter().filter(|diagnostic| diagnostic.object == key);
        lines.extend(own.map(|diagnostic| checks::line(document, diagnostic)));
    }
    Ok(lines)
}

fn key(object: &Value, namespace: &str) -> Option<Key> {
    let mut key = weft_api::check(object).key?;
    if key.kind.namespaced() && object["metadata"]["namespace"].as_str().is_none_or(str::is_empty) {
        key.namespace = namespace.to_owned();
    }
    Some(key)
}

async fn objects(cluster: &Cluster, resources: &Resources) -> Result<Vec<Value>> {
    let listing = Kind::deciding().map(|kind| async move {
        let word = match kind.group() {
            "" => kind.plural().to_owned(),
            group => format!("{}.{group}", kind.plural()),
        };
        let query = Query { words: vec![word], scope: Scope::All, labels: None, fields: None };
        cluster.objects(&query.targets(resources)?, &query).await
    });
    let objects = try_join_all(listing).await?;
    Ok(objects.into_iter().flatten().map(|(_, object)| object).collect())
}
