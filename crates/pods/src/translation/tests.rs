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
                ports: vec![port(8080)].into(),
            });
            let service = Service {
                namespace: "shop".into(),
                name: "web".into(),
                kind: ServiceKind::Address(Ipv4Addr::new(10, 96, number(bucket), number(last))),
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
    check(&chains, "services-7", "ip daddr 10.96.7.1 jump services-7-1");
    check(
        &chains,
        "services-7-1",
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
fn a_change_touches_its_own_service_only() {
    let names = |before: &str, after: &str| -> Vec<String> {
        changes(&of(before), &of(after))
            .into_iter()
            .map(|(name, change)| match change {
                Change::ReplaceChains(..) => name,
                Change::RemoveChain(..) => format!("-{name}"),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(names("7.1:80>2 8.1:80>3", "7.1:80>2 8.1:80>3"), Vec::<String>::new());
    assert_eq!(names("7.1:80>2 7.2:80>2,3", "7.1:80>2,3 7.2:80>2,3"), ["services-7-1"]);
    let added = ["services-8-1", "services-8", "services"];
    assert_eq!(names("7.1:80>2", "7.1:80>2 8.1:80>2"), added);
    let removed = ["services", "-services-8", "-services-8-1"];
    assert_eq!(names("7.1:80>2 8.1:80>2", "7.1:80>2"), removed);
}

/// A Service with so many ports and endpoints, all in one slice.
fn large(ports: u16, endpoints: u16) -> (Service, Vec<Endpoint>) {
    let port = |number| Port { name: format!("p{number}"), protocol: Protocol::Tcp, number };
    let ports: Vec<Port> = (1..=ports).map(port).collect();
    let shared: Arc<[Port]> = ports.clone().into();
    let kind = ServiceKind::Address(Ipv4Addr::new(10, 96, 7, 1));
    let service = Service { namespace: "evil".into(), name: "n".into(), kind, ports };
    let endpoint = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let (address, ports) = (Ipv4Addr::new(10, 245, high, low), Arc::clone(&shared));
        Endpoint { address, hostname: None, fitness: Fitness::Ready, ports }
    };
    (service, (0..endpoints).map(endpoint).collect())
}

#[test]
fn a_large_service_becomes_chains_that_the_kernel_takes() {
    for (ports, endpoints) in [(40, 100), (1, 20_000), (3_000, 3_000), (100, 1_000)] {
        let (service, endpoints) = large(ports, endpoints);
        let chains = chains(&[(&service, &endpoints)], &BTreeMap::new());
        let rules: usize = chains.values().map(Vec::len).sum();
        assert!(rules < 5_000, "{rules} rules");
        for (name, change) in changes(&Chains::new(), &chains) {
            let bytes = weft_nft::to_batch(&[change]).len();
            assert!(bytes < 200_000, "{name} has {bytes}");
        }
        // Each chain ends with a rule that takes what is left.
        assert!(chains.values().all(|rules| !has_turn(rules.last())));
    }
}

fn has_turn(rule: Option<&Rule>) -> bool {
    let is_turn = |one: &Statement| matches!(one, Statement::Match(Selector::Turn { .. }, _));
    rule.is_some_and(|rule| rule.0.iter().any(is_turn))
}

#[test]
fn many_played_addresses_become_chains_that_the_kernel_takes() {
    let net = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Ipv4Net::from(Ipv4Addr::new(203, 0, high, low))
    };
    let played: Vec<Ipv4Net> = (0..1_000).map(net).collect();
    let chains = outside(Some(15999), &played);
    assert_eq!(chains.len(), 6);
    assert!(chains.values().all(|rules| rules.len() <= LONGEST));
    check(
        &chains,
        "outside",
        r#"ip daddr 10.244.0.0/16 return
           ip daddr 10.96.0.0/16 return
           ip daddr 169.254.0.0/16 return
           jump outside-played
           iifname "p*" meta l4proto tcp redirect to :15999"#,
    );
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
