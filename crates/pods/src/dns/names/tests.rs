//! Names in, entries out, over a small cluster.

use super::*;
use crate::services::{Fitness, Port};

struct Cluster;

impl Directory for Cluster {
    fn service(&self, namespace: &str, name: &str) -> Option<Service> {
        let kind = match (namespace, name) {
            ("shop", "web") => ServiceKind::Address(Ipv4Addr::new(10, 96, 7, 7)),
            ("shop", "db") => ServiceKind::Headless,
            ("shop", "pay") => ServiceKind::Alias("pay.example.com".into()),
            _ => return None,
        };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Some(Service { namespace, name, kind, ports: vec![port(80)] })
    }

    fn endpoints(&self, _: &str, name: &str) -> Vec<Endpoint> {
        let endpoint = |last, hostname: Option<&str>, fitness| Endpoint {
            address: Ipv4Addr::new(10, 244, 0, last),
            hostname: hostname.map(str::to_owned),
            fitness,
            ports: vec![port(5432)].into(),
        };
        match name {
            "db" => vec![
                endpoint(2, Some("db-0"), Fitness::Ready),
                endpoint(3, None, Fitness::Ready),
                endpoint(4, Some("db-2"), Fitness::Unfit),
            ],
            _ => vec![],
        }
    }

    fn has_namespace(&self, name: &str) -> bool {
        name == "shop"
    }

    fn outside(&self, name: &str) -> Option<Ipv4Addr> {
        let played = ["api.example.com", "web.shop.svc.cluster.local"];
        played.contains(&name).then_some(Ipv4Addr::new(203, 0, 113, 1))
    }
}

fn port(number: u16) -> Port {
    Port { name: "http".into(), protocol: Protocol::Tcp, number }
}

#[track_caller]
fn check(kind: QueryKind, name: &str, expected: &str) {
    check_in("cluster.local", (kind, name), expected);
}

#[track_caller]
fn check_in(domain: &str, (kind, name): (QueryKind, &str), expected: &str) {
    let found = match (Zone { domain, directory: &Cluster }).look_up(name, kind) {
        LookupResult::NoSuchName => "no such name".to_owned(),
        LookupResult::Elsewhere => "elsewhere".to_owned(),
        LookupResult::Entries(entries) => entries
            .iter()
            .map(|entry| match entry {
                RecordData::Address(address) => address.to_string(),
                RecordData::Service { port, target } => format!("{port} {target}"),
                RecordData::Alias(target) => format!("= {target}"),
            })
            .collect::<Vec<_>>()
            .join(", "),
    };
    assert_eq!(found, expected, "for {name}");
}

#[test]
fn a_service_has_its_address_and_a_headless_one_its_endpoints() {
    check(QueryKind::Address, "web.shop.svc.cluster.local", "10.96.7.7");
    check(QueryKind::Address, "db.shop.svc.cluster.local", "10.244.0.2, 10.244.0.3");
    check(QueryKind::Address, "gone.shop.svc.cluster.local", "no such name");
    check(QueryKind::Address, "pay.shop.svc.cluster.local", "= pay.example.com");
}

#[test]
fn other_kinds_of_an_existing_name_are_empty() {
    check(QueryKind::Other, "web.shop.svc.cluster.local", "");
    check(QueryKind::Other, "svc.cluster.local", "");
    check(QueryKind::Address, "shop.svc.cluster.local", "");
    check(QueryKind::Address, "nowhere.svc.cluster.local", "no such name");
}

#[test]
fn endpoints_have_names_below_their_service() {
    check(QueryKind::Address, "db-0.db.shop.svc.cluster.local", "10.244.0.2");
    check(QueryKind::Address, "10-244-0-3.db.shop.svc.cluster.local", "10.244.0.3");
    check(QueryKind::Address, "db-2.db.shop.svc.cluster.local", "no such name");
}

#[test]
fn ports_by_name_lead_to_the_service_or_its_endpoints() {
    let below = "shop.svc.cluster.local";
    check(QueryKind::Service, &format!("_http._tcp.web.{below}"), &format!("80 web.{below}"));
    check(
        QueryKind::Service,
        &format!("_http._tcp.db.{below}"),
        &format!("5432 db-0.db.{below}, 5432 10-244-0-3.db.{below}"),
    );
    check(QueryKind::Service, &format!("_http._udp.web.{below}"), "no such name");
    check(QueryKind::Service, &format!("_ftp._tcp.web.{below}"), "no such name");
}

#[test]
fn pods_have_names_by_their_address() {
    check(QueryKind::Address, "10-244-0-9.shop.pod.cluster.local", "10.244.0.9");
    check(QueryKind::Address, "10-244-0.shop.pod.cluster.local", "no such name");
}

#[test]
fn names_beyond_the_cluster_are_played_or_elsewhere() {
    check(QueryKind::Address, "api.example.com", "203.0.113.1");
    check(QueryKind::Other, "api.example.com", "");
    check(QueryKind::Address, "www.example.com", "elsewhere");
    check(QueryKind::Address, "notcluster.local", "elsewhere");
}

#[test]
fn no_pod_takes_over_a_name_of_the_cluster() {
    check(QueryKind::Address, "web.shop.svc.cluster.local", "10.96.7.7");
    check(QueryKind::Address, "api.example.com", "203.0.113.1");
}

#[test]
fn a_cluster_may_have_another_domain() {
    let domain = "east.example";
    check_in(domain, (QueryKind::Address, "web.shop.svc.east.example"), "10.96.7.7");
    let service = "_http._tcp.web.shop.svc.east.example";
    check_in(domain, (QueryKind::Service, service), "80 web.shop.svc.east.example");
    check_in(domain, (QueryKind::Address, "nothing.shop.svc.east.example"), "no such name");
    check_in(domain, (QueryKind::Address, "db.shop.svc.cluster.local"), "elsewhere");
    check_in(domain, (QueryKind::Address, "west.example"), "elsewhere");
}
