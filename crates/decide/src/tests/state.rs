//! What has memory outlives tables.

use super::{
    DOCK,
    world::{self, World},
};
use crate::{Ask, Pick, Rng, Table};

#[test]
fn counts_survive_a_change_of_endpoints() {
    let mut world = World::parse(DOCK);
    let busy = pick(&world.table, "v1");
    world.apply("chunk one 10.0.0.1:1 10.0.0.3:3");
    assert_eq!(in_flight(&world.table, "v1"), [1, 0]);
    drop(busy);
    assert_eq!(in_flight(&world.table, "v1"), [0, 0]);
}

#[test]
fn counts_survive_an_endpoint_that_flaps_and_a_backend_that_goes_and_comes() {
    let mut world = World::parse(DOCK);
    let busy = pick(&world.table, "v1");
    world.apply("chunk one");
    assert_eq!(in_flight(&world.table, "v1"), [0_u32; 0]);
    world.apply("chunk one 10.0.0.1:1");
    assert_eq!(in_flight(&world.table, "v1"), [1]);
    let gone = ["backend/v1", "endpoints/one"].map(|name| (name.to_owned(), None));
    world.table = world.table.with(gone).0;
    assert!(world.table.backend("v1").is_none());
    world.apply("backend v1 one\nchunk one 10.0.0.1:1");
    assert_eq!(in_flight(&world.table, "v1"), [1]);
    drop(busy);
    assert_eq!(in_flight(&world.table, "v1"), [0]);
}

fn pick(table: &Table, backend: &str) -> Option<Pick> {
    let now = std::time::Instant::now();
    let backend = table.backend(backend).unwrap();
    backend.pick("10.9.9.9:80".parse().unwrap(), &Ask::at(now), &mut Rng::new(1))
}

fn in_flight(table: &Table, backend: &str) -> Vec<u32> {
    let endpoints = table.backend(backend).unwrap().endpoints();
    endpoints.iter().map(|endpoint| endpoint.in_flight()).collect()
}

#[test]
fn shares_go_on_when_a_rule_is_put_in_front_or_the_answer_goes_and_comes() {
    let rules = " -> v1*9 v2";
    let front = format!("route dock dock,dock.harbor\n path=/new -> v1\n{rules}");
    let same = format!("route dock dock,dock.harbor\n{rules}");
    let mut world = World::parse(&DOCK.replace("route dock", "route unused"));
    let mut counts = [0, 0];
    let mut rng = Rng::new(3);
    for turn in 0..10 {
        if turn == 7 {
            world.table = world.table.with([("route/dock".to_owned(), None)]).0;
        }
        let text = if turn % 2 == 0 { &same } else { &front };
        assert_eq!(world.apply(text), []);
        let backend = world::route(&world.table, "GET dock /", &mut rng);
        counts[usize::from(backend == "v2")] += 1;
    }
    assert_eq!(counts, [9, 1], "a whole round, over ten tables");
}

#[test]
fn a_subset_has_the_endpoints_with_its_labels() {
    let world = World::parse(
        "backend whole all
         backend part all version=v2
         chunk all 10.0.0.1:1 10.0.0.2:2+version=v2",
    );
    let count = |name: &str| world.table.backend(name).unwrap().endpoints().len();
    assert_eq!((count("whole"), count("part")), (2, 1));
}

#[test]
fn a_changed_endpoint_among_5000_hosts_is_in_force_within_a_millisecond() {
    let hosts = 5_000;
    let mut text = "listener out directory\n".to_owned();
    for n in 0..hosts {
        text.push_str(&format!(
            "route r{n} h{n}\n -> b{n}\nanswer h{n}:80 r{n}\nbackend b{n} c{n}\nchunk c{n} 10.0.0.1:80\n"
        ));
    }
    let mut world = World::parse(&text);
    let change = world::changes("chunk c77 10.0.0.2:80");
    let fastest = (0..50)
        .map(|_| {
            let before = std::time::Instant::now();
            let (table, _) = world.table.with(change.iter().cloned());
            let took = before.elapsed();
            world.table = table;
            took
        })
        .min();
    let address = world.table.backend("b77").unwrap().endpoints()[0].data.address;
    assert_eq!(address, "10.0.0.2:80".parse().unwrap());
    assert!(fastest < Some(std::time::Duration::from_millis(1)), "{fastest:?}");
}
