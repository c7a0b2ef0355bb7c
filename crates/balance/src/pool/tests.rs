//! Which endpoint is picked, and how often.

use weft_config::HashKey;

use super::*;
use crate::{Register, Reported};

fn data(port: u16) -> Arc<Data> {
    weighted(port, None)
}

fn weighted(port: u16, weight: Option<u32>) -> Arc<Data> {
    let address = ([10, 0, 0, 1], port).into();
    let (labels, locality) = (Vec::new(), String::new());
    Arc::new(Data { address, labels, workload: None, locality, weight })
}

#[test]
fn shares_are_kept_by_every_way_to_choose() {
    let hash = LoadBalancer::Hash(HashKey::SourceIp);
    for (algorithm, slack) in [
        (LoadBalancer::RoundRobin, 2),
        (LoadBalancer::Random, 200),
        (LoadBalancer::LeastRequest, 200),
        (hash, 200),
    ] {
        let register = Register::default();
        let data = [weighted(1, None), weighted(2, Some(3))];
        let pool = Pool::new((algorithm.clone(), None), data, register.backend("b"), None);
        let mut rng = Rng::new(1);
        let mut heavy = 0;
        for at in 0..4_000 {
            let hash = matches!(algorithm, LoadBalancer::Hash(_)).then(|| Rng::new(at).next_u64());
            let picked = pool.pick(&Ask { hash, ..ask(&[]) }, &mut rng).unwrap();
            heavy += u64::from(picked.endpoint().data.address.port() == 2);
        }
        assert!(heavy.abs_diff(3_000) <= slack, "{algorithm:?}: {heavy}");
    }
}

#[test]
fn a_share_is_of_those_that_are_left() {
    let register = Register::default();
    let data = [weighted(1, None), weighted(2, Some(7)), weighted(3, None)];
    let choice = (LoadBalancer::RoundRobin, None);
    let pool = Pool::new(choice, data, register.backend("b"), None);
    let seen = picks(&pool, &[2], 100);
    assert_eq!(seen.len(), 100);
    assert!(seen.iter().filter(|port| **port == 1).count().abs_diff(50) <= 2);
}

#[test]
fn of_two_with_shares_the_one_that_is_less_busy_for_its_share_is_picked() {
    let register = Register::default();
    let data = [weighted(1, None), weighted(2, Some(3))];
    let pool = Pool::new((LoadBalancer::LeastRequest, None), data, register.backend("b"), None);
    let _busy: Vec<_> = (0..4).map(|_| hold(&pool, 2)).chain([hold(&pool, 1)]).collect();
    // 4 of 3 are more than 1 of 1; only those that were drawn twice go there.
    let light = picks(&pool, &[], 1_000).iter().filter(|port| **port == 1).count();
    assert!((350..530).contains(&light), "{light}");
}

fn pool(algorithm: LoadBalancer, ports: &[u16], register: &Register) -> Pool {
    let data = ports.iter().copied().map(data);
    Pool::new((algorithm, None), data, register.backend("b"), None)
}

fn ask(tried: &[SocketAddr]) -> Ask<'_> {
    Ask { now: Instant::now(), hash: None, tried }
}

fn picks(pool: &Pool, tried: &[u16], count: usize) -> Vec<u16> {
    let tried: Vec<_> = tried.iter().map(|port| data(*port).address).collect();
    let mut rng = Rng::new(1);
    (0..count)
        .filter_map(|_| pool.pick(&ask(&tried), &mut rng))
        .map(|picked| picked.endpoint().data.address.port())
        .collect()
}

fn hold(pool: &Pool, port: u16) -> SelectedEndpoint {
    let endpoint = pool.endpoints().iter().find(|one| one.data.address.port() == port);
    pool.selected(endpoint.unwrap(), Instant::now())
}

#[test]
fn least_request_avoids_the_busier_of_two() {
    let pool = pool(LoadBalancer::LeastRequest, &[1, 2], &Register::default());
    let _busy = hold(&pool, 1);
    assert_eq!(picks(&pool, &[], 4), [2, 2, 2, 2]);
}

#[test]
fn an_exchange_counts_until_its_guard_is_dropped() {
    let pool = pool(LoadBalancer::LeastRequest, &[1], &Register::default());
    let picked = pool.pick(&ask(&[]), &mut Rng::new(1)).unwrap();
    assert_eq!(pool.endpoints()[0].in_flight(), 1);
    drop(picked);
    assert_eq!(pool.endpoints()[0].in_flight(), 0);
}

#[test]
fn failures_in_a_row_are_counted_until_an_exchange_succeeds() {
    let pool = pool(LoadBalancer::LeastRequest, &[1], &Register::default());
    let endpoint = &pool.endpoints()[0];
    for reported in [Reported::Answered(503), Reported::Unreachable, Reported::TimedOut] {
        hold(&pool, 1).report(reported, Instant::now());
    }
    drop(hold(&pool, 1));
    assert_eq!(endpoint.failures(), 3, "one without a report says nothing");
    hold(&pool, 1).report(Reported::Answered(404), Instant::now());
    assert_eq!(endpoint.failures(), 0);
}

