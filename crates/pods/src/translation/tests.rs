//! Services as words, rules as the text of `nft`.

use super::*;
use crate::services::{Fitness, Port};

/// Each word is `address:port>endpoint,endpoint`, by their last bytes.
fn pairs(text: &str) -> Vec<(Service, Vec<Endpoint>)> {
    let number = |text: &str| text.parse::<u8>().unwrap();
    let port = |number| Port { name: "http".into(), protocol: Protocol::Tcp, number };
    text.split_whitespace()
        .map(|word| {
            let (front, back) = word.split_once('>').unwrap();
            let (address, outer) = front.split_once(':').unwrap();
            let (bucket, last) = address.split_once('.').unwrap();
            let endpoints = back.split(',').filter(|last| !last.is_empty()).map(|last| Endpoint {
                address: Ipv4Addr::new(10, 244, 0, number(last)),
                hostname: None,
                fitness: Fitness::Ready,
                ports: vec![port(8080)],
            });
            let service = Service {
                namespace: "shop".into(),
                name: "web".into(),
                kind: Kind::Address(Ipv4Addr::new(10, 96, number(bucket), number(last))),
                ports: vec![port(outer.parse().unwrap())],
            };
            (service, endpoints.collect())
        })
        .collect()
}

fn of(text: &str) -> Chains {
    let pairs = pairs(text);
    let borrowed: Vec<Pair<'_>> =
        pairs.iter().map(|(service, endpoints)| (service, endpoints.as_slice())).collect();
    let links = (2..=9).map(|last| (Ipv4Addr::new(10, 244, 0, last), format!("p{last}")));
    chains(&borrowed, &links.collect())
}

#[track_caller]
fn check(chains: &Chains, chain: &str, expected: &str) {
    let table = Table {
        family: Family::Ip,
        name: "t".into(),
        chains: vec![Chain::plain("c", chains[chain].clone())],
    };
    let text = weft_nft::to_text(&[table]);
    let found: Vec<&str> = text.lines().skip(4).map(str::trim).filter(|l| *l != "}").collect();
    let wanted: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(found, wanted);
}

#[test]
fn endpoints_of_a_service_take_turns() {
    let chains = of("7.1:80>2,3,4");
    check(&chains, "services", "ip daddr 10.96.7.0/24 jump services-7");
    check(
        &chains,
        "services-7",
        "ip daddr 10.96.7.1 tcp dport 80 numgen inc mod 3 0 dnat to 10.244.0.2:8080
         ip daddr 10.96.7.1 tcp dport 80 numgen inc mod 2 0 dnat to 10.244.0.3:8080
         ip daddr 10.96.7.1 tcp dport 80 dnat to 10.244.0.4:8080",
    );
    check(
        &chains,
        "hairpin",
        r#"oifname "p2" ip saddr 10.244.0.2 masquerade
           oifname "p3" ip saddr 10.244.0.3 masquerade
           oifname "p4" ip saddr 10.244.0.4 masquerade"#,
    );
}

#[test]
fn a_service_without_endpoints_has_no_rules() {
    let chains = of("7.1:80>");
    assert_eq!(chains.keys().collect::<Vec<_>>(), ["hairpin", "services"]);
    assert!(chains.values().all(Vec::is_empty));
}

#[test]
fn a_change_touches_its_own_bucket_only() {
    let names = |before: &str, after: &str| -> Vec<String> {
        changes(&of(before), &of(after))
            .into_iter()
            .map(|change| match change {
                Change::ReplaceChains(_, _, chains) => chains[0].name.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(names("7.1:80>2 8.1:80>3", "7.1:80>2 8.1:80>3"), Vec::<String>::new());
    assert_eq!(names("7.1:80>2 8.1:80>2,3", "7.1:80>2,3 8.1:80>2,3"), ["services-7"]);
    assert_eq!(names("7.1:80>2", "7.1:80>2 8.1:80>2"), ["services-8", "services"]);
    assert_eq!(names("7.1:80>2 8.1:80>2", "7.1:80>2"), ["services-8", "services"]);
}

#[test]
fn only_what_nobody_plays_goes_to_the_uplink() {
    let chains = outside(Some(15999), &["203.0.113.0/24".parse().unwrap()]);
    check(
        &chains,
        "outside",
        r#"ip daddr 10.244.0.0/16 return
           ip daddr 10.96.0.0/16 return
           ip daddr 169.254.0.0/16 return
           ip daddr 203.0.113.0/24 return
           iifname "p*" meta l4proto tcp redirect to :15999"#,
    );
    assert_eq!(outside(None, &[])["outside"].len(), 3);
}
