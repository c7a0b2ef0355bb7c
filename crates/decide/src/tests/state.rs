//! What has memory outlives tables.

use std::{collections::BTreeSet, sync::Arc};

use weft_config::{Backend, Endpoint, Endpoints, LocalityPolicy, Resource, Settings};

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
    let gone = ["backend/v1", "chunks/one", "endpoints/one"].map(|name| (name.to_owned(), None));
    world.table = world.table.with(gone).0;
    assert!(world.table.backend("v1").is_none());
    world.apply("backend v1 one\nchunks one one\nchunk one 10.0.0.1:1");
    assert_eq!(in_flight(&world.table, "v1"), [1]);
    drop(busy);
    assert_eq!(in_flight(&world.table, "v1"), [0]);
}

#[test]
fn a_wildcard_holds_while_any_answer_says_so() {
    let answers = ["a.wild.example:80", "zzz.wild.example:80"];
    for (gone, left) in [(0, 1), (1, 0)] {
        let covers = |name| format!("\nanswer {name} dock covers *.wild.example");
        let mut world = World::parse(&format!("{DOCK}{}", answers.map(covers).concat()));
        world.table = world.table.with([(answers[gone].to_owned(), None)]).0;
        assert_eq!(world::outcome(&world.table, "GET c.b.wild.example /"), "v1", "{gone}");
        world.table = world.table.with([(answers[left].to_owned(), None)]).0;
        let outcome = world::outcome(&world.table, "GET c.b.wild.example /");
        assert_eq!(outcome, "ask c.b.wild.example:80");
    }
}

fn pick(table: &Table, backend: &str) -> Option<Pick> {
    let now = std::time::Instant::now();
    let backend = table.backend(backend).unwrap();
    backend.pick("10.9.9.9:80".parse().unwrap(), &Ask::at(now), &mut Rng::new(1))
}

fn in_flight(table: &Table, backend: &str) -> Vec<u32> {
    let backend = table.backend(backend).unwrap();
    backend.endpoints().map(|endpoint| backend.in_flight(endpoint.address)).collect()
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
         chunks all first second
         chunk first 10.0.0.1:1 10.0.0.2:2+version=v2
         chunk second 10.0.0.3:3+version=v2 10.0.0.4:4+version=v3",
    );
    assert_eq!(addresses(&world.table, "whole").len(), 4);
    assert_eq!(addresses(&world.table, "part"), ["10.0.0.2:2", "10.0.0.3:3"]);
}

#[test]
fn an_endpoint_in_an_old_chunk_and_in_those_it_was_cut_into_counts_once() {
    let mut world = World::parse("backend b all\nchunks all one\nchunk one 10.0.0.1:1 10.0.0.2:2");
    world.apply("chunk left 10.0.0.1:1\nchunk right 10.0.0.2:2 10.0.0.3:3");
    assert_eq!(addresses(&world.table, "b"), ["10.0.0.1:1", "10.0.0.2:2"]);
    world.apply("chunks all left one right");
    assert_eq!(addresses(&world.table, "b"), ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]);
    world.apply("chunks all left right");
    world.table = world.table.with([("endpoints/one".to_owned(), None)]).0;
    assert_eq!(addresses(&world.table, "b"), ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"]);
    world.table = world.table.with([("chunks/all".to_owned(), None)]).0;
    assert_eq!(addresses(&world.table, "b"), [""; 0]);
}

fn addresses(table: &Table, backend: &str) -> Vec<String> {
    let endpoints = table.backend(backend).unwrap().endpoints();
    endpoints.map(|endpoint| endpoint.address.to_string()).collect()
}

