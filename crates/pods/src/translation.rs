//! Services' addresses become their endpoints' addresses, in the router.
//!
//! Pure: from Services and endpoints to rules. Each Service has a chain of its own, and
//! they are kept in buckets by the first three bytes of their address, so that a change
//! touches few rules, a packet passes few, and rules that the kernel refuses are those of
//! one Service. No chain is longer than what the kernel takes at once: a long one becomes
//! several, to which it jumps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use ipnet::Ipv4Net;
use weft_nft::{Chain, Change, Family, Hook, HookPoint, Rule, Selector, Statement, Table, Verdict};

use crate::{
    network::{API, DNS, PODS, SERVICES},
    services::{Endpoint, Port, Protocol, Service, ServiceKind, usable},
};

/// The router's table.
const TABLE: &str = "weft";
/// Where Services' addresses are translated.
const SERVICE_CHAIN: &str = "services";
/// Where a pod that reaches itself through a Service gets another source.
const HAIRPIN_CHAIN: &str = "hairpin";
/// Redirects connections to addresses outside the mesh to the egress relay.
const OUTSIDE_CHAIN: &str = "outside";
/// Where connections to very many addresses that pods play are left alone.
const PLAYED_CHAIN: &str = "outside-played";
/// Links of pods.
const POD_LINKS: &str = "p*";
/// Addresses of links, which are never outside.
const LINKS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);

/// Rules of one chain at most. A batch of them, which is applied whole or not at all, fits
/// into the send buffer that the kernel grants without being asked for more.
const LONGEST: usize = 300;
/// Rules of one Service at most, unless it has more ports: a port leads to no more endpoints
/// than fit.
const MOST: usize = 4096;

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
    let mut services: BTreeMap<Ipv4Addr, Vec<Vec<Rule>>> = BTreeMap::new();
    let mut own = BTreeSet::new();
    for (service, endpoints) in pairs {
        let ServiceKind::Address(address) = service.kind else { continue };
        // These two are served here, under these very addresses.
        if address == API || address == DNS || !SERVICES.contains(&address) {
            continue;
        }
        let usable = usable(endpoints);
        let rules = translations(address, service, &usable);
        if !rules.is_empty() {
            services.entry(address).or_default().extend(rules);
            own.extend(usable.iter().map(|endpoint| endpoint.address));
        }
    }
    let mut chains = Chains::new();
    let mut buckets: BTreeMap<u8, Vec<Rule>> = BTreeMap::new();
    for (address, ports) in services {
        let [.., bucket, last] = address.octets();
        let name = format!("{SERVICE_CHAIN}-{bucket}-{last}");
        let to = Selector::Destination(Ipv4Net::from(address).into());
        buckets.entry(bucket).or_default().push(Rule::new().when(to).jump(&name));
        insert(&mut chains, name, ports);
    }
    let mut dispatch = Vec::new();
    for (bucket, rules) in buckets {
        let name = format!("{SERVICE_CHAIN}-{bucket}");
        let [first, second, ..] = SERVICES.network().octets();
        let net = Ipv4Net::new_assert(Ipv4Addr::new(first, second, bucket, 0), 24);
        dispatch.push(Rule::new().when(Selector::Destination(net.into())).jump(&name));
        chains.insert(name, rules);
    }
    chains.insert(SERVICE_CHAIN.into(), dispatch);
    let hairpin = own.into_iter().filter_map(|address| {
        let link = links.get(&address)?.clone();
        let source = Selector::Source(Ipv4Net::from(address).into());
        let rule = Rule::new().when(Selector::Outgoing(link)).when(source);
        Some(vec![rule.then(Statement::Masquerade)])
    });
    insert(&mut chains, HAIRPIN_CHAIN.into(), hairpin.collect());
    chains
}

/// Inserts a chain, or several to which it jumps; rules of one group stay in one chain.
fn insert(chains: &mut Chains, name: String, groups: Vec<Vec<Rule>>) {
    let mut parts = vec![Vec::new()];
    for group in groups {
        let has_room = |part: &Vec<Rule>| part.len() + group.len() <= LONGEST || part.is_empty();
        match parts.last_mut().filter(|part| has_room(part)) {
            Some(part) => part.extend(group),
            None => parts.push(group),
        }
    }
    if parts.len() > 1 {
        let mut jumps = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            let part_name = format!("{name}-{index}");
            jumps.push(Rule::new().jump(&part_name));
            chains.insert(part_name, part);
        }
        parts = vec![jumps];
    }
    chains.insert(name, parts.pop().unwrap_or_default());
}

