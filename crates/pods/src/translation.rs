//! Services' addresses become their endpoints' addresses, in the router.
//!
//! Pure: from Services and endpoints to rules. Services are kept in buckets by
//! the first three bytes of their address, each a chain of its own, so that a
//! change touches few rules and a packet passes few.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
};

use ipnet::Ipv4Net;
use weft_nft::{Chain, Change, Family, Hook, HookPoint, Rule, Selector, Statement, Table, Verdict};

use crate::{
    network::{API, DNS, PODS, SERVICES},
    services::{Endpoint, Kind, Protocol, Service, usable},
};

/// The router's table.
const TABLE: &str = "weft";
/// Where Services' addresses are translated.
const SERVICE_CHAIN: &str = "services";
/// Where a pod that reaches itself through a Service gets another source.
const HAIRPIN_CHAIN: &str = "hairpin";
/// Redirects connections to addresses outside the mesh to the egress relay.
const OUTSIDE_CHAIN: &str = "outside";
/// Links of pods.
const POD_LINKS: &str = "p*";
/// Addresses of links, which are never outside.
const LINKS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);

/// A Service and its endpoints.
pub(crate) type Pair<'a> = (&'a Service, &'a [Endpoint]);

/// All chains that depend on Services, by name.
pub(crate) type Chains = BTreeMap<String, Vec<Rule>>;

/// The table without any Service; captured connections go to port `egress`.
pub(crate) fn table() -> Table {
    let jump = |chain: &str| Rule::new().jump(chain);
    let to_services = || Rule::new().when(Selector::Destination(SERVICES.into()));
    let prerouting = vec![to_services().jump(SERVICE_CHAIN), jump(OUTSIDE_CHAIN)];
    // What is left of a Service's address has no endpoint.
    let refused = || {
        vec![
            to_services().when(Selector::Tcp).then(Statement::RejectWithReset),
            to_services().when(Selector::Udp).then(Statement::Reject),
        ]
    };
    Table {
        family: Family::Ip,
        name: TABLE.into(),
        chains: vec![
            Chain::plain(SERVICE_CHAIN, Vec::new()),
            Chain::plain(OUTSIDE_CHAIN, Vec::new()),
            Chain::plain(HAIRPIN_CHAIN, Vec::new()),
            Chain::hooked("prerouting", Hook::Nat(HookPoint::Prerouting), prerouting),
            Chain::hooked(
                "output",
                Hook::Nat(HookPoint::Output),
                vec![to_services().jump(SERVICE_CHAIN)],
            ),
            Chain::hooked(
                "postrouting",
                Hook::Nat(HookPoint::Postrouting),
                vec![jump(HAIRPIN_CHAIN)],
            ),
            Chain::hooked("forward", Hook::Filter(HookPoint::Forward), refused()),
            Chain::hooked("local", Hook::Filter(HookPoint::Output), to_reset()),
        ],
    }
}

/// The router's own connections to a Service without endpoints: those of the
/// addresses that the router itself has are left alone.
fn to_reset() -> Vec<Rule> {
    let own =
        |address: Ipv4Addr| Rule::new().when(Selector::Destination(Ipv4Net::from(address).into()));
    let accept = || Statement::Verdict(Verdict::Accept);
    let services = Rule::new().when(Selector::Destination(SERVICES.into()));
    vec![
        own(API).then(accept()),
        own(DNS).then(accept()),
        services.when(Selector::Tcp).then(Statement::RejectWithReset),
    ]
}

