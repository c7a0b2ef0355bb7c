//! The objects of a running mesh, for the commands that explain it and for problems
//! that objects have together.

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::Value;
use weft_api::Kind;
use weft_cluster::client::{Cluster, Query, Resources, Scope};
use weft_explain::World;

use crate::verbs::Whose;

/// The world as the API server has it now.
pub async fn of_cluster(whose: Whose<'_>) -> Result<World> {
    let cluster = whose.connect().await?;
    let resources = cluster.resources().await?;
    Ok(World::of_objects(objects(&cluster, &resources).await?))
}

/// All objects that decide something about traffic.
pub async fn objects(cluster: &Cluster, resources: &Resources) -> Result<Vec<Value>> {
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
