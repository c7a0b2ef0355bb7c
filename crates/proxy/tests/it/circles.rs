//! A request that leads back to the proxy.

use std::{
    io::copy,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;

use crate::world::{World, brief, get};

/// Leads every connection to an address that is known later, and counts them.
fn back() -> (SocketAddr, Arc<OnceLock<SocketAddr>>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (target, count) = (Arc::new(OnceLock::<SocketAddr>::new()), Arc::new(AtomicUsize::new(0)));
    let (leads_to, counted) = (Arc::clone(&target), Arc::clone(&count));
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let to = TcpStream::connect(leads_to.get().unwrap()).unwrap();
            for (mut from, mut to) in [
                (from.try_clone().unwrap(), to.try_clone().unwrap()),
                (to.try_clone().unwrap(), from.try_clone().unwrap()),
            ] {
                thread::spawn(move || {
                    let _ = copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (address, target, count)
}

#[test]
fn a_request_that_goes_in_a_circle_is_refused_after_a_few_turns() {
    let (address, target, count) = back();
    let rule = json!({
        "action": { "forward": [{ "backend": "one", "weight": 1 }] },
        // Tries would multiply from turn to turn.
        "retries": { "attempts": 2, "on": ["5xx"], "statuses": [], "backoff": "0.025s",
                     "avoidTried": false },
        "origin": { "object": "VirtualService/default/test" },
    });
    let proxy = World::new()
        .server("edge", json!(true))
        .backend("one", &[address])
        .route(&["*"], json!([rule]))
        .start();
    target.set(proxy.at("test")).unwrap();
    let answer = brief(&proxy.ask(&get("x", "/")));
    assert!(answer.starts_with("508 the request goes in a circle"), "{answer}");
    assert_eq!(count.load(Ordering::SeqCst), 17);
}
