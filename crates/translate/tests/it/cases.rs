//! Golden cases: `tests/cases/NAME.yaml` is a world, `tests/cases/NAME.txt` asks
//! and says what must be answered. `UPDATE=1` accepts what is answered.
//!
//! A line `? NAMESPACE/POD INTEREST` asks as the proxy of that pod,
//! `? NAMESPACE/POD knows INTEREST` asks its directory, `? diagnostics` asks what
//! is wrong.

use std::{env, fs, path::Path, sync::Arc};

use weft_config::{Directory, Interest, Part, Resource, directory::Known};
use weft_translate::{Client, Translator};

use crate::{render, worlds};

fn knows(translator: &mut Translator, pod: &str, interest: &Interest) -> String {
    let client = worlds::client(translator, pod);
    let directory = directory(translator, &client);
    match interest {
        Interest::Host(host, port) | Interest::ServerName(host, port) => {
            match directory.most_specific(host.as_str(), *port) {
                Some(Known::Exactly) => "yes\n".to_owned(),
                Some(Known::Under(suffix)) => format!("under *{suffix}\n"),
                None => "no\n".to_owned(),
            }
        }
        Interest::Address(address) => format!("{:?}\n", directory.decides(*address)),
        Interest::Own | Interest::Directory(_) => {
            let tls = (0..=u16::MAX).filter(|port| directory.reads_server_names(*port));
            let tls: Vec<u16> = tls.collect();
            let tls = if tls.is_empty() { String::new() } else { format!(", TLS ports {tls:?}") };
            format!("http ports {:?}{tls}\n", directory.http_ports())
        }
    }
}

/// Both parts of the directory of `client`, joined as a proxy does.
fn directory(translator: &mut Translator, client: &Client) -> Directory {
    let mut chunks = Vec::new();
    for part in Part::ALL {
        let resolved = translator.resolve(client, &Interest::Directory(part));
        for piece in &resolved.resources {
            let Resource::Directory(chunk) = &*piece.resource else {
                panic!("{} is no chunk of the directory", piece.name)
            };
            chunks.push((chunk.name.clone(), Some(Arc::new(chunk.clone()))));
        }
    }
    Directory::default().with(chunks)
}

fn ask(translator: &mut Translator, question: &str) -> String {
    let words: Vec<&str> = question.split_whitespace().collect();
    match words[..] {
        ["diagnostics"] => {
            let found = translator.diagnostics();
            found.iter().map(|one| format!("{:?}: {one}\n", one.severity)).collect()
        }
        [pod, "knows", interest] => {
            let interest = interest.parse().expect("an interest");
            knows(translator, pod, &interest)
        }
        [pod, interest] => {
            let interest: Interest = interest.parse().expect("an interest");
            let client = worlds::client(translator, pod);
            render::resolved(&translator.resolve(&client, &interest))
        }
        _ => panic!("`{question}` is no question"),
    }
}

/// The text with every question answered anew.
fn answered(world: &str, text: &str) -> String {
    let mut translator = worlds::translator(worlds::objects(world));
    let questions = text.lines().filter_map(|line| line.strip_prefix("? "));
    let answers = questions.map(|question| {
        let answer = ask(&mut translator, question);
        format!("? {question}\n{answer}\n")
    });
    let text: String = answers.collect();
    format!("{}\n", text.trim_end())
}

#[track_caller]
fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let world = fs::read_to_string(folder.join(format!("{name}.yaml"))).expect("a world");
    let path = folder.join(format!("{name}.txt"));
    let expected = fs::read_to_string(&path).expect("questions and answers");
    let found = answered(&world, &expected);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, found).expect("the folder can be written");
        return;
    }
    let differs = expected.lines().zip(found.lines()).position(|(one, other)| one != other);
    let at = differs.unwrap_or_else(|| expected.lines().count().min(found.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
    assert!(
        expected == found,
        "{name}.txt:{}: expected\n  {}\nfound\n  {}",
        at + 1,
        line(&expected),
        line(&found)
    );
}

#[test]
fn every_case_has_a_test() {
    let source = include_str!("cases.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for entry in fs::read_dir(folder).expect("the folder of cases") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        let name = name.split('.').next().unwrap_or_default().to_owned();
        assert!(source.contains(&format!("check(\"{name}\")")), "{name} is not run");
    }
}

#[test]
fn services_need_no_virtual_service() {
    check("services");
}

#[test]
fn the_course_s_chain_goes_through_its_gateway() {
    check("hello");
}

#[test]
fn rules_are_decided_for_their_site() {
    check("sites");
}

#[test]
fn hosts_beyond_services_are_served_where_their_virtual_service_says() {
    check("beyond");
}

#[test]
fn destination_rules_count_by_namespace() {
    check("precedence");
}

#[test]
fn gateways_join_virtual_services_by_host() {
    check("gateways");
}

#[test]
fn what_cannot_be_honoured_is_closed_and_told() {
    check("closed");
}

#[test]
fn what_rules_do_besides_is_said() {
    check("actions");
}

#[test]
fn rules_of_delegates_stand_where_they_are_named() {
    check("delegates");
}

#[test]
fn endpoints_by_hash_and_settings_of_ports_are_said() {
    check("consistent-hash");
}

#[test]
fn connections_and_requests_have_the_limits_of_their_backend() {
    check("connection-pool");
}

#[test]
fn shares_of_endpoints_follow_places_and_ages() {
    check("shares");
}

#[test]
fn connections_are_routed_by_address() {
    check("tcp");
}

#[test]
fn connections_are_routed_by_server_name() {
    check("server-names");
}

#[test]
fn gateways_pass_connections_on() {
    check("passthrough");
}

#[test]
fn visibility_is_part_of_the_class() {
    check("exports");
}

#[test]
fn the_mesh_s_settings_reach_every_proxy() {
    check("settings");
}

#[test]
fn sidecars_see_what_their_scope_says_and_serve_what_it_says() {
    check("sidecars");
}

#[test]
fn hosts_of_service_entries_are_reached_as_they_say_and_take_nothing_from_services() {
    check("entries");
}

#[test]
fn entries_take_nothing_that_is_another_object_s() {
    check("squatters");
}

#[test]
fn names_for_the_outside_are_no_hosts_where_the_outside_is_closed() {
    check("registry-only");
}

#[test]
fn what_is_meant_for_fewer_clients_comes_first() {
    check("order");
}

#[test]
fn clients_with_other_labels_get_what_they_would_get_alone() {
    check("sources");
}

#[test]
fn a_gateway_s_own_labels_decide_which_rules_it_has() {
    check("labelled-gateways");
}

#[test]
fn what_is_exported_to_nobody_knows_whom_is_closed_for_everybody() {
    check("unreadable-exports");
}

#[test]
fn ingresses_are_served_by_the_mesh_s_gateway() {
    check("ingress");
}
