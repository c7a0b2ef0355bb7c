//! The endpoints of one backend, and the choice among them.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use weft_config::{Endpoint as Data, LoadBalancer, OutlierDetection, Warmup};

use crate::{
    Endpoint, Rng, SelectedEndpoint,
    groups::Groups,
    outliers::Outliers,
    register::BackendState,
    warmup::{Shares, Warming},
};

/// The endpoints of one backend.
#[derive(Debug)]
pub struct Pool {
    algorithm: LoadBalancer,
    endpoints: Vec<Arc<Endpoint>>,
    /// What each endpoint's address adds to a hash; empty where nothing is hashed.
    seeds: Box<[u64]>,
    /// The share of each endpoint; empty where all have the same.
    weights: Box<[u64]>,
    state: Arc<BackendState>,
    /// Set when endpoints that fail are left out.
    outliers: Option<Arc<Outliers>>,
    /// Set when new endpoints get their share little by little.
    warming: Option<Warming>,
    /// Set when it matters where endpoints run.
    groups: Option<Groups>,
}

/// What is known when an endpoint is picked.
///
/// Where the proxy runs is not part of it: that is the same for every request, and
/// decides which endpoints a pool is made of.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The time.
    pub now: Instant,
    /// What keeps requests together: those with the same hash go to the same endpoint
    /// while it is there.
    pub hash: Option<u64>,
    /// Endpoints that were tried; they are picked only if there is no other.
    pub tried: &'a [SocketAddr],
}

impl Ask<'_> {
    /// A first try at `now`, wherever it goes.
    pub fn at(now: Instant) -> Self {
        Self { now, hash: None, tried: &[] }
    }
}

impl Pool {
    /// A pool of endpoints with these `data`, in that order; what `state` remembers of
    /// their addresses goes on. Endpoints that are as in `previous` are shared with it, which
    /// costs little where both are sorted by address.
    pub fn new(
        (algorithm, outliers): (LoadBalancer, Option<&OutlierDetection>),
        data: impl IntoIterator<Item = Arc<Data>>,
        state: Arc<BackendState>,
        previous: Option<&Pool>,
    ) -> Self {
        let previous = previous.filter(|previous| Arc::ptr_eq(&previous.state, &state));
        let mut known = previous.map_or(&[][..], |previous| &previous.endpoints).iter().peekable();
        let endpoints = data
            .into_iter()
            .map(|data| {
                while known.next_if(|known| known.data.address < data.address).is_some() {}
                match known.peek() {
                    Some(known) if known.data == data => Arc::clone(known),
                    _ => {
                        let own = state.endpoint(data.address);
                        Arc::new(Endpoint::new(data, own))
                    }
                }
            })
            .collect::<Vec<_>>();
        let seeds: Box<[u64]> = match &algorithm {
            LoadBalancer::Hash(_) => endpoints.iter().map(seed).collect(),
            _ => Box::default(),
        };
        let weights = match endpoints.iter().any(|one| one.data.weight.is_some()) {
            true => endpoints.iter().map(|one| one.data.weight.unwrap_or(1).into()).collect(),
            false => Box::default(),
        };
        let outliers = outliers.map(|settings| {
            let members = endpoints.iter().map(|one| Arc::clone(one.state()));
            Arc::new(Outliers::new(settings, members, &state))
        });
        let (warming, groups) = (None, None);
        Self { algorithm, endpoints, seeds, weights, state, outliers, warming, groups }
    }

    /// The same pool, whose endpoints get their share as `warmup` says.
    pub fn warming(self, warmup: Option<Warmup>) -> Self {
        // As in Envoy: others choose by what a request says, or by nothing.
        let by_share =
            matches!(self.algorithm, LoadBalancer::RoundRobin | LoadBalancer::LeastRequest);
        Self { warming: warmup.filter(|_| by_share).map(Warming::new), ..self }
    }

    /// The same pool, whose endpoints are in `groups`.
    pub fn grouped(self, groups: Option<Groups>) -> Self {
        Self { groups, ..self }
    }

    /// All endpoints.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoint for one try.
    pub fn pick(&self, ask: &Ask<'_>, rng: &mut Rng) -> Option<SelectedEndpoint> {
        self.find(ask, rng).map(|endpoint| self.selected(endpoint, ask.now))
    }

    /// Selects `endpoint` at `now`.
    pub(crate) fn selected(&self, endpoint: &Arc<Endpoint>, now: Instant) -> SelectedEndpoint {
        endpoint.pick(now, self.outliers.clone())
    }

