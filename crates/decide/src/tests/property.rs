//! What must hold for any rules, and any order of changes.

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof},
    proptest,
    sample::select,
};

use super::world::{World, changes, outcome};
use crate::Table;

/// One condition on paths made of few letters, so that rules overlap.
fn condition() -> impl Strategy<Value = String> {
    let path = "(/[ab]{0,2}){1,2}";
    prop_oneof![
        path.prop_map(|path| format!("path={path}")),
        path.prop_map(|path| format!("path^={path}")),
        select(vec!["path~/a.*", "path~/[ab]+", "path~.*/b", "anycase:path^=/A", "method=PUT"])
            .prop_map(str::to_owned),
    ]
}

fn route(rules: &[String]) -> String {
    let mut text = "listener in servers\n server web 80 http r\nroute r *\n".to_owned();
    for (rank, rule) in rules.iter().enumerate() {
        text.push_str(&format!("{rule} -> respond {}\n", 200 + rank));
    }
    text
}

/// The outcome by the first rule alone that matches when it is the only one.
fn one_by_one(rules: &[String], request: &str) -> String {
    rules
        .iter()
        .position(|rule| {
            let alone = World::parse(&route(std::slice::from_ref(rule)));
            outcome(&alone.table, request).starts_with("200")
        })
        .map_or("404 NR route_not_found".to_owned(), |rank| {
            format!("{} - direct_response", 200 + rank)
        })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn many_rules_decide_as_they_would_one_after_the_other(
        rules in vec(condition(), 17..40),
        paths in vec("(/[ab]{0,3}){1,3}", 1..6),
        put in any::<bool>(),
    ) {
        let world = World::parse(&route(&rules));
        let method = if put { "PUT" } else { "GET" };
        for path in paths {
            let request = format!("{method} x {path}");
            assert_eq!(outcome(&world.table, &request), one_by_one(&rules, &request), "{request}");
        }
    }

    #[test]
    fn changes_one_by_one_in_any_order_end_where_all_at_once_do(
        order in vec(0..22_usize, 22..70),
    ) {
        let texts = [
            "listener out directory", "directory a:80 b:80 *.b:80 | http 80 |",
            "route ra a\n -> b1", "route ra a\n -> b2", "route rb b,*.b\n path=/x -> b1",
            "answer a:80 ra", "answer b:80 rb covers *.b", "backend b1 l1", "backend b2 l1 closed",
            "chunk c1 10.0.0.1:1", "chunk c1 10.0.0.2:1", "backend b1 l2",
            "chunks l1 c1", "chunks l1 c2 c1", "chunks l2 c1", "chunk c2 10.0.0.3:1",
            "rules r1\n path=/ -> b2", "rules r1\n path=/x -> b1", "rules r2\n path=/ -> b1",
            "route ra a r1\n -> b1", "route ra a r2 r1", "route rb b,*.b r2\n path=/x -> b2",
        ];
        let mut stepwise = Table::new();
        let mut last = std::collections::BTreeMap::new();
        for step in [0, 1].into_iter().chain(order) {
            let change = changes(texts[step]);
            stepwise = stepwise.with(change.iter().cloned()).0;
            last.extend(change);
        }
        let (at_once, _) = Table::new().with(last);
        for request in ["GET a /", "GET b /x", "GET b /", "GET q.b /x", "GET q /"] {
            assert_eq!(outcome(&stepwise, request), outcome(&at_once, request), "{request}");
        }
        let addresses = |table: &Table| {
            table.backend("b1").map(|backend| {
                backend.endpoints().map(|endpoint| endpoint.address).collect::<Vec<_>>()
            })
        };
        assert_eq!(addresses(&stepwise), addresses(&at_once));
    }
}
