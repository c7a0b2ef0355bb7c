//! Endpoints that are left out, at times that the cases set.

use std::collections::BTreeSet;

use weft_config::{Endpoint as Data, LoadBalancer};

use super::*;
use crate::{Ask, Pool, Register, Rng};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> OutlierDetection {
    OutlierDetection {
        errors: 3,
        gateway_errors: 0,
        local_failures: None,
        interval: 10 * SECOND,
        base_ejection_time: 30 * SECOND,
        max_ejection_percent: 100,
        min_health_percent: 0,
    }
}

/// A pool of `count` endpoints, at a time that a case sets.
struct World {
    pool: Pool,
    now: Instant,
}

impl World {
    fn new(count: u16, settings: &OutlierDetection, register: &Register) -> Self {
        let data = (1..=count).map(|port| {
            let address = ([10, 0, 0, 1], port).into();
            Arc::new(Data {
                address,
                labels: Vec::new(),
                workload: None,
                locality: String::new(),
                weight: None,
            })
        });
        let (algorithm, state) = (LoadBalancer::Random, register.backend("b"));
        let pool = Pool::new((algorithm, Some(settings)), data, state, None);
        Self { pool, now: Instant::now() + SECOND }
    }

    /// Reports of one endpoint, which may be left out at the time.
    fn report(&self, port: u16, all: &[Reported]) {
        let endpoints = self.pool.endpoints();
        let endpoint = endpoints.iter().find(|one| one.data.address.port() == port).unwrap();
        for reported in all {
            self.pool.selected(endpoint, self.now).report(*reported, self.now);
        }
    }

    fn pick(&self, tried: &[u16], seed: u64) -> Option<u16> {
        let tried: Vec<_> = tried.iter().map(|port| ([10, 0, 0, 1], *port).into()).collect();
        let ask = Ask { tried: &tried, ..Ask::at(self.now) };
        let picked = self.pool.pick(&ask, &mut Rng::new(seed))?;
        Some(picked.endpoint().data.address.port())
    }

    /// The endpoints that are picked.
    fn used(&self) -> Vec<u16> {
        let used: BTreeSet<u16> = (0..400).filter_map(|seed| self.pick(&[], seed)).collect();
        used.into_iter().collect()
    }
}

fn errors(count: usize) -> Vec<Reported> {
    vec![Reported::Answered(500); count]
}

#[test]
fn failures_in_a_row_leave_an_endpoint_out_for_longer_each_time() {
    let mut world = World::new(4, &settings(), &Register::default());
    world.report(2, &errors(2));
    world.report(2, &[Reported::Answered(404)]);
    world.report(2, &errors(2));
    assert_eq!(world.used(), [1, 2, 3, 4], "not in a row");
    for times in 1..=12 {
        world.report(2, &errors(3));
        let time = (30 * SECOND * times).min(LONGEST);
        world.now += time - SECOND / 1_000;
        assert_eq!(world.used(), [1, 3, 4], "{times}");
        world.now += SECOND / 1_000;
        assert_eq!(world.used(), [1, 2, 3, 4], "{times}");
    }
    // Each interval in which it is used takes back one: of twelve, eleven are left, then none.
    world.now += 10 * SECOND * 12;
    world.report(2, &errors(3));
    world.now += 30 * SECOND;
    assert_eq!(world.used(), [1, 2, 3, 4]);
}

#[test]
fn what_ends_while_an_endpoint_is_left_out_does_not_count_afterwards() {
    let mut world = World::new(2, &settings(), &Register::default());
    world.report(1, &errors(5));
    world.now += 30 * SECOND;
    world.report(1, &errors(1));
    assert_eq!(world.used(), [1, 2]);
    world.report(1, &errors(2));
    assert_eq!(world.used(), [2]);
}

#[test]
fn gateway_errors_are_answers_that_servers_did_not_give() {
    let both = OutlierDetection { errors: 0, gateway_errors: 2, ..settings() };
    let world = World::new(3, &both, &Register::default());
    world.report(1, &errors(9));
    world.report(1, &[503, 500, 502].map(Reported::Answered));
    assert_eq!(world.used(), [1, 2, 3]);
    world.report(1, &[Reported::Answered(504)]);
    assert_eq!(world.used(), [2, 3]);
    world.report(2, &[Reported::Unreachable, Reported::TimedOut]);
    assert_eq!(world.used(), [3]);
}

