//! The endpoints of one backend, and the choice among them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use weft_config::{Endpoint, LoadBalancer};

use crate::{Member, Rng};

/// The endpoints of one backend.
#[derive(Debug)]
pub struct Pool {
    algorithm: LoadBalancer,
    members: Vec<Arc<Member>>,
    turn: Arc<Turn>,
}

/// Whose turn it is, from a random start.
#[derive(Debug, Default)]
struct Turn {
    start: OnceLock<usize>,
    taken: AtomicUsize,
}

impl Pool {
    /// A pool of `endpoints`; what `previous` knows of the same addresses is kept.
    pub fn new(
        algorithm: LoadBalancer,
        endpoints: impl IntoIterator<Item = Endpoint>,
        previous: Option<&Pool>,
    ) -> Self {
        let known: BTreeMap<SocketAddr, &Arc<Member>> = previous
            .iter()
            .flat_map(|pool| &pool.members)
            .map(|member| (member.endpoint.address, member))
            .collect();
        let members = endpoints
            .into_iter()
            .map(|endpoint| match known.get(&endpoint.address) {
                Some(member) if member.endpoint == endpoint => Arc::clone(member),
                known => Arc::new(Member::new(endpoint, known.map(|member| &***member))),
            })
            .collect();
        let turn = previous.map_or_else(Arc::default, |pool| Arc::clone(&pool.turn));
        Self { algorithm, members, turn }
    }

    /// All members.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// The member for one try. Those in `tried` are chosen only if there is no other.
    pub fn pick(&self, tried: &[SocketAddr], rng: &mut Rng) -> Option<&Arc<Member>> {
        if tried.is_empty() {
            return self.choose(self.members.len(), rng, |nth| self.members.get(nth));
        }
        let fresh =
            || self.members.iter().filter(|member| !tried.contains(&member.endpoint.address));
        match fresh().count() {
            0 => self.pick(&[], rng),
            count => self.choose(count, rng, |nth| fresh().nth(nth)),
        }
    }

    /// Chooses among `count` members that `nth` numbers.
    fn choose<'p>(
        &self,
        count: usize,
        rng: &mut Rng,
        nth: impl Fn(usize) -> Option<&'p Arc<Member>>,
    ) -> Option<&'p Arc<Member>> {
        if count <= 1 {
            return nth(0);
        }
        match self.algorithm {
            LoadBalancer::Random => nth(rng.below(count)),
            LoadBalancer::RoundRobin => {
                let start = *self.turn.start.get_or_init(|| rng.below(1 << 16));
                nth(start.wrapping_add(self.turn.taken.fetch_add(1, Relaxed)) % count)
            }
            LoadBalancer::LeastRequest => {
                let first = rng.below(count);
                let second = (first + 1 + rng.below(count - 1)) % count;
                let (first, second) = (nth(first)?, nth(second)?);
                Some(if second.busy() < first.busy() { second } else { first })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            address: ([10, 0, 0, 1], port).into(),
            labels: Vec::new(),
            workload: None,
            locality: String::new(),
        }
    }

    fn pool(algorithm: LoadBalancer, ports: &[u16], previous: Option<&Pool>) -> Pool {
        Pool::new(algorithm, ports.iter().copied().map(endpoint), previous)
    }

    fn picks(pool: &Pool, tried: &[u16], count: usize) -> Vec<u16> {
        let tried: Vec<_> = tried.iter().map(|port| endpoint(*port).address).collect();
        let mut rng = Rng::new(1);
        (0..count)
            .filter_map(|_| pool.pick(&tried, &mut rng))
            .map(|member| member.endpoint.address.port())
            .collect()
    }

    #[test]
    fn least_request_avoids_the_busier_of_two() {
        let pool = pool(LoadBalancer::LeastRequest, &[1, 2], None);
        let _busy = pool.members()[0].begin();
        assert_eq!(picks(&pool, &[], 4), [2, 2, 2, 2]);
    }

    #[test]
    fn the_end_of_an_exchange_is_noticed() {
        let pool = pool(LoadBalancer::LeastRequest, &[1], None);
        drop(pool.members()[0].begin());
        assert_eq!(pool.members()[0].busy(), 0);
    }

    #[test]
    fn round_robin_takes_everyone_in_turn_and_goes_on_in_the_next_table() {
        let first = pool(LoadBalancer::RoundRobin, &[1, 2, 3], None);
        let mut seen = picks(&first, &[], 2);
        let second = pool(LoadBalancer::RoundRobin, &[1, 2, 3], Some(&first));
        seen.extend(picks(&second, &[], 1));
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    }

    #[test]
    fn endpoints_already_tried_are_avoided_while_there_are_others() {
        for algorithm in
            [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin, LoadBalancer::Random]
        {
            let pool = pool(algorithm, &[1, 2, 3], None);
            assert_eq!(picks(&pool, &[1, 3], 3), [2, 2, 2], "{algorithm:?}");
            assert_eq!(picks(&pool, &[1, 2, 3], 3).len(), 3, "{algorithm:?}");
        }
    }

    #[test]
    fn an_empty_pool_has_nobody() {
        assert!(picks(&pool(LoadBalancer::Random, &[], None), &[], 1).is_empty());
    }

    #[test]
    fn load_survives_a_change_of_the_endpoint_and_of_the_pool() {
        let first = pool(LoadBalancer::LeastRequest, &[1, 2], None);
        let _busy = first.members()[1].begin();
        let mut changed = endpoint(2);
        changed.locality = "north".to_owned();
        let second = Pool::new(LoadBalancer::LeastRequest, [changed, endpoint(3)], Some(&first));
        assert_eq!(second.members()[0].busy(), 1);
        assert_eq!(second.members()[1].busy(), 0);
    }
}
