//! Scrapes of as many label sets as there may be, and what goes on beside them.

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::world::{Client, Running, World, alone, backend, brief, get, memory, message, ok};

/// The budget of label sets.
const LABEL_SETS: usize = 1000;
const SCRAPE: &str = "/stats/prometheus";
/// How long the thread that writes the text uses a processor before it leaves it to others. It
/// pauses after a millisecond of work, and hands over what it has made.
const MOST_WITHOUT_SLEEP: Duration = Duration::from_millis(5);

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

/// What threads of one name have done so far.
struct Done {
    /// How long they were on a processor.
    used: Duration,
    /// How often they have gone to sleep.
    sleeps: u32,
}

/// What the threads of this process have done whose names begin with `name`.
fn done(name: &str) -> Done {
    let mut done = Done { used: Duration::ZERO, sleeps: 0 };
    for thread in fs::read_dir("/proc/self/task").unwrap().flatten() {
        // Nothing is there of a thread that has ended meanwhile.
        let read = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        if !read("comm").starts_with(name) {
            continue;
        }
        let (times, status) = (read("schedstat"), read("status"));
        let used = times.split(' ').next().and_then(|text| text.parse().ok());
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        if let (Some(used), Some(sleeps)) =
            (used, sleeps.and_then(|text| text.trim().parse::<u32>().ok()))
        {
            done.used += Duration::from_nanos(used);
            done.sleeps += sleeps;
        }
    }
    done
}

/// That requests pass on connections of their own.
fn check_requests(proxy: &Running) {
    for _ in 0..200 {
        assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 x");
    }
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
    check_requests(&proxy);
    drop(slow);
    let before = [done("admin"), done("worker")];
    assert!(scrape(&proxy, usize::MAX).1 > whole / 2);
    let after = [done("admin"), done("worker")];
    let [admin, workers] = [0, 1].map(|at| after[at].used - before[at].used);
    assert!(workers < admin / 10, "{workers:?} of the workers, and {admin:?} of the admin thread");
    // Other programs make neither number larger.
    let without_sleep = admin / (after[0].sleeps - before[0].sleeps).max(1);
    assert!(without_sleep < MOST_WITHOUT_SLEEP, "{without_sleep:?}");
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
    check_requests(&proxy);
    end.store(true, SeqCst);
    assert!(scraping.join().unwrap() > 0);
}
