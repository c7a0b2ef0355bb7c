//! How endpoints are cut into chunks.

use super::*;

fn endpoints(count: u32) -> Vec<Endpoint> {
    let address = |n: u32| SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 80));
    let endpoint = |n| Endpoint {
        address: address(n),
        labels: Vec::new(),
        workload: None,
        locality: String::new(),
        weight: None,
    };
    (0..count).map(endpoint).collect()
}

#[test]
fn every_endpoint_is_in_one_chunk_and_no_chunk_is_large() {
    for count in [0, 1, 64, 65, 1000] {
        let chunks = cut("x:80", endpoints(count));
        assert!(chunks.iter().all(|chunk| chunk.endpoints.len() <= CHUNK));
        let mut all: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.endpoints).collect();
        all.sort();
        assert_eq!(all, endpoints(count));
    }
}

#[test]
fn one_endpoint_less_changes_one_chunk_or_joins_two() {
    let before = cut("x:80", endpoints(1000));
    for gone in 0..1000 {
        let mut fewer = endpoints(1000);
        fewer.remove(gone);
        let after = cut("x:80", fewer);
        let changed = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(changed == 1 && after.len() + 1 >= before.len(), "{gone}: {changed}");
    }
}

#[test]
fn addresses_with_similar_hashes_cost_no_more_chunks_than_endpoints() {
    // 65 addresses whose hashes agree in their lowest 12 bits: each bit more
    // that they agreed in once doubled the number of chunks.
    let all = (0..u32::MAX).map(|n| SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 80)));
    let similar = all.filter(|address| hash(*address) & 0xfff == 0).take(65);
    let similar = similar.map(|address| Endpoint { address, ..endpoints(1).remove(0) });
    let similar: Vec<Endpoint> = similar.collect();
    let chunks = cut("x:80", similar.clone());
    assert!(chunks.len() <= 8, "{} chunks", chunks.len());
    let mut all: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.endpoints).collect();
    all.sort();
    assert_eq!(all.len(), similar.len());
}
