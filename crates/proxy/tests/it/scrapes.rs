//! Scrapes of as many label sets as there may be, and what goes on beside them.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::world::{Client, Running, World, alone, backend, brief, get, memory, message, ok};

/// The budget of label sets.
const LABEL_SETS: usize = 1000;
const SCRAPE: &str = "/stats/prometheus";

/// A proxy that has counted requests to so many workloads, each at an address of its own.
fn counted() -> Running {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                while message(&mut stream).is_some() {
                    std::io::Write::write_all(&mut stream, ok("x").as_bytes()).unwrap();
                }
            });
        }
    });
    let endpoints: Vec<Value> = (0..LABEL_SETS)
        .map(|number| {
            let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
            let address = SocketAddr::from(([127, 0, high + 1, low], port));
            json!({ "address": address, "workload": { "name": format!("w{number}"),
                "namespace": "default" } })
        })
        .collect();
    let all = json!({ "endpoints": { "name": "many", "endpoints": endpoints } });
    let proxy = World::new()
        .resource(all)
        .resource(json!({ "chunkList": { "name": "many", "chunks": ["many"] } }))
        .resource(json!({ "backend": backend("one", json!({ "endpoints": "many" })) }))
        .all_to("one")
        .start();
    let mut client = proxy.client();
    for _ in 0..LABEL_SETS + 100 {
        assert_eq!(brief(&client.ask(&get("x", "/"))), "200 x");
    }
    proxy
}

/// Asks for a scrape, and reads only as much of it as was `wanted`; how much came.
fn scrape(proxy: &Running, wanted: usize) -> (Client, usize) {
    let mut client = Client::to(proxy.at("merged"));
    client.say(&format!("GET {SCRAPE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    let (mut read, mut buffer) = (0, [0; 16 * 1024]);
    while read < wanted {
        match client.0.read(&mut buffer).unwrap() {
            0 => break,
            count => read += count,
        }
    }
    (client, read)
}

/// How long each of some requests takes, on a connection of its own.
fn times(proxy: &Running) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 x");
            began.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn scrapes_at_the_budget_take_little_memory_and_hold_up_nobody() {
    alone("scrapes::at_the_budget_in_a_process_of_its_own");
}

#[test]
#[ignore = "run alone by another test, for others would use memory and time as well"]
fn at_the_budget_in_a_process_of_its_own() {
    let proxy = counted();
    let (_, whole) = scrape(&proxy, usize::MAX);
    assert!(whole > 1 << 20, "{whole} bytes");
    // The first scrape has made what is kept between them.
    let before = memory();
    let (slow, _) = scrape(&proxy, whole / 2);
    let more = memory().saturating_sub(before);
    assert!(more < 2 << 20, "{more} bytes for a scrape that is not read");
    drop(slow);
    let alone = times(&proxy);
    let proxy = Arc::new(proxy);
    let end = Arc::new(AtomicBool::new(false));
    let scraping = {
        let (proxy, end) = (Arc::clone(&proxy), Arc::clone(&end));
        thread::spawn(move || {
            let mut scrapes = 0;
            while !end.load(SeqCst) {
                scrapes += usize::from(scrape(&proxy, usize::MAX).1 > whole / 2);
            }
            scrapes
        })
    };
    let beside = times(&proxy);
    end.store(true, SeqCst);
    assert!(scraping.join().unwrap() > 0);
    // Others may use this machine: one in ten is not looked at.
    let at = alone.len() * 9 / 10;
    let longer = beside[at].saturating_sub(alone[at]);
    assert!(longer < Duration::from_millis(5), "{:?} instead of {:?}", beside[at], alone[at]);
}