#[test]
fn failures_without_an_answer_are_counted_separately_where_asked() {
    let split = OutlierDetection { local_failures: Some(2), ..settings() };
    let world = World::new(3, &split, &Register::default());
    world.report(1, &errors(2));
    world.report(1, &[Reported::Unreachable]);
    world.report(2, &[Reported::Reset, Reported::Connected, Reported::Reset]);
    assert_eq!(world.used(), [1, 2, 3]);
    world.report(1, &errors(1));
    assert_eq!(world.used(), [2, 3]);
    world.report(2, &[Reported::Reset]);
    assert_eq!(world.used(), [3]);
}

#[test]
fn no_more_than_a_share_is_left_out() {
    for (count, share, most) in
        [(4, 10, 0), (1, 10, 0), (4, 50, 2), (20, 10, 2), (5, 59, 2), (3, 100, 3)]
    {
        let settings = OutlierDetection { max_ejection_percent: share, ..settings() };
        let world = World::new(count, &settings, &Register::default());
        (1..=count).for_each(|port| world.report(port, &errors(3)));
        assert_eq!(world.used().len(), usize::from(count - most), "{count} {share}");
    }
}

#[test]
fn none_is_picked_when_all_are_left_out_unless_that_is_panic() {
    let register = Register::default();
    let mut world = World::new(2, &settings(), &register);
    world.report(1, &errors(3));
    assert_eq!(world.pick(&[2], 0), Some(2), "rather one that was tried than one that fails");
    world.report(2, &errors(3));
    assert_eq!(world.used(), [0_u16; 0]);
    // The register outlives the pool.
    let now = world.now;
    world = World::new(2, &OutlierDetection { min_health_percent: 1, ..settings() }, &register);
    world.now = now;
    assert_eq!(world.used(), [1, 2]);
    let half = OutlierDetection { min_health_percent: 51, ..settings() };
    let world = World::new(2, &half, &Register::default());
    world.report(1, &errors(3));
    assert_eq!(world.used(), [1, 2]);
}

#[test]
fn a_hash_leads_elsewhere_only_while_its_endpoint_is_left_out() {
    let mut world = World::new(5, &settings(), &Register::default());
    let of = |world: &World, hash| {
        let ask = Ask { hash: Some(hash), ..Ask::at(world.now) };
        let picked = world.pool.pick(&ask, &mut Rng::new(0));
        picked.map(|picked| picked.endpoint().data.address.port())
    };
    let data = world.pool.endpoints().iter().map(|one| Arc::clone(&one.data)).collect::<Vec<_>>();
    let hashed = LoadBalancer::Hash(weft_config::HashKey::SourceIp);
    let state = Register::default().backend("b");
    world.pool = Pool::new((hashed, Some(&settings())), data, state, None);
    let before: Vec<_> = (0..200).map(|key| of(&world, Rng::new(key).next_u64())).collect();
    world.report(3, &errors(3));
    for (key, before) in (0..).zip(&before) {
        let after = of(&world, Rng::new(key).next_u64());
        assert_eq!(after == *before, *before != Some(3), "{key}");
        assert_ne!(after, Some(3));
    }
    world.now += 30 * SECOND;
    let again: Vec<_> = (0..200).map(|key| of(&world, Rng::new(key).next_u64())).collect();
    assert_eq!(again, before);
}

#[test]
fn failures_take_no_lock_while_as_many_are_left_out_as_may_be() {
    let register = Register::default();
    let settings = OutlierDetection { max_ejection_percent: 25, ..settings() };
    let world = World::new(4, &settings, &register);
    world.report(1, &errors(3));
    assert_eq!(world.used(), [2, 3, 4]);
    let backend = register.backend("b");
    // A report that takes the lock waits for ever.
    let _held = backend.ejecting();
    world.report(2, &errors(30));
    assert_eq!(world.used(), [2, 3, 4]);
}
