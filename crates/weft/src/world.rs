//! The objects of a running mesh, for the commands that explain it.

use anyhow::Result;
use futures::future::try_join_all;
use weft_cluster::client::{Query, Scope};
use weft_explain::World;

use crate::verbs::Whose;

/// The resources that decide something about traffic.
const RESOURCES: [&str; 8] = [
    "namespaces",
    "pods",
    "services",
    "endpointslices.discovery.k8s.io",
    "configmaps",
    "gateways.networking.istio.io",
    "virtualservices.networking.istio.io",
    "destinationrules.networking.istio.io",
];

/// The world as the API server has it now.
pub async fn of_cluster(whose: Whose<'_>) -> Result<World> {
    let cluster = whose.connect().await?;
    let resources = cluster.resources().await?;
    let listing = RESOURCES.iter().map(|word| async {
        let query = Query {
            words: vec![(*word).to_owned()],
            scope: Scope::All,
            labels: None,
            fields: None,
        };
        cluster.objects(&query.targets(&resources)?, &query).await
    });
    let objects = try_join_all(listing).await?;
    Ok(World::of_objects(objects.into_iter().flatten().map(|(_, object)| object)))
}
