//! What stages need to know, and whom their replies name.

use std::sync::Arc;

use weft_config::{Entry, Resource, Settings, SourceMatch, TcpTarget};

use super::{
    DOCK, check,
    world::{self, World, outcome},
};
use crate::{Answer, Answers, Rng, Step, Table};

#[test]
fn conditions_about_the_client_are_the_proxys_to_decide() {
    let world = |settings: &str| {
        format!(
            "listener in servers
               server web 80 http r
             {settings}
             route r *
               label:app=a label:version=1 -> both
               label:app=a -> a
               namespace=shop -> shop
               -> other
             backend both
             backend a
             backend shop
             backend other"
        )
    };
    check(&world("settings app=a version=1 in shop"), "GET x / -> both");
    check(&world("settings app=a version=2 in shop"), "GET x / -> a");
    check(&world("settings app=b in shop"), "GET x / -> shop");
    check(&world("settings in dock"), "GET x / -> other");
    check(&world(""), "GET x / -> other");
    let world = World::parse(&world("settings app=b in dock"));
    let mut notes = Vec::new();
    world::decide(&world.table, "GET x /", &mut notes);
    let told: Vec<&str> = notes.iter().map(|note| note.why.as_str()).collect();
    assert_eq!(
        told[1..4],
        [
            "the client does not have the label `app=a`, \
             the client does not have the label `version=1`",
            "the client does not have the label `app=a`",
            "the client's namespace `dock` is not `shop`",
        ]
    );
}

#[test]
fn rules_for_other_clients_are_no_fallback_for_those_that_have_their_own() {
    let world = |settings: &str| {
        format!(
            "listener in servers
               server web 80 http r
             {settings}
             route r *
               label:app=a path=/a -> a
               label:app=a -> respond 404
               -> other
             backend a
             backend other"
        )
    };
    check(&world("settings app=a in shop"), "GET x /a -> a");
    check(&world("settings app=a in shop"), "GET x /b -> 404 - direct_response");
    check(&world("settings app=b in shop"), "GET x /a -> other");
}

#[test]
fn connections_of_other_clients_go_where_the_next_target_says() {
    let v2 = for_app("a", "v2");
    let last = TcpTarget { backends: vec![("v1".to_owned(), 1)], ..TcpTarget::default() };
    for (settings, with_last, expected) in [
        ("app=a in x", true, "tcp v2"),
        ("app=b in x", true, "tcp v1"),
        ("app=b in x", false, "refuse UH no_healthy_upstream"),
    ] {
        let last = with_last.then(|| last.clone());
        let table = relaying(settings, std::iter::once(v2.clone()).chain(last).collect());
        assert_eq!(outcome(&table, "connect 10.0.9.9:5000"), expected, "{settings}");
    }
}

#[test]
fn targets_by_label_may_be_many() {
    let target = |at: usize| for_app(&at.to_string(), if at == 13_999 { "v2" } else { "v1" });
    let all: Vec<TcpTarget> = (0..14_000).map(target).collect();
    for (settings, expected) in [
        ("app=13999 in x", "tcp v2"),
        ("app=13998 in x", "tcp v1"),
        ("app=14000 in x", "refuse UH no_healthy_upstream"),
    ] {
        let table = relaying(settings, all.clone());
        assert_eq!(outcome(&table, "connect 10.0.9.9:5000"), expected, "{settings}");
    }
}

/// Where connections of pods with the label `app` go.
fn for_app(app: &str, backend: &str) -> TcpTarget {
    TcpTarget {
        source: SourceMatch { labels: vec![("app".into(), app.into())], namespace: None },
        backends: vec![(backend.to_owned(), 1)],
        ..TcpTarget::default()
    }
}

/// The table of a proxy with `settings` for which 10.0.9.9:5000 has these targets.
fn relaying(settings: &str, targets: Vec<TcpTarget>) -> Table {
    let mut changes =
        world::changes(&format!("{DOCK}\nserver 10.0.9.9:5000 tcp v1\nsettings {settings}"));
    for (_, resource) in &mut changes {
        if let Some(resource) = resource
            && let Resource::Answer(answer) = Arc::make_mut(resource)
            && let Entry::Server(server) = &mut answer.entry
        {
            server.tcp.clone_from(&targets);
        }
    }
    Table::new().with(changes).0
}

#[test]
fn a_question_is_asked_once_and_then_the_configuration_is_missing() {
    let world = World::parse(DOCK);
    let listener = "out";
    let destination = "10.0.9.8:5000".parse().unwrap();
    let mut answers = Answers::default();
    let Step::Ask(question) = world.table.connection(listener, destination, &answers, &mut ())
    else {
        panic!("it must ask")
    };
    answers.insert(question, Answer::Missing);
    match world.table.connection(listener, destination, &answers, &mut ()) {
        Step::Reply(reply) => {
            assert_eq!((reply.status, &*reply.details), (None, "config_unavailable"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_allowed_protocols_may_take_over_a_connection() {
    let world = "
        listener in servers
          server web 80 http r
        route r *
          -> one
        backend one";
    check(
        world,
        "GET x / connection:upgrade upgrade:websocket -> one
         GET x / connection:upgrade upgrade:other -> 403 - upgrade_failed
         GET x / connection:upgrade upgrade:websocket,other -> 403 - upgrade_failed
         GET x / connection:upgrade upgrade:h2c -> one
         GET x / upgrade:other -> one",
    );
    let mut settings = Settings::default();
    settings.upgrades.0.push("other".to_owned());
    let table = World::parse(world).table;
    let change = ("settings".to_owned(), Some(Arc::new(Resource::Settings(settings))));
    let table = table.with([change]).0;
    assert_eq!(outcome(&table, "GET x / connection:upgrade upgrade:Other"), "one");
}

#[test]
fn replies_name_the_object_and_rule_that_decided() {
    let world = World::parse(&format!(
        "{DOCK}\nroute dock dock\n path=/a -> gone\n path=/b -> respond 418"
    ));
    let origin = |request: &str| match world::step(&world.table, request, &mut Rng::new(1), &mut ())
    {
        Step::Reply(reply) => {
            reply.origin.map(|origin| format!("{} {}", origin.object, origin.rule))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(origin("GET dock /a").as_deref(), Some("Test 0"));
    assert_eq!(origin("GET dock /b").as_deref(), Some("Test 1"));
    assert_eq!(origin("GET dock /c").as_deref(), Some("Test "));
    assert_eq!(origin("CONNECT dock /c"), None);
}
