//! Decisions as text: a world, and lines of `request -> outcome`.

mod actions;
mod affinity;
mod places;
mod property;
mod server_names;
mod stages;
mod state;
mod world;

use std::sync::Arc;

use world::{World, outcome};

/// A world in text, then requests with what must come out. See [`World::parse`].
#[track_caller]
fn check(world: &str, cases: &str) {
    let world = World::parse(world);
    let mut wrong = String::new();
    for case in cases.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (request, expected) = case.rsplit_once(" -> ").expect("a case has an arrow");
        let got = outcome(&world.table, request);
        if got != expected {
            wrong.push_str(&format!("\n{request} -> {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

const DOCK: &str = "
    listener out directory
    directory dock:80 *.wild.example:80 *.deep.wild.example:80 b.wild.example:80 lazy:80 | http 80 | 10.0.9.9:5000 10.0.9.8:5000
    route dock dock,dock.harbor
      path=/a -> v2
      path^=/b method=PUT -> v2
      path~/c[0-9]+ -> v2
      -> v1
    answer dock:80 dock
    answer dock.harbor:80 dock
    backend v1 one
    backend v2 two
    chunks one one
    chunks two two
    chunk one 10.0.0.1:1
    chunk two 10.0.0.2:2
";

#[test]
fn the_first_rule_that_matches_is_used() {
    check(
        DOCK,
        "GET dock:80 /a?x -> v2
         GET DOCK /ab -> v1
         PUT dock.harbor /bc -> v2
         GET dock /bc -> v1
         GET dock /c12 -> v2
         GET dock /c12/d -> v1",
    );
}

#[test]
fn what_the_directory_does_not_know_goes_outside_without_a_question() {
    check(
        DOCK,
        "GET other.example / -> passthrough
         GET dock. / -> passthrough
         GET lazy / -> ask lazy:80
         GET a.wild.example / -> ask a.wild.example:80",
    );
    check(&format!("{DOCK}\nsettings closed"), "GET other.example / -> 502 - direct_response");
}

#[test]
fn an_answer_that_covers_a_wildcard_holds_where_the_directory_has_nothing_more_specific() {
    let world = format!("{DOCK}\nanswer a.wild.example:80 dock covers *.wild.example");
    check(
        &world,
        "GET a.wild.example / -> v1
         GET zzz.wild.example /a -> v2
         GET b.wild.example / -> ask b.wild.example:80
         GET c.b.wild.example / -> v1
         GET c.deep.wild.example / -> ask c.deep.wild.example:80
         GET .wild.example / -> passthrough",
    );
}

#[test]
fn connect_and_the_asterisk_have_no_route() {
    check(
        DOCK,
        "OPTIONS dock * -> 404 - absolute_path_rejected
         GET dock * -> 400 DPE http1.invalid_url
         CONNECT dock / -> 404 NR route_not_found",
    );
}

const HEADERS: &str = "
    listener in servers
      server web 80 http r
    route r *
      header:x-a=1 header:x-b? -> both
      without:x-c=1 header:x-d~[0-9]+ -> d
      query:k=v -> query
      query:e= -> empty
      header::method=PUT -> put
      header:host=web -> host
      scheme=https -> https
      anycase:path^=/UP -> upper
    backend both
    backend d
    backend query
    backend empty
    backend put
    backend host
    backend https
    backend upper
";

#[test]
fn every_value_of_a_header_is_tried_and_names_are_lower_case() {
    check(
        HEADERS,
        "GET x / X-A:2 x-a:1 x-b: -> both
         GET x / x-a:1 -> 404 NR route_not_found
         GET x / x-d:12 -> d
         GET x / x-d:12 x-c:0 x-c:1 -> 404 NR route_not_found
         GET x / x-d:12a -> 404 NR route_not_found",
    );
}

#[test]
fn the_first_value_of_a_parameter_counts_undecoded() {
    check(
        HEADERS,
        "GET x /?k=v -> query
         GET x /?k=w&k=v -> 404 NR route_not_found
         GET x /?k=%76 -> 404 NR route_not_found
         GET x /?a&e -> empty
         GET x /?e=1 -> 404 NR route_not_found",
    );
}

#[test]
fn pseudo_headers_and_the_forwarded_scheme_are_what_they_name() {
    check(
        HEADERS,
        "PUT x / -> put
         GET web / -> host
         GET web:80 / -> 404 NR route_not_found
         GET x / x-forwarded-proto:https -> https
         GET x /upper -> upper",
    );
}

#[test]
fn a_header_that_cannot_be_is_in_no_request() {
    check(
        "listener in servers
           server web 80 http r
         route r *
           header:a(b? -> one
           without:a(b? -> two
         backend one
         backend two",
        "GET x / -> two",
    );
}

#[test]
fn the_most_specific_host_of_a_server_is_used() {
    check(
        "listener gw servers
           server web 80 http a b c d e
         route e *
           -> any
         route d *.example
           -> wide
         route c *.a.example
           -> narrow
         route b x.a.example
           -> exact
         route a *y.a.example
           -> odd
         backend any
         backend wide
         backend narrow
         backend exact
         backend odd",
        "GET x.a.example / -> exact
         GET z.a.example / -> narrow
         GET xy.a.example / -> odd
         GET b.example / -> wide
         GET example / -> any
         GET  / -> 400 DPE http.invalid_authority",
    );
}

#[test]
fn what_a_more_exact_host_overrides_is_told_where_it_would_have_matched() {
    let world = World::parse(
        "listener gw servers
           server web 80 http exact any other
         route exact www.shop.example
           path^=/status -> web
         route any *.shop.example
           path^=/other -> web
         route other *
           path^=/never -> web
         backend web",
    );
    let mut notes = Vec::new();
    let told = world::decide(&world.table, "GET www.shop.example /other", &mut notes);
    assert_eq!(told, "404 NR route_not_found");
    let overridden: Vec<_> =
        notes.iter().filter(|note| note.verdict == crate::Verdict::Overridden).collect();
    assert_eq!(overridden.len(), 1, "{notes:?}");
    assert!(overridden[0].why.contains("`*.shop.example`"), "{}", overridden[0].why);
    assert!(overridden[0].why.contains("`www.shop.example`"), "{}", overridden[0].why);
}

#[test]
fn a_server_without_a_route_for_the_host_answers_404() {
    check(
        "listener gw servers
           server web 80 http a
         route a x.example
           -> v1
         backend v1",
        "GET y.example / -> 404 NR route_not_found",
    );
}

#[test]
fn a_missing_or_closed_backend_answers_503_and_names_itself() {
    check(
        "listener in servers
           server web 80 http r
         route r *
           path=/gone -> nobody
           path=/closed -> shut
           path=/none -> empty
           path=/fixed -> respond 418
         backend shut closed
         backend empty",
        "GET x /gone -> 503 NC cluster_not_found
         GET x /closed -> 503 - closed_for_a_test
         GET x /none -> empty
         GET x /fixed -> 418 - direct_response",
    );
}

#[test]
fn connections_are_served_by_address_then_port_then_outside() {
    let world = format!(
        "{DOCK}
         server 10.0.9.9:5000 tcp v1"
    );
    check(
        &world,
        "connect 10.0.9.9:5000 -> tcp v1
         connect 10.0.9.8:5000 -> ask 10.0.9.8:5000
         connect 1.2.3.4:80 -> http
         connect 1.2.3.4:443 -> tcp PassthroughCluster",
    );
    let closed = format!("{world}\nsettings closed");
    check(&closed, "connect 1.2.3.4:443 -> refuse UH no_healthy_upstream");
}

#[test]
fn interests_lead_outside_where_there_is_nobody_to_ask() {
    let mut world = World::parse(DOCK);
    world.table = world.table.when_unanswered(crate::Unanswered::Outside);
    assert_eq!(outcome(&world.table, "GET lazy /"), "passthrough");
    assert_eq!(outcome(&world.table, "connect 10.0.9.8:5000"), "tcp PassthroughCluster");
}

#[test]
fn a_bad_expression_is_rejected_by_name_and_the_previous_version_stays() {
    let mut world = World::parse(DOCK);
    let rejected = world.apply("route dock dock\n path~( -> v1");
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].name, "route/dock");
    assert!(rejected[0].reason.contains("regular expression"), "{}", rejected[0].reason);
    assert_eq!(outcome(&world.table, "GET dock /a"), "v2");
}

#[test]
fn a_bad_route_without_previous_version_is_closed_and_widens_nothing() {
    let mut world = World::parse(
        "listener gw servers
           server web 80 http any narrow
         route any *
           -> v1
         backend v1",
    );
    assert_eq!(world.apply("route narrow a.example\n path~( -> v1").len(), 1);
    assert_eq!(outcome(&world.table, "GET a.example /"), "500 - route_rejected");
    assert_eq!(outcome(&world.table, "GET b.example /"), "v1");
}

#[test]
fn hosts_that_a_rejected_version_adds_are_closed_until_a_good_version_comes() {
    let mut world = World::parse(
        "listener gw servers
           server web 80 http any narrow
         route any *
           -> v1
         route narrow a.example
           -> v2
         backend v1
         backend v2",
    );
    let closed = "500 - route_rejected";
    let check = |world: &World, host: &str, expected: &str| {
        assert_eq!(outcome(&world.table, &format!("GET {host} /")), expected, "{host}");
    };
    for (hosts, b, c) in [
        ("a.example,b.example", closed, "v1"),
        ("*.example", closed, closed),
        ("a.example", "v1", "v1"),
    ] {
        assert_eq!(world.apply(&format!("route narrow {hosts}\n path~( -> v1")).len(), 1);
        check(&world, "a.example", "v2");
        check(&world, "b.example", b);
        check(&world, "c.example", c);
        check(&world, "d.test", "v1");
    }
    world.apply("route narrow a.example,b.example\n path~( -> v1");
    assert_eq!(world.apply("route narrow a.example,b.example\n -> v2"), []);
    check(&world, "b.example", "v2");
    // The same hosts as were in force before: nothing of the rejected version is left.
    world.apply("route narrow a.example,b.example,c.example\n path~( -> v1");
    check(&world, "c.example", closed);
    assert_eq!(world.apply("route narrow a.example,b.example\n -> v2"), []);
    check(&world, "c.example", "v1");
    world.apply("route narrow c.example\n path~( -> v1");
    world.table = world.table.with([("route/narrow".to_owned(), None)]).0;
    check(&world, "c.example", "v1");
}

#[test]
fn the_rules_of_lists_come_before_a_routes_own() {
    let mut world = World::parse(
        "listener gw servers
           server web 80 http a b
         route a a.example first second
           -> v3
         route b b.example second first
         rules first
           path=/one -> v1
         rules second
           path^=/o -> v2
         backend v1
         backend v2
         backend v3",
    );
    let check = |world: &World, expected: [&str; 4]| {
        let requests = ["a.example /one", "a.example /x", "b.example /one", "b.example /x"];
        let found = requests.map(|request| outcome(&world.table, &format!("GET {request}")));
        assert_eq!(found, expected);
    };
    let none = "404 NR route_not_found";
    check(&world, ["v1", "v3", "v2", none]);
    world.apply("rules second\n path=/x -> v2");
    check(&world, ["v1", "v2", "v1", "v2"]);
    assert_eq!(world.apply("rules first\n path~( -> v3").len(), 1);
    check(&world, ["v1", "v2", "v1", "v2"]);
    world.apply("route b b.example third");
    check(&world, ["v1", "v2", "503 - config_unavailable", "503 - config_unavailable"]);
    assert_eq!(world.apply("rules third\n path~( -> v3")[0].name, "rules/third");
    check(&world, ["v1", "v2", "500 - route_rejected", "500 - route_rejected"]);
    world.apply("rules third\n path=/one -> v3");
    check(&world, ["v1", "v2", "v3", none]);
    let gone = ["rules/third", "rules/second"].map(|name| (name.to_owned(), None));
    world.table = world.table.with(gone).0;
    let missing = "503 - config_unavailable";
    check(&world, ["v1", missing, missing, missing]);
}

#[test]
fn rules_say_why_they_did_not_match() {
    let world = World::parse(DOCK);
    let mut notes = Vec::new();
    world::decide(&world.table, "GET dock /b", &mut notes);
    let told: Vec<String> = notes
        .iter()
        .map(|note| format!("{}: {}: {}", note.origin.rule, note.verdict.as_str(), note.why))
        .collect();
    assert_eq!(
        told,
        [
            ": matched: the request is for `dock`",
            "0: not matched: path `/b` is not `/a`",
            "1: not matched: method `GET` is not `PUT`",
            "2: not matched: path `/b` does not match `/c[0-9]+`",
            "3: matched: no conditions",
        ]
    );
}

#[test]
fn a_table_is_shared_between_threads() {
    fn shared<T: Send + Sync>(_: Arc<T>) {}
    shared(Arc::new(crate::Table::new()));
}
