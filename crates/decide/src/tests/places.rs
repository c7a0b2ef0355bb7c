//! Listeners that have one port at different addresses.

use std::net::SocketAddr;

use super::world::{World, request_over, scope, told};
use crate::{Rng, Table};

const SHARED: &str = "
    listener 0.0.0.0_80 servers at 0.0.0.0:80
      server http.80 0 http web apex rest
    listener 10.1.0.1_80 servers at 10.1.0.1:80
      server narrow 0 http own wild
    listener [fd00::1]_80 servers at [fd00::1]:80
      server six 0 http six
    listener 10.1.0.1_81 servers at 10.1.0.1:81
      server other 0 http own
    route web web.example,both.example
      -> wide
    route apex *.deep.example
      -> wide
    route rest *.example
      -> wide
    route own own.example,both.example,own.deep.example
      -> narrow
    route wild *.example
      -> narrow
    route six six.example
      -> narrow
    backend wide
    backend narrow
";

fn ask(table: &Table, (scope, to): (&crate::Scope, SocketAddr), host: &str) -> String {
    let request = format!("GET {host} /");
    told(request_over(table, (scope, to), &request, &mut Rng::new(1), &mut ()))
}

/// Asks for each host over a connection that arrived at a listener for an address.
#[track_caller]
fn check(listener: &str, to: &str, cases: &[(&str, &str)]) {
    let World { table } = World::parse(SHARED);
    let to: SocketAddr = to.parse().unwrap();
    let scope = scope(&table, listener, to);
    for (host, expected) in cases {
        assert_eq!(ask(&table, (&scope, to), host), *expected, "{host} at {to}");
    }
}

#[test]
fn at_an_address_the_hosts_there_and_those_of_every_address_are_in_play() {
    let cases = [
        ("own.example", "narrow"),
        ("web.example", "wide"),
        // Of equal hosts the one at the address comes first,
        ("both.example", "narrow"),
        ("other.example", "narrow"),
        // and a more exact one before it.
        ("x.deep.example", "wide"),
        ("own.deep.example", "narrow"),
        ("else", "404 NR route_not_found"),
    ];
    // Whichever socket it came to.
    for listener in ["0.0.0.0_80", "10.1.0.1_80"] {
        check(listener, "10.1.0.1:80", &cases);
        check(listener, "[::ffff:10.1.0.1]:80", &cases);
    }
}

#[test]
fn elsewhere_the_hosts_of_every_address_are_alone() {
    let cases = [("web.example", "wide"), ("both.example", "wide"), ("own.example", "wide")];
    check("0.0.0.0_80", "10.1.0.2:80", &cases);
    check("0.0.0.0_80", "127.0.0.1:80", &cases);
    let cases = [("six.example", "narrow"), ("web.example", "wide"), ("own.example", "wide")];
    check("[fd00::1]_80", "[fd00::1]:80", &cases);
    let cases = [("own.example", "narrow"), ("web.example", "404 NR route_not_found")];
    check("10.1.0.1_81", "10.1.0.1:81", &cases);
}

#[test]
fn connections_stay_where_they_belong_when_a_listener_comes_or_goes() {
    let World { table: both } = World::parse(SHARED);
    let without = |name: &str| both.with([(format!("listener/{name}"), None)]).0;
    let (wide, narrow) = (without("10.1.0.1_80"), without("0.0.0.0_80"));
    let to: SocketAddr = "10.1.0.1:80".parse().unwrap();
    // Begun while one of them was alone.
    for (begun, listener) in [(&narrow, "10.1.0.1_80"), (&wide, "0.0.0.0_80")] {
        let scope = scope(begun, listener, to);
        assert_eq!(ask(&both, (&scope, to), "own.deep.example"), "narrow");
        assert_eq!(ask(&both, (&scope, to), "web.example"), "wide");
        assert_eq!(ask(&narrow, (&scope, to), "own.deep.example"), "narrow");
        assert_eq!(ask(&wide, (&scope, to), "web.example"), "wide");
    }
}

#[test]
fn the_listener_of_an_address_is_the_one_there_else_the_one_at_every_address() {
    let World { table } = World::parse(SHARED);
    let at = |address: &str| {
        table.listener_at(address.parse().unwrap()).map_or("none", |name| &**name).to_owned()
    };
    assert_eq!(at("10.1.0.1:80"), "10.1.0.1_80");
    assert_eq!(at("10.1.0.9:80"), "0.0.0.0_80");
    assert_eq!(at("[fd00::1]:80"), "[fd00::1]_80");
    assert_eq!(at("[::ffff:10.1.0.9]:80"), "0.0.0.0_80");
    // Nothing listens at other addresses of IPv6, nor on the other port.
    assert_eq!(at("[fd00::2]:80"), "none");
    assert_eq!(at("10.1.0.9:81"), "none");
}