/// 1,000 subsets of a service of 640 endpoints, of which each has them all.
fn subsets() -> World {
    let mut text = String::new();
    for n in 0..1_000 {
        text.push_str(&format!("backend b{n} all app=web\n"));
    }
    let chunks: String = (0..10).map(|n| format!(" c{n}")).collect();
    text.push_str(&format!("chunks all{chunks}\n"));
    for n in 0..10 {
        text.push_str(&format!("chunk c{n}"));
        for m in 0..64 {
            text.push_str(&format!(" 10.0.{n}.{m}:80+app=web"));
        }
        text.push('\n');
    }
    World::parse(&text)
}

#[test]
fn subsets_cost_something_for_each_endpoint_only_once_they_are_used() {
    let mut world = subsets();
    assert_eq!(world.table.backend("b7").unwrap().endpoints().count(), 640);
    let remembered = |world: &World| world.table.register().remembered();
    assert_eq!(remembered(&world), 0, "to look costs nothing");
    let picked = pick(&world.table, "b7");
    assert_eq!(remembered(&world), 640);
    // A change is in force for those that are used, too, and makes no others used.
    world.apply("chunk c0 10.0.99.1:80+app=web");
    assert_eq!(remembered(&world), 641);
    assert_eq!(world.table.backend("b7").unwrap().endpoints().count(), 577);
    drop(picked);
}

#[test]
fn a_changed_endpoint_among_5000_hosts_is_in_force_within_a_millisecond() {
    let hosts = 5_000;
    let mut text = "listener out directory\n".to_owned();
    for n in 0..hosts {
        text.push_str(&format!(
            "route r{n} h{n}\n -> b{n}\nanswer h{n}:80 r{n}\nbackend b{n} c{n}\nchunks c{n} c{n}\nchunk c{n} 10.0.0.1:80\n"
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
    assert_eq!(addresses(&world.table, "b77"), ["10.0.0.2:80"]);
    assert!(fastest < Some(std::time::Duration::from_millis(1)), "{fastest:?}");
}

#[test]
fn endpoints_are_close_as_soon_as_it_is_known_where_the_proxy_runs() {
    let mut world = World::parse("chunks one one\nbackend v1 one");
    let endpoint = |port: u16, locality: &str| Endpoint {
        address: ([10, 0, 0, 1], port).into(),
        labels: Vec::new(),
        weight: None,
        workload: None,
        locality: locality.to_owned(),
    };
    let endpoints = vec![endpoint(1, "r1/z1"), endpoint(2, "r1/z2"), endpoint(3, "r2/z1")];
    let chunk = Resource::Endpoints(Endpoints { name: "one".to_owned(), endpoints });
    let policy = LocalityPolicy { tiers: true, ..LocalityPolicy::default() };
    let before = &*world.table.backend("v1").unwrap().data;
    let backend = Backend { locality: Some(Box::new(policy)), ..before.clone() };
    let apply = |table: &mut Table, resource: Resource| {
        let (next, rejected) = table.with([(resource.name(), Some(Arc::new(resource)))]);
        assert_eq!(rejected, []);
        *table = next;
    };
    apply(&mut world.table, chunk);
    apply(&mut world.table, Resource::Backend(backend));
    let ports = |table: &Table| {
        let (mut rng, now) = (Rng::new(1), std::time::Instant::now());
        let backend = table.backend("v1").unwrap();
        let dialled = "10.9.9.9:80".parse().unwrap();
        let picks = (0..50).map(|_| match backend.pick(dialled, &Ask::at(now), &mut rng) {
            Some(Pick::Endpoint(selected)) => selected.endpoint().data.address.port(),
            other => panic!("{other:?}"),
        });
        picks.collect::<BTreeSet<u16>>()
    };
    assert_eq!(ports(&world.table), BTreeSet::from([1, 2, 3]));
    for (locality, expected) in [("r1/z2", &[2][..]), ("r2/z9", &[3]), ("r9", &[1, 2, 3])] {
        let settings = Settings { locality: locality.to_owned(), ..Settings::default() };
        apply(&mut world.table, Resource::Settings(settings));
        assert_eq!(ports(&world.table), expected.iter().copied().collect(), "{locality}");
    }
}
