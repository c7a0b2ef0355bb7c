//! A proxy that is given everything at once decides as one that learns on demand.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use http::{HeaderMap, Method};
use weft_config::{File, Resource};
use weft_decide::{Connection, Relay, Request, Rng, Routed, Table, Unanswered};
use weft_explain::{Outcome, Question, Start, Unlabelled, World, explain, translate_for};

/// What the outbound side of a proxy with this table makes of a request.
fn outcome(table: &Table, destination: SocketAddr, host: &str, path: &str) -> Outcome {
    let mut rng = Rng::new(0);
    let scope = match table.connection("outbound", destination, &mut ()) {
        Connection::Http(scope) | Connection::Detect(scope) => scope,
        Connection::Tcp(tcp) => {
            return match table.relay(&tcp, &mut rng, &mut ()) {
                Relay::To(backend) if backend.data.service.is_empty() => Outcome::Passthrough,
                Relay::To(_) => Outcome::Forward,
                Relay::Refuse(_) => Outcome::Refuse,
            };
        }
        other => panic!("{other:?}"),
    };
    let request = Request {
        method: &Method::GET,
        scheme: "http",
        authority: host,
        path_and_query: path,
        headers: &HeaderMap::new(),
    };
    match table.route(&scope, &request, &mut rng, &mut ()) {
        Routed::Forward(forward) => match forward.backend.members() {
            [] => Outcome::Respond,
            _ => Outcome::Forward,
        },
        Routed::Passthrough(_) => Outcome::Passthrough,
        Routed::Reply(_) => Outcome::Respond,
        Routed::Ask(interest) => panic!("{interest} has no answer"),
    }
}

#[test]
fn a_file_for_a_sidecar_answers_everything_it_could_ask() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases/shop.yaml");
    let text = fs::read_to_string(path).unwrap();
    let mut world = World::of_files(weft_manifest::read("shop.yaml", &text), Unlabelled::Inject);
    let start: Start = "web.shop".parse().unwrap();
    let file = translate_for(&mut world, &start).unwrap();
    let yaml = weft_manifest::to_yaml(&serde_json::to_value(&file).unwrap());
    let read = weft_manifest::read("config.yaml", &yaml);
    let read: File = serde_json::from_value(read[0].value.clone().unwrap()).unwrap();
    assert_eq!(read, file, "the file says the same when it is read again");
    let named = |resource: Resource| (resource.name(), Some(Arc::new(resource)));
    let (table, rejected) = Table::new().with(file.resources.into_iter().map(named));
    assert_eq!(rejected, []);
    let table = table.when_unanswered(Unanswered::Outside);
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
        let mut question = Question::new("GET", url, start.clone()).unwrap();
        let destination = SocketAddr::from(([10, 96, 200, 1], question.url.port));
        question.to = Some(destination);
        let learnt = explain(&mut world, &question).unwrap().hops[0].outcome;
        let given = outcome(&table, destination, &question.url.authority, &question.url.target);
        assert_eq!(given, learnt, "{url}");
    }
}