    fn find(&self, ask: &Ask<'_>, rng: &mut Rng) -> Option<&Arc<Endpoint>> {
        let fresh = |one: &Endpoint| !ask.tried.contains(&one.data.address);
        let outliers = self.outliers.as_ref();
        let moment = outliers.and_then(|outliers| {
            outliers.moment(ask.now).filter(|moment| !outliers.panics(*moment))
        });
        if let Some(groups) = &self.groups {
            return self.in_groups(groups, ask, moment, rng);
        }
        match moment {
            None if ask.tried.is_empty() => self.among_all(ask, rng),
            None => self.among(ask, rng, |_, one| fresh(one)).or_else(|| self.among_all(ask, rng)),
            Some(moment) => {
                let healthy = |_: usize, one: &Endpoint| !one.is_ejected(moment);
                let both = |nth: usize, one: &Endpoint| healthy(nth, one) && fresh(one);
                self.among(ask, rng, both).or_else(|| self.among(ask, rng, healthy))
            }
        }
    }

    /// Picks one of the group that is chosen; of the others where that one has none left.
    fn in_groups(
        &self,
        groups: &Groups,
        ask: &Ask<'_>,
        moment: Option<u64>,
        rng: &mut Rng,
    ) -> Option<&Arc<Endpoint>> {
        let healthy = |one: &Endpoint| moment.is_none_or(|moment| !one.is_ejected(moment));
        let is_well = |nth: usize| self.endpoints.get(nth).is_some_and(|one| healthy(one));
        let is_well: Option<&dyn Fn(usize) -> bool> =
            moment.is_some().then_some(&is_well as &dyn Fn(usize) -> bool);
        let first = match ask.hash {
            // What belongs together stays together, in whichever place.
            Some(hash) => groups.choose(is_well, &mut Rng::new(hash)),
            None => groups.choose(is_well, rng),
        };
        let mut of_group = |group: u32, again: bool| {
            let wanted = |nth: usize, one: &Endpoint| {
                groups.has(nth, group)
                    && healthy(one)
                    && (again || !ask.tried.contains(&one.data.address))
            };
            self.among(ask, rng, wanted)
        };
        if let Some(found) = of_group(first, false) {
            return Some(found);
        }
        let mut others = (0..groups.count()).filter(|group| *group != first);
        let elsewhere = others.find_map(|group| of_group(group, false));
        elsewhere.or_else(|| (0..groups.count()).find_map(|group| of_group(group, true)))
    }

    fn among_all(&self, ask: &Ask<'_>, rng: &mut Rng) -> Option<&Arc<Endpoint>> {
        match ask.hash {
            Some(hash) => self.highest(hash, |_, _| true),
            None if !self.weights.is_empty() => self.by_share(ask, rng, |_, _| true),
            None => self.choose(ask, self.endpoints.len(), rng, |nth| self.endpoints.get(nth)),
        }
    }

