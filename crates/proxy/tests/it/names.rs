//! Backends whose endpoints have names: several of them, and those that requests name.

use serde_json::json;

use crate::world::{World, backend, brief, get, ok, server};

/// A name that no resolver asks for: a label has at most 63 letters.
fn no_name() -> String {
    "a".repeat(64)
}

#[test]
fn names_get_their_shares_and_those_without_an_address_are_passed_over() {
    let (light, heavy) = (server(&[&ok("light")]), server(&[&ok("heavy")]));
    let names = json!([
        {"host": "127.0.0.1", "port": light.address.port()},
        {"host": "localhost", "port": heavy.address.port(), "weight": 7},
        {"host": no_name(), "port": 80},
    ]);
    let discovery = json!({ "names": { "names": names } });
    let proxy =
        World::new().resource(json!({ "backend": backend("named", discovery) })).all_to("named");
    let proxy = proxy.start();
    for _ in 0..180 {
        assert!(brief(&proxy.ask(&get("x", "/"))).starts_with("200 "));
    }
    // The one without an address is followed by the first.
    let (light, heavy) = (light.heard().len(), heavy.heard().len());
    assert_eq!(light + heavy, 180);
    assert!((15..66).contains(&light), "{light} and {heavy}");
}

#[test]
fn names_without_any_address_are_no_endpoint() {
    let names = json!([{"host": no_name(), "port": 80}]);
    let discovery = json!({ "names": { "names": names, "firstOnly": true } });
    let world = World::new().resource(json!({ "backend": backend("named", discovery) }));
    let proxy = world.all_to("named").start();
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "503 no healthy upstream");
}

#[test]
fn the_host_of_a_request_is_looked_up_where_that_is_asked_for() {
    let server = server(&[&ok("found")]);
    let discovery = json!({ "requested": { "port": server.address.port() } });
    let world = World::new().resource(json!({ "backend": backend("any", discovery) }));
    let proxy = world.all_to("any").start();
    assert_eq!(brief(&proxy.ask(&get("LocalHost:1", "/"))), "200 found");
    assert_eq!(brief(&proxy.ask(&get(&no_name(), "/"))), "503 no healthy upstream");
}