#[test]
fn round_robin_takes_all_in_turn_and_goes_on_in_the_next_table() {
    let register = Register::default();
    let mut seen = picks(&pool(LoadBalancer::RoundRobin, &[1, 2, 3], &register), &[], 2);
    seen.extend(picks(&pool(LoadBalancer::RoundRobin, &[1, 2, 3], &register), &[], 1));
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn endpoints_already_tried_are_avoided_while_there_are_others() {
    let register = Register::default();
    for algorithm in [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin, LoadBalancer::Random] {
        let pool = pool(algorithm.clone(), &[1, 2, 3], &register);
        assert_eq!(picks(&pool, &[1, 3], 3), [2, 2, 2], "{algorithm:?}");
        assert_eq!(picks(&pool, &[1, 2, 3], 3).len(), 3, "{algorithm:?}");
    }
}

#[test]
fn an_empty_pool_has_no_endpoint_to_pick() {
    let register = Register::default();
    assert!(picks(&pool(LoadBalancer::Random, &[], &register), &[], 1).is_empty());
}

#[test]
fn an_endpoint_that_changes_or_is_gone_for_a_table_keeps_its_count() {
    let register = Register::default();
    let first = pool(LoadBalancer::LeastRequest, &[1, 2], &register);
    let _busy = hold(&first, 2);
    let without = pool(LoadBalancer::LeastRequest, &[1], &register);
    drop((first, without));
    let mut changed = data(2);
    Arc::make_mut(&mut changed).locality = "north".to_owned();
    let state = register.backend("b");
    let last = Pool::new((LoadBalancer::LeastRequest, None), [changed, data(3)], state, None);
    assert_eq!(last.endpoints()[0].in_flight(), 1);
    assert_eq!(last.endpoints()[1].in_flight(), 0);
}

#[test]
fn the_same_address_behind_two_backends_is_counted_for_each() {
    let register = Register::default();
    let one = pool(LoadBalancer::LeastRequest, &[1], &register);
    let state = register.backend("other");
    let other = Pool::new((LoadBalancer::LeastRequest, None), [data(1)], state, None);
    let _busy = hold(&one, 1);
    assert_eq!(other.endpoints()[0].in_flight(), 0);
}

fn hashed(count: u16, without: Option<u16>, register: &Register) -> Pool {
    let ports: Vec<u16> = (1..=count).filter(|port| Some(*port) != without).collect();
    pool(LoadBalancer::Hash(HashKey::SourceIp), &ports, register)
}

fn of_hash(pool: &Pool, hash: u64, tried: &[SocketAddr]) -> u16 {
    let ask = Ask { hash: Some(hash), ..ask(tried) };
    pool.pick(&ask, &mut Rng::new(hash)).unwrap().endpoint().data.address.port()
}

#[test]
fn when_an_endpoint_comes_or_goes_only_its_own_keys_move() {
    const KEYS: u64 = 4_000;
    for count in [2_u16, 4, 9, 40] {
        let register = Register::default();
        let all = hashed(count, None, &register);
        let share = KEYS / u64::from(count);
        for gone in [1, count / 2 + 1, count] {
            let without = hashed(count, Some(gone), &Register::default());
            let (mut moved, mut most) = (0, vec![0_u64; usize::from(count) + 1]);
            for key in 0..KEYS {
                let before = of_hash(&all, Rng::new(key).next_u64(), &[]);
                let after = of_hash(&without, Rng::new(key).next_u64(), &[]);
                most[usize::from(before)] += 1;
                moved += u64::from(before != after);
                assert_eq!(before != after, before == gone, "{key} of {count}");
            }
            assert!((share * 6 / 10..share * 14 / 10).contains(&moved), "{moved} of {count}");
            assert!(most.iter().all(|most| *most < share * 15 / 10), "{most:?}");
        }
    }
}

#[test]
fn a_hash_leads_to_another_endpoint_once_its_own_was_tried() {
    let pool = hashed(4, None, &Register::default());
    let first = of_hash(&pool, 7, &[]);
    let tried = [data(first).address];
    let second = of_hash(&pool, 7, &tried);
    assert_ne!(first, second);
    let without = hashed(4, Some(first), &Register::default());
    assert_eq!(of_hash(&without, 7, &[]), second, "where its keys go when it is gone");
    let all: Vec<_> = (1..=4).map(|port| data(port).address).collect();
    assert_eq!(of_hash(&pool, 7, &all), first);
}

#[test]
fn what_has_no_key_goes_anywhere() {
    let mut seen = picks(&hashed(4, None, &Register::default()), &[], 100);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [1, 2, 3, 4]);
}