    /// Picks one of those that are `wanted`.
    fn among(
        &self,
        ask: &Ask<'_>,
        rng: &mut Rng,
        wanted: impl Fn(usize, &Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        if let Some(hash) = ask.hash {
            return self.highest(hash, wanted);
        }
        if !self.weights.is_empty() {
            return self.by_share(ask, rng, wanted);
        }
        let those = || {
            let all = self.endpoints.iter().enumerate();
            all.filter(|(nth, one)| wanted(*nth, one)).map(|(_, one)| one)
        };
        self.choose(ask, those().count(), rng, |nth| those().nth(nth))
    }

    /// Chooses among `count` endpoints that `nth` numbers.
    fn choose<'p>(
        &'p self,
        ask: &Ask<'_>,
        count: usize,
        rng: &mut Rng,
        nth: impl Fn(usize) -> Option<&'p Arc<Endpoint>>,
    ) -> Option<&'p Arc<Endpoint>> {
        let warming = self.warming.as_ref();
        let shares =
            warming.and_then(|warming| warming.shares(&self.endpoints, &self.state, ask.now));
        if count <= 1 {
            return nth(0);
        }
        match (&self.algorithm, shares) {
            (LoadBalancer::Random | LoadBalancer::Hash(_), _) => nth(rng.below(count)),
            (LoadBalancer::RoundRobin, None) => nth(self.state.turn.next(rng) % count),
            (LoadBalancer::RoundRobin, Some(shares)) => {
                shares.pick(rng, |rng| nth(self.state.turn.next(rng) % count))
            }
            (LoadBalancer::LeastRequest, None) => {
                let first = rng.below(count);
                let second = (first + 1 + rng.below(count - 1)) % count;
                less_busy(nth(first)?, nth(second)?)
            }
            (LoadBalancer::LeastRequest, Some(shares)) => {
                let next =
                    |shares: &Shares, rng: &mut Rng| shares.pick(rng, |rng| nth(rng.below(count)));
                less_busy(next(&shares, rng)?, next(&shares, rng)?)
            }
        }
    }

    /// The same for endpoints with shares of their own, which new ones get little by little.
    fn by_share(
        &self,
        ask: &Ask<'_>,
        rng: &mut Rng,
        wanted: impl Fn(usize, &Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let warming = self.warming.as_ref();
        match warming.and_then(|warming| warming.shares(&self.endpoints, &self.state, ask.now)) {
            None => self.by_weight(rng, wanted),
            Some(shares) => shares.pick(rng, |rng| self.by_weight(rng, &wanted)),
        }
    }

    /// Chooses among endpoints with shares of their own, of those that are `wanted`. The cost is
    /// that of reading all.
    fn by_weight(
        &self,
        rng: &mut Rng,
        wanted: impl Fn(usize, &Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let pairs = || {
            let pairs = self.endpoints.iter().zip(self.weights.iter().copied()).enumerate();
            let wanted = pairs.filter(|(nth, (endpoint, _))| wanted(*nth, endpoint));
            wanted.map(|(_, pair)| pair)
        };
        let sum: u64 = pairs().map(|(_, weight)| weight).sum();
        // The one at which the shares before it and its own are more than this.
        let at = |point: u64| {
            let mut passed = 0;
            pairs().find(|(_, weight)| {
                passed += weight;
                point < passed
            })
        };
        let drawn = |rng: &mut Rng| at(scaled(rng.next_u64(), sum));
        match self.algorithm {
            LoadBalancer::RoundRobin => {
                // Steps of the golden ratio spread evenly over all shares.
                let turn = self.state.turn.next(rng) as u64;
                at(scaled(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15), sum))
            }
            LoadBalancer::LeastRequest => {
                let (first, second) = (drawn(rng)?, drawn(rng)?);
                let busy = |one: &Endpoint, other: u64| u64::from(one.in_flight()) * other;
                Some(match busy(second.0, first.1) < busy(first.0, second.1) {
                    true => second,
                    false => first,
                })
            }
            LoadBalancer::Random | LoadBalancer::Hash(_) => drawn(rng),
        }
        .map(|(endpoint, _)| endpoint)
    }

    /// The endpoint, of those that are `wanted`, whose address makes the most of `hash`
    /// (rendezvous hashing): when an endpoint comes or goes, only the requests that it has or had
    /// move. It needs no table, so that a change of endpoints costs nothing; what a pick costs
    /// grows with their number, a nanosecond or two each.
    fn highest(
        &self,
        hash: u64,
        wanted: impl Fn(usize, &Endpoint) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let drawn = |seed: u64| Rng::new(hash ^ seed).next_u64();
        let all = self.endpoints.iter().zip(&self.seeds).enumerate();
        let wanted = all.filter(|(nth, (endpoint, _))| wanted(*nth, endpoint));
        if !self.weights.is_empty() {
            let longest = |(nth, (_, seed)): &(usize, (&Arc<Endpoint>, &u64))| {
                // The time until a share of this size is drawn: the shortest wins.
                let even = ((drawn(**seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                -even.ln() / self.weights.get(*nth).copied().unwrap_or(1) as f64
            };
            let best = wanted.min_by(|one, other| longest(one).total_cmp(&longest(other)));
            return best.map(|(_, (endpoint, _))| endpoint);
        }
        let best = wanted.map(|(_, pair)| pair).max_by_key(|(_, seed)| drawn(**seed));
        best.map(|(endpoint, _)| endpoint)
    }
}

/// `number`, of all that 64 bits can say, as one below `sum`.
fn scaled(number: u64, sum: u64) -> u64 {
    ((u128::from(number) * u128::from(sum)) >> 64) as u64
}

/// The one of the two with fewer exchanges.
fn less_busy<'p>(first: &'p Arc<Endpoint>, second: &'p Arc<Endpoint>) -> Option<&'p Arc<Endpoint>> {
    Some(if second.in_flight() < first.in_flight() { second } else { first })
}

/// What the address of `endpoint` adds to a hash: the same in every process.
fn seed(endpoint: &Arc<Endpoint>) -> u64 {
    let address = endpoint.data.address;
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) => u128::from(u32::from(ip)),
        std::net::IpAddr::V6(ip) => u128::from(ip),
    };
    let mixed = Rng::new((ip as u64) ^ ((ip >> 64) as u64).rotate_left(32)).next_u64();
    Rng::new(mixed ^ u64::from(address.port())).next_u64()
}

#[cfg(test)]
mod tests;
