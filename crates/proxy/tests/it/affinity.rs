//! Requests that stay together, as both ends see it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weft_testkit::http1::{Client, Server};

use crate::world::{Running, World, backend, brief, get, ok, server};

/// A proxy whose only backend has four servers, which are chosen by the hash of `key`; they
/// answer with their names. Each call is another proxy and the same servers.
fn by_hash(key: &Value, servers: &[Server]) -> Running {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut one = backend("one", json!({ "endpoints": "there" }));
    one["loadBalancer"] = json!({ "hash": key });
    let world = World::new().backend("there", &addresses);
    world.resource(json!({ "backend": one })).all_to("one").start()
}

fn servers() -> Vec<Server> {
    ["a", "b", "c", "d"].map(|name| server(&[&ok(name)])).into()
}

/// Who answers a request with this field, over a connection of its own.
fn who(proxy: &Running, field: &str) -> String {
    let got = proxy.client().ask(&format!("GET / HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n"));
    brief(&got)
}

#[test]
fn a_key_leads_to_one_endpoint_over_all_connections_and_proxies() {
    let servers = servers();
    let key = json!({ "header": "x-key" });
    let proxies = [by_hash(&key, &servers), by_hash(&key, &servers)];
    let mut seen = BTreeSet::new();
    for key in 0..24 {
        let field = format!("x-key: {key}");
        let first = who(&proxies[0], &field);
        for proxy in proxies.iter().cycle().take(4) {
            assert_eq!(who(proxy, &field), first, "{key}");
        }
        seen.insert(first);
    }
    assert!(seen.len() > 1, "{seen:?}");
    let without: BTreeSet<_> = (0..64).map(|_| who(&proxies[0], "x-other: 1")).collect();
    assert!(without.len() > 1, "{without:?}");
}

#[test]
fn a_client_gets_a_cookie_and_with_it_the_same_endpoint() {
    let servers = servers();
    let proxy = by_hash(&json!({ "cookie": { "name": "sess", "ttl": "0s" } }), &servers);
    for _ in 0..8 {
        let got = proxy.client().ask(&get("x", "/"));
        let (_, cookie) = got.split_once("\r\nset-cookie: sess=").expect(&got);
        let value = cookie.split_once("; HttpOnly\r\n").expect(&got).0;
        let field = format!("cookie: sess={value}");
        for _ in 0..4 {
            assert_eq!(who(&proxy, &field), brief(&got));
        }
    }
    let got = proxy.client().ask("GET / HTTP/1.1\r\nhost: x\r\ncookie: sess=1\r\n\r\n");
    assert!(!got.contains("set-cookie"), "{got}");
}

#[test]
fn a_clients_address_leads_to_one_endpoint() {
    let servers = servers();
    let proxy = by_hash(&json!("sourceIp"), &servers);
    let mut seen = BTreeSet::new();
    for last in 1..16 {
        let ask = || {
            let mut client = Client::from([127, 0, 1, last], proxy.at("test"));
            brief(&client.ask(&get("x", "/")))
        };
        let first = ask();
        assert_eq!((ask(), ask()), (first.clone(), first.clone()));
        seen.insert(first);
    }
    assert!(seen.len() > 1, "{seen:?}");
}
