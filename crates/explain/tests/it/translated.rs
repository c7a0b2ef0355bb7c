//! A proxy that is given everything at once decides as one that learns on demand.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use weft_config::{Discovery, File, Resource};
use weft_decide::{
    Answers, Arrival, Arrived, Connection, Direction, NextHop, Rng, Scheme, Step, Table, Unanswered,
};
use weft_explain::{Outcome, Question, Start, Unlabelled, World, explain, translate_for};

/// What the outbound side of a proxy with this table makes of a request.
fn outcome(table: &Table, destination: SocketAddr, host: &str, path: &str) -> Outcome {
    let (mut rng, answers) = (Rng::new(0), Answers::default());
    let scope = match table.connection("outbound", destination, &answers, &mut ()) {
        Step::Done(Connection::Http(scope) | Connection::Detect(scope)) => scope,
        Step::Done(Connection::Tcp(tcp)) => {
            return match table.relay(&tcp, &mut rng, &mut ()) {
                Ok(backend) if backend.data.service.is_empty() => Outcome::Passthrough,
                Ok(_) => Outcome::Forward,
                Err(_) => Outcome::Refuse,
            };
        }
        other => panic!("{other:?}"),
    };
    let head = http::Request::get(path).header("host", host).body(()).unwrap().into_parts().0;
    let arrival = Arrival {
        client: None,
        destination,
        direction: Direction::Outbound,
        next: NextHop::Elsewhere,
        scheme: Scheme::Http,
    };
    let arrived = Arrived::read(head, arrival);
    match table.decide(&scope, &arrived, &answers, (&mut rng, &mut ())) {
        Step::Done(routed) if routed.is_passthrough() => Outcome::Passthrough,
        Step::Done(routed) => {
            let backend = routed.backend();
            let chosen = matches!(backend.data.discovery, Discovery::Endpoints(_));
            match chosen && backend.endpoints().next().is_none() {
                true => Outcome::Respond,
                false => Outcome::Forward,
            }
        }
        Step::Reply(_) => Outcome::Respond,
        Step::Ask(question) => panic!("{question} has no answer"),
    }
}

/// The table that a proxy makes of the file for `start`.
fn given(world: &mut World, start: &Start) -> Table {
    let file = translate_for(world, start).unwrap();
    let yaml = weft_manifest::to_yaml(&serde_json::to_value(&file).unwrap());
    let read = weft_manifest::read("config.yaml", &yaml);
    let read: File = serde_json::from_value(read[0].value.clone().unwrap()).unwrap();
    assert_eq!(read, file, "the file says the same when it is read again");
    let named = |resource: Resource| (resource.name(), Some(Arc::new(resource)));
    let (table, rejected) = Table::new().with(file.resources.into_iter().map(named));
    assert_eq!(rejected, []);
    table.when_unanswered(Unanswered::Outside)
}

/// What a proxy on demand makes of `url`, and what one with `table` does.
fn both(world: &mut World, start: &Start, table: &Table, url: &str) -> (Outcome, Outcome) {
    let mut question = Question::new(None, url, start.clone()).unwrap();
    let destination = SocketAddr::from(([10, 96, 200, 1], question.url.port));
    question.to = Some(destination);
    let learnt = explain(world, &question).unwrap().hops[0].outcome;
    (learnt, outcome(table, destination, &question.url.authority, &question.url.target))
}

const WILDCARDS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: app, image: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.5, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild, namespace: shop}
spec:
  hosts: ['*.com', '*.sea.com']
  http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: cart}}]}]
";

#[test]
fn names_under_a_wildcard_are_served_from_a_file_as_on_demand() {
    let documents = weft_manifest::read("wild.yaml", WILDCARDS);
    let mut world = World::of_files(documents, Unlabelled::Inject);
    let start: Start = "web.shop".parse().unwrap();
    let table = given(&mut world, &start);
    for (url, expected) in [
        ("http://a.com/a", Outcome::Forward),
        ("http://a.com/b", Outcome::Respond),
        ("http://x.sea.com/a", Outcome::Forward),
        ("http://a.org/a", Outcome::Passthrough),
        ("http://pod-0.db/", Outcome::Forward),
        ("http://pod-0.db.shop.svc.cluster.local/", Outcome::Forward),
    ] {
        let (learnt, given) = both(&mut world, &start, &table, url);
        assert_eq!((learnt, given), (expected, expected), "{url}");
    }
}

#[test]
fn a_file_for_a_sidecar_answers_everything_it_could_ask() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases/shop.yaml");
    let text = fs::read_to_string(path).unwrap();
    let mut world = World::of_files(weft_manifest::read("shop.yaml", &text), Unlabelled::Inject);
    let start: Start = "web.shop".parse().unwrap();
    let table = given(&mut world, &start);
    for url in [
        "http://cart/items",
        "http://cart.shop.svc.cluster.local./beta",
        "http://cart/old",
        "http://cart/",
        "http://empty/",
        "http://web:80/",
        "http://example.com/",
        "http://cart:81/",
    ] {
        let (learnt, given) = both(&mut world, &start, &table, url);
        assert_eq!(given, learnt, "{url}");
    }
}

#[test]
fn a_wildcard_of_a_virtual_service_covers_its_hosts() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {containers: [{name: client, image: my/client}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec: {hosts: ['*.com'], http: [{directResponse: {status: 200}, route: [{destination: {host: gone}}]}]}
";
    let mut world = World::of_files(weft_manifest::read("a.yaml", text), Unlabelled::Inject);
    let file = translate_for(&mut world, &"client".parse().unwrap()).unwrap();
    let named = |resource: Resource| (resource.name(), Some(Arc::new(resource)));
    let (table, _) = Table::new().with(file.resources.into_iter().map(named));
    let table = table.when_unanswered(Unanswered::Outside);
    let destination = "192.0.2.1:80".parse().unwrap();
    for (host, expected) in [
        ("a.com", Outcome::Respond),
        ("a.b.com", Outcome::Respond),
        (".sea.com", Outcome::Respond),
        ("a.org", Outcome::Passthrough),
    ] {
        assert_eq!(outcome(&table, destination, host, "/"), expected, "{host}");
    }
}
