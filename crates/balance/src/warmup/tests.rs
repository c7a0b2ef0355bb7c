//! Endpoints that come later than others, with a clock that the tests move.

use std::time::Duration;

use weft_config::{Endpoint as Data, LoadBalancer};

use super::*;
use crate::{Ask, Pool, Register};

fn pool(algorithm: LoadBalancer, count: u16, settings: Warmup, register: &Register) -> Pool {
    let data = (1..=count).map(|port| {
        let address = ([10, 0, 0, 1], port).into();
        Arc::new(Data {
            address,
            labels: Vec::new(),
            weight: None,
            workload: None,
            locality: String::new(),
        })
    });
    Pool::new((algorithm, None), data, register.backend("b"), None).warming(Some(settings))
}

/// How many percent of many requests at `now` go to the endpoint that came last.
fn share(pool: &Pool, now: Instant) -> usize {
    const COUNT: usize = 20_000;
    let last = pool.endpoints().last().expect("some").data.address;
    let mut rng = Rng::new(5);
    let picks = (0..COUNT).filter_map(|_| pool.pick(&Ask::at(now), &mut rng));
    picks.filter(|picked| picked.endpoint().data.address == last).count() * 100 / COUNT
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    let minute = Duration::from_secs(60);
    let settings = Warmup { duration: minute, percent: 10.0, aggression: 1.0 };
    let start = Instant::now();
    for algorithm in [LoadBalancer::RoundRobin, LoadBalancer::LeastRequest] {
        let register = Register::default();
        let before = pool(algorithm.clone(), 3, settings, &register);
        // All of them are new: none has less than the others.
        assert!((30..=37).contains(&share(&before, start)), "{algorithm:?}");
        let later = start + 10 * minute;
        let after = pool(algorithm.clone(), 4, settings, &register);
        // A tenth of the others' shares, of 3.1; then half of them, of 3.5; then all, of 4.
        for (age, percent) in [(0, 3), (30, 14), (60, 25)] {
            let share = share(&after, later + Duration::from_secs(age));
            assert!(share.abs_diff(percent) <= 2, "{share} after {age} s, {algorithm:?}");
        }
    }
}

#[test]
fn aggression_gives_more_at_first() {
    let minute = Duration::from_secs(60);
    let settings = Warmup { duration: minute, percent: 10.0, aggression: 2.0 };
    let (register, start) = (Register::default(), Instant::now());
    share(&pool(LoadBalancer::RoundRobin, 1, settings, &register), start);
    let after = pool(LoadBalancer::RoundRobin, 2, settings, &register);
    let later = start + 10 * minute;
    share(&after, later);
    // The root of a quarter is a half: a third of all.
    let share = share(&after, later + minute / 4);
    assert!(share.abs_diff(33) <= 2, "{share}");
}

#[test]
fn a_new_endpoint_with_a_share_of_its_own_gets_that_little_by_little() {
    let minute = Duration::from_secs(60);
    let settings = Warmup { duration: minute, percent: 10.0, aggression: 1.0 };
    let (register, start) = (Register::default(), Instant::now());
    let weighted = |weights: &[u32]| {
        let data = weights.iter().zip(1..).map(|(weight, port)| {
            Arc::new(Data {
                address: ([10, 0, 0, 1], port).into(),
                labels: Vec::new(),
                weight: Some(*weight),
                workload: None,
                locality: String::new(),
            })
        });
        let choice = (LoadBalancer::RoundRobin, None);
        Pool::new(choice, data, register.backend("b"), None).warming(Some(settings))
    };
    share(&weighted(&[3, 1]), start);
    let after = weighted(&[3, 1, 4]);
    let later = start + 10 * minute;
    // A tenth of four, of 4.4; then all of it, of 8.
    assert!(share(&after, later).abs_diff(9) <= 2, "{}", share(&after, later));
    assert!(share(&after, later + minute).abs_diff(50) <= 2);
}
