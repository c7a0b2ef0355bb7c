//! What keeps requests at one endpoint.

use std::time::Duration;

use weft_balance::Rng;
use weft_config::{Endpoint, HashCookie, HashKey, LoadBalancer, Resource};

use super::world::{self, World, changes};
use crate::{Affinity, Answers, Ask, Pick, Step, Table};

/// A world of one backend with four endpoints, which are chosen by the hash of `key`.
fn world(key: HashKey) -> World {
    let mut world = World { table: Table::new() };
    let mut resources = changes(
        "listener out servers
           server web 80 http web
         route web web
           -> v1 with {\"changes\": {\"request\": {\"set\": [[\"x-made\", \"%REQ(x-a)%\"]]}}}
         backend v1 e
         chunks e c
         chunk c 10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80",
    );
    for (_, resource) in &mut resources {
        let mut changed = resource.as_deref().cloned().unwrap();
        if let Resource::Backend(backend) = &mut changed {
            backend.load_balancer = LoadBalancer::Hash(key.clone());
        }
        *resource = Some(changed.into());
    }
    world.table = world.table.with(resources).0;
    world
}

/// What keeps `request` together with others, and where it goes.
fn affinity(world: &World, request: &str) -> (Affinity, Endpoint) {
    let (scope, arrived) = world::arrived(&world.table, request);
    let arrival = *arrived.arrival();
    let decided =
        world.table.decide(&scope, &arrived, &Answers::default(), (&mut Rng::new(1), &mut ()));
    let Step::Done(routed) = decided else { panic!("{decided:?}") };
    let backend = std::sync::Arc::clone(routed.backend());
    let (head, authority) = routed.request(arrived).unwrap();
    let found = backend.affinity((&head, authority.as_ref()), &arrival);
    let ask = Ask { hash: found.hash, ..Ask::at(std::time::Instant::now()) };
    let picked = backend.pick(arrival.destination, &ask, &mut Rng::new(1));
    let Some(Pick::Endpoint(picked)) = picked else { panic!("{picked:?}") };
    (found, picked.endpoint().data.as_ref().clone())
}

fn hash(key: HashKey, request: &str) -> Option<u64> {
    affinity(&world(key), request).0.hash
}

fn sess(ttl: Option<u64>) -> HashCookie {
    let ttl = ttl.map(Duration::from_secs);
    HashCookie { name: "sess".into(), path: String::new(), ttl, attributes: Vec::new() }
}

#[test]
fn the_hash_is_of_the_request_as_it_is_sent_on_and_the_same_everywhere() {
    let of = |name: &str, request| hash(HashKey::Header(name.into()), request);
    let a = of("x-a", "GET web / x-a:one");
    assert_eq!(a, Some(0x363b_02a4_2408_a1f6), "all proxies have to agree: {a:x?}");
    assert_eq!(of("x-made", "GET web / x-a:one"), a);
    assert_ne!(of("x-a", "GET web / x-a:two"), a);
    assert_eq!(of("x-a", "GET web /"), None);
    assert_eq!(of("x-a", "GET web / x-a:1 x-a:2"), of("x-a", "GET web / x-a:2 x-a:1"));
    assert_ne!(of("x-a", "GET web / x-a:1 x-a:2"), of("x-a", "GET web / x-a:12"));
    assert_eq!(of(":path", "GET web /p?q x-a:/p?q"), of("x-a", "GET web /p?q x-a:/p?q"));
    assert_eq!(of(":authority", "GET web / x-a:web"), of("x-a", "GET web / x-a:web"));
    assert_eq!(of("no name", "GET web /"), None);
}

#[test]
fn the_first_parameter_of_the_query_counts() {
    let of = |request| hash(HashKey::Query("k".into()), request);
    assert_eq!(of("GET web /?k=1&k=2"), of("GET web /other?x=9&k=1"));
    assert_ne!(of("GET web /?k=1"), of("GET web /?k=2"));
    assert_eq!((of("GET web /?kk=1"), of("GET web /")), (None, None));
}

#[test]
fn clients_of_one_address_stay_together_whatever_their_port() {
    let world = world(HashKey::SourceIp);
    let backend = world.table.backend("v1").unwrap();
    let of = |client: &str| backend.hash_of_connection(client.parse().unwrap());
    assert_eq!(affinity(&world, "GET web /").0.hash, of("10.1.1.1:9"));
    assert_eq!(of("10.1.1.1:1"), of("[::ffff:10.1.1.1]:2"));
    assert_ne!(of("10.1.1.1:1"), of("10.1.1.2:1"));
}

#[test]
fn a_cookie_is_found_among_others_with_or_without_quotes() {
    let of = |cookies: &str| hash(HashKey::Cookie(sess(None)), &format!("GET web / {cookies}"));
    let a = of("cookie:sess=abc");
    assert!(a.is_some());
    for same in ["cookie:sess=\"abc\"", "cookie:a=b;sess=abc;sess=d", "cookie:a=b cookie:sess=abc"]
    {
        assert_eq!(of(same), a, "{same}");
    }
    for none in ["cookie:Sess=abc", "cookie:xsess=abc", "cookie:sess=", "cookie:sess"] {
        assert_eq!(of(none), None, "{none}");
    }
}

#[test]
fn a_client_without_the_cookie_gets_one_that_leads_to_the_same_endpoint() {
    let attributes = vec![("SameSite".into(), "Lax".into()), ("Secure".into(), String::new())];
    let long = HashCookie { path: "/a".into(), attributes, ..sess(Some(90)) };
    for (cookie, after) in [
        (sess(Some(0)), "; HttpOnly"),
        (long, "; Max-Age=90; Path=/a; SameSite=Lax; Secure; HttpOnly"),
    ] {
        let world = world(HashKey::Cookie(cookie));
        let (found, endpoint) = affinity(&world, "GET web /");
        let set = found.set_cookie.unwrap();
        let set = set.to_str().unwrap();
        let (pair, rest) = set.split_once(';').unwrap();
        assert_eq!(format!(";{rest}"), after);
        assert_eq!(pair.len(), "sess=\"\"".len() + 16, "{pair}");
        let (again, same) = affinity(&world, &format!("GET web / cookie:{pair}"));
        assert_eq!((again.hash, again.set_cookie), (found.hash, None));
        assert_eq!(same, endpoint);
    }
    let none = affinity(&world(HashKey::Cookie(sess(None))), "GET web /").0;
    assert_eq!(none, Affinity::default(), "without a lifetime none is made");
    let odd = HashCookie { name: "a\nb".into(), ..sess(Some(0)) };
    assert_eq!(affinity(&world(HashKey::Cookie(odd)), "GET web /").0, Affinity::default());
}