/// The chain that redirects to the egress relay at `port`, except connections to pods.
pub(crate) fn outside(port: Option<u16>, played: &[Ipv4Net]) -> Chains {
    let to = |net: &Ipv4Net| Rule::new().when(Selector::Destination((*net).into()));
    let mut chains = Chains::new();
    let mut rules: Vec<Rule> = [PODS, SERVICES, LINKS].iter().map(|net| to(net).leave()).collect();
    match played.len() <= LONGEST {
        true => rules.extend(played.iter().map(|net| to(net).leave())),
        false => {
            // Nothing comes after this chain, so accepting there is leaving it.
            let leave = |net| vec![to(net).then(Statement::Verdict(Verdict::Accept))];
            insert(&mut chains, PLAYED_CHAIN.into(), played.iter().map(leave).collect());
            rules.push(Rule::new().jump(PLAYED_CHAIN));
        }
    }
    if let Some(port) = port {
        let from_pods = Rule::new().when(Selector::Incoming(POD_LINKS.into()));
        rules.push(from_pods.when(Selector::Tcp).then(Statement::Redirect(port)));
    }
    chains.insert(OUTSIDE_CHAIN.into(), rules);
    chains
}

/// The changes of the chains that differ, by chain: those that are jumped to come before
/// those that jump to them, and chains that nothing jumps to any more go last.
pub(crate) fn changes(before: &Chains, after: &Chains) -> Vec<(String, Change)> {
    // A chain jumps to those whose names go on where its own ends.
    let depth = |name: &str| name.matches('-').count();
    let mut changed: Vec<_> =
        after.iter().filter(|(name, rules)| before.get(*name) != Some(rules)).collect();
    changed.sort_by_key(|(name, _)| std::cmp::Reverse(depth(name)));
    let changed =
        changed.into_iter().map(|(name, rules)| (name.clone(), replace(name, rules.clone())));
    let mut gone: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    gone.sort_by_key(|name| depth(name));
    let gone = gone
        .into_iter()
        .map(|name| (name.clone(), Change::RemoveChain(Family::Ip, TABLE.into(), name.clone())));
    changed.chain(gone).collect()
}

/// The change that leaves a chain without rules.
pub(crate) fn empty(name: &str) -> Change {
    replace(name, Vec::new())
}

fn replace(name: &str, rules: Vec<Rule>) -> Change {
    Change::ReplaceChains(Family::Ip, TABLE.into(), vec![Chain::plain(name, rules)])
}

/// The endpoints of one slice that are to be used.
struct Slice<'a> {
    ports: HashMap<(&'a str, Protocol), u16>,
    addresses: Vec<Ipv4Addr>,
}

/// For each port, its endpoints in turn: the first takes every n-th connection,
/// the next every (n-1)-th of what is left, and the last takes the rest.
fn translations(address: Ipv4Addr, service: &Service, endpoints: &[&Endpoint]) -> Vec<Vec<Rule>> {
    let slices: Vec<Slice<'_>> = endpoints
        .chunk_by(|one, other| Arc::ptr_eq(&one.ports, &other.ports))
        .map(|endpoints| Slice {
            // The first of a name counts.
            ports: endpoints
                .iter()
                .take(1)
                .flat_map(|one| one.ports.iter().rev())
                .map(port)
                .collect(),
            addresses: endpoints.iter().map(|endpoint| endpoint.address).collect(),
        })
        .collect();
    let most = (MOST / service.ports.len().max(1)).clamp(1, LONGEST);
    let mut all = Vec::new();
    for port in &service.ports {
        let named = (port.name.as_str(), port.protocol);
        let targets: Vec<SocketAddr> = slices
            .iter()
            .filter_map(|slice| Some((slice, *slice.ports.get(&named)?)))
            .flat_map(|(slice, number)| {
                slice.addresses.iter().map(move |address| SocketAddr::from((*address, number)))
            })
            .take(most)
            .collect();
        let rules = targets.iter().enumerate().map(|(index, target)| {
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
            rule.then(Statement::Dnat(*target))
        });
        all.extend((!targets.is_empty()).then(|| rules.collect()));
    }
    all
}

fn port(port: &Port) -> ((&str, Protocol), u16) {
    ((port.name.as_str(), port.protocol), port.number)
}

#[cfg(test)]
mod tests;
