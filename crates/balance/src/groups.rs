//! Endpoints in groups: further ones are used as far as closer ones fail, or each group has a share.

use crate::Rng;

/// How much of a group may fail before others get a part of its requests, as in Envoy: with 140,
/// nothing happens as long as 72 % are well.
const OVERPROVISIONED: usize = 140;

/// The groups of a pool's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The group of each endpoint; none for those that are not used.
    of: Box<[Option<u32>]>,
    sizes: Box<[usize]>,
    /// The groups' shares; the first group comes first where there are none.
    weights: Option<Box<[u32]>>,
}

impl Groups {
    /// Groups of which the first has everything as long as it is well: of each endpoint, how far
    /// away it is. None where all are equally far.
    pub fn tiers(far: &[u32]) -> Option<Self> {
        let mut tiers = far.to_vec();
        tiers.sort_unstable();
        tiers.dedup();
        if tiers.len() < 2 {
            return None;
        }
        let place = |far: &u32| tiers.binary_search(far).ok().and_then(|at| u32::try_from(at).ok());
        Some(Self::new(far.iter().map(place).collect(), None, tiers.len()))
    }

    /// Groups with these `weights`: of each endpoint, its group.
    pub fn weighted(of: Vec<Option<u32>>, weights: Vec<u32>) -> Self {
        let count = weights.len();
        Self::new(of, Some(weights.into()), count)
    }

    fn new(of: Vec<Option<u32>>, weights: Option<Box<[u32]>>, count: usize) -> Self {
        let mut sizes = vec![0; count];
        for group in of.iter().flatten() {
            if let Some(size) = sizes.get_mut(*group as usize) {
                *size += 1;
            }
        }
        Self { of: of.into(), sizes: sizes.into(), weights }
    }

    /// How many groups there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.sizes.len()).unwrap_or(u32::MAX)
    }

    /// Whether the endpoint with this index is in `group`.
    pub(crate) fn has(&self, index: usize, group: u32) -> bool {
        self.of.get(index).copied().flatten() == Some(group)
    }

    /// The group for one try. Of each endpoint, `is_well` says whether it is not left out; it is
    /// absent when all are well.
    pub(crate) fn choose(&self, is_well: Option<&dyn Fn(usize) -> bool>, rng: &mut Rng) -> u32 {
        let health = self.health(is_well);
        let shares: Vec<u64> = match &self.weights {
            Some(weights) => weights.iter().zip(&health).map(|(w, h)| u64::from(*w) * h).collect(),
            None => loads(&health),
        };
        let all: u64 = shares.iter().sum();
        let mut point = rng.below(usize::try_from(all).unwrap_or(usize::MAX)) as u64;
        for (group, share) in (0..).zip(&shares) {
            match point.checked_sub(*share) {
                Some(rest) => point = rest,
                None => return group,
            }
        }
        0
    }

    /// How much of its share each group can take, in percent.
    fn health(&self, is_well: Option<&dyn Fn(usize) -> bool>) -> Vec<u64> {
        let Some(is_well) = is_well else {
            return self.sizes.iter().map(|size| if *size > 0 { 100 } else { 0 }).collect();
        };
        let mut well = vec![0_usize; self.sizes.len()];
        for (index, group) in self.of.iter().enumerate() {
            if let Some(count) = group.and_then(|group| well.get_mut(group as usize)) {
                *count += usize::from(is_well(index));
            }
        }
        let percent = |(well, size): (usize, &usize)| match size {
            0 => 0,
            size => (well * OVERPROVISIONED / size).min(100) as u64,
        };
        well.into_iter().zip(&self.sizes).map(percent).collect()
    }
}

/// What each of some tiers gets, in percent: what those before it cannot take.
fn loads(health: &[u64]) -> Vec<u64> {
    let total: u64 = health.iter().sum::<u64>().min(100);
    let mut left = 100;
    let load = |health: &u64| {
        let load = (health * 100).checked_div(total).unwrap_or(0).min(left);
        left -= load;
        load
    };
    health.iter().map(load).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(groups: &Groups, ill: &[usize], count: usize) -> Vec<usize> {
        let is_well = |index: usize| !ill.contains(&index);
        let is_well: Option<&dyn Fn(usize) -> bool> =
            if ill.is_empty() { None } else { Some(&is_well) };
        let mut rng = Rng::new(1);
        let mut shares = vec![0; groups.count() as usize];
        for _ in 0..count {
            shares[groups.choose(is_well, &mut rng) as usize] += 1;
        }
        shares
    }

    fn about(shares: &[usize], expected: &[usize]) {
        let near = |(one, other): (&usize, &usize)| one.abs_diff(*other) <= 150;
        assert!(shares.iter().zip(expected).all(near), "{shares:?} for {expected:?}");
    }

    #[test]
    fn further_tiers_get_what_closer_ones_cannot_take() {
        let tiers = Groups::tiers(&[7, 0, 0, 0, 0, 7, 9]).expect("three");
        assert_eq!(shares(&tiers, &[], 100), [100, 0, 0]);
        assert_eq!(shares(&tiers, &[1], 100), [100, 0, 0], "three of four are enough");
        about(&shares(&tiers, &[1, 2], 10_000), &[7_000, 3_000, 0]);
        about(&shares(&tiers, &[1, 2, 3, 4], 10_000), &[0, 10_000, 0]);
        about(&shares(&tiers, &[0, 1, 2, 3, 4], 10_000), &[0, 7_000, 3_000]);
        assert_eq!(Groups::tiers(&[3, 3]), None);
    }

    #[test]
    fn groups_have_their_shares_as_far_as_they_are_well() {
        let groups = Groups::weighted(vec![Some(0), Some(1), Some(1), None], vec![20, 80]);
        about(&shares(&groups, &[], 10_000), &[2_000, 8_000]);
        about(&shares(&groups, &[0], 10_000), &[0, 10_000]);
        about(&shares(&groups, &[1], 10_000), &[2_632, 7_368]);
        assert!(!groups.has(3, 0) && !groups.has(3, 1));
    }

    #[test]
    fn a_hash_stays_at_one_endpoint_whatever_shares_groups_have() {
        let data = (1..=8).map(|port| {
            std::sync::Arc::new(weft_config::Endpoint {
                address: ([10, 0, 0, 1], port).into(),
                labels: Vec::new(),
                weight: None,
                workload: None,
                locality: String::new(),
            })
        });
        let of = (0..8).map(|at| Some(at % 2)).collect();
        let register = crate::Register::default();
        let choice = (weft_config::LoadBalancer::Hash(weft_config::HashKey::SourceIp), None);
        let pool = crate::Pool::new(choice, data, register.backend("b"), None)
            .grouped(Some(Groups::weighted(of, vec![50, 50])));
        let mut rng = Rng::new(1);
        let mut pick = |hash: u64| {
            let ask = crate::Ask { hash: Some(hash), ..crate::Ask::at(std::time::Instant::now()) };
            pool.pick(&ask, &mut rng).expect("one").endpoint().data.address
        };
        for hash in 0..50 {
            let first = pick(hash);
            assert!((0..20).all(|_| pick(hash) == first), "{hash}");
        }
        let all: std::collections::BTreeSet<_> = (0..200).map(&mut pick).collect();
        assert_eq!(all.len(), 8, "both groups are used");
    }
}