/// The chains of these Services. `links` has the router's link of each pod.
pub(crate) fn chains(pairs: &[Pair<'_>], links: &BTreeMap<Ipv4Addr, String>) -> Chains {
    let mut buckets: BTreeMap<u8, Vec<Rule>> = BTreeMap::new();
    let mut own = BTreeSet::new();
    for (service, endpoints) in pairs {
        let Kind::Address(address) = service.kind else { continue };
        // These two are served here, under these very addresses.
        if address == API || address == DNS {
            continue;
        }
        let rules = translations(address, service, endpoints);
        if !rules.is_empty() {
            buckets.entry(address.octets()[2]).or_default().extend(rules);
            own.extend(usable(endpoints).iter().map(|endpoint| endpoint.address));
        }
    }
    let mut chains = Chains::new();
    let mut dispatch = Vec::new();
    for (bucket, rules) in buckets {
        let name = format!("services-{bucket}");
        let [first, second, ..] = SERVICES.network().octets();
        let net = Ipv4Net::new_assert(Ipv4Addr::new(first, second, bucket, 0), 24);
        dispatch.push(Rule::new().when(Selector::Destination(net.into())).jump(&name));
        chains.insert(name, rules);
    }
    chains.insert(SERVICE_CHAIN.into(), dispatch);
    let hairpin = own.into_iter().filter_map(|address| {
        let link = links.get(&address)?.clone();
        let source = Selector::Source(Ipv4Net::from(address).into());
        Some(Rule::new().when(Selector::Outgoing(link)).when(source).then(Statement::Masquerade))
    });
    chains.insert(HAIRPIN_CHAIN.into(), hairpin.collect());
    chains
}

/// The chain that redirects to the egress relay at `port`, except connections to pods.
pub(crate) fn outside(port: Option<u16>, played: &[Ipv4Net]) -> Chains {
    let mut rules = Vec::new();
    for net in [PODS, SERVICES, LINKS].iter().chain(played) {
        rules.push(Rule::new().when(Selector::Destination((*net).into())).leave());
    }
    if let Some(port) = port {
        let from_pods = Rule::new().when(Selector::Incoming(POD_LINKS.into()));
        rules.push(from_pods.when(Selector::Tcp).then(Statement::Redirect(port)));
    }
    Chains::from([(OUTSIDE_CHAIN.into(), rules)])
}

/// The chains that differ, as changes. A chain that nothing jumps to any more
/// is left empty. Chains come before those that jump to them.
pub(crate) fn changes(before: &Chains, after: &Chains) -> Vec<Change> {
    let emptied = before.keys().filter(|name| !after.contains_key(*name));
    let emptied = emptied.map(|name| Chain::plain(name, Vec::new()));
    let changed = after.iter().filter(|(name, rules)| before.get(*name) != Some(rules));
    let changed = changed.map(|(name, rules)| Chain::plain(name, rules.clone()));
    let mut chains: Vec<Chain> = changed.chain(emptied).collect();
    chains.sort_by_key(|chain| chain.name == SERVICE_CHAIN);
    let replace = |chain| Change::ReplaceChains(Family::Ip, TABLE.into(), vec![chain]);
    chains.into_iter().map(replace).collect()
}

/// For each port, its endpoints in turn: the first takes every n-th connection,
/// the next every (n-1)-th of what is left, and the last takes the rest.
fn translations(address: Ipv4Addr, service: &Service, endpoints: &[Endpoint]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for port in &service.ports {
        let targets: Vec<SocketAddr> = usable(endpoints)
            .iter()
            .filter_map(|endpoint| {
                let fits = |one: &&crate::services::Port| {
                    one.name == port.name && one.protocol == port.protocol
                };
                let number = endpoint.ports.iter().find(fits)?.number;
                Some(SocketAddr::from((endpoint.address, number)))
            })
            .collect();
        for (index, target) in targets.iter().enumerate() {
            let wanted = match port.protocol {
                Protocol::Tcp => Selector::TcpPort(port.number.into()),
                Protocol::Udp => Selector::UdpPort(port.number.into()),
            };
            let destination = Selector::Destination(Ipv4Net::from(address).into());
            let mut rule = Rule::new().when(destination).when(wanted);
            let left = u32::try_from(targets.len() - index).unwrap_or(u32::MAX);
            if left > 1 {
                rule = rule.when(Selector::Turn { modulus: left, turn: 0 });
            }
            rules.push(rule.then(Statement::Dnat(*target)));
        }
    }
    rules
}

#[cfg(test)]
mod tests;
