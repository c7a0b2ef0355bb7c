//! The endpoints of a service's port, which all backends of it choose from.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use weft_config::{ChunkList, Endpoint};

use crate::{quick::Quick, shards::Shards};

/// The endpoints of one chunk.
pub(crate) type Chunk = Arc<[Arc<Endpoint>]>;

/// A list of chunks with the endpoints of those that are there.
#[derive(Debug, Default)]
pub(crate) struct EndpointSet {
    /// The chunks that are named, whether they are there or not.
    pub(crate) list: Arc<ChunkList>,
    /// Each address once.
    endpoints: Vec<Arc<Endpoint>>,
    /// Where in `endpoints` those with a label are; made when a subset is first used.
    labelled: OnceLock<HashMap<(String, String), Vec<u32>, Quick>>,
}

impl EndpointSet {
    /// The endpoints of the chunks that `list` names.
    pub(crate) fn new(list: Arc<ChunkList>, chunks: &Shards<Arc<str>, Chunk>) -> Self {
        let there = list.chunks.iter().filter_map(|name| chunks.find(name.as_str()));
        // While a chunk is cut in two, its endpoints may be in the old one and in the new ones.
        let all: BTreeMap<SocketAddr, &Arc<Endpoint>> = there
            .flat_map(|chunk| chunk.iter())
            .map(|endpoint| (endpoint.address, endpoint))
            .collect();
        let endpoints = all.into_values().cloned().collect();
        Self { list, endpoints, labelled: OnceLock::new() }
    }

    /// The endpoints that have all of `labels`. The cost is that of reading those that have the
    /// rarest of them.
    pub(crate) fn with_labels<'s>(
        &'s self,
        labels: &'s [(String, String)],
    ) -> impl Iterator<Item = &'s Arc<Endpoint>> + 's {
        let lists = labels.iter().map(|label| self.labelled(label));
        let rarest = lists.min_by_key(|found| found.len());
        let all = self.endpoints.iter().filter(|_| labels.is_empty());
        let some = rarest.unwrap_or_default().iter().map(|at| &self.endpoints[*at as usize]);
        all.chain(
            some.filter(|endpoint| labels.iter().all(|label| endpoint.labels.contains(label))),
        )
    }

    fn labelled(&self, label: &(String, String)) -> &[u32] {
        let labelled = self.labelled.get_or_init(|| {
            let mut found: HashMap<(String, String), Vec<u32>, Quick> = HashMap::default();
            for (at, endpoint) in (0..).zip(&self.endpoints) {
                for label in &endpoint.labels {
                    found.entry(label.clone()).or_default().push(at);
                }
            }
            found
        });
        labelled.get(label).map_or(&[], Vec::as_slice)
    }
}
