//! From what is to be captured to the rules, in the order of `istio-iptables`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Capture, Exclusion, Families, Ports, Ranges};
use crate::ruleset::{Chain, Family, Hook, HookPoint, Rule, Selector, Statement, Table};

/// The name of the table in the pod's network namespace.
const TABLE: &str = "weft";
const LOOPBACK: &str = "lo";

pub(super) fn tables(capture: &Capture) -> Vec<Table> {
    let families: &[Family] = match capture.families {
        Families::Ip => &[Family::Ip],
        Families::Both => &[Family::Ip, Family::Ip6],
    };
    families
        .iter()
        .map(|&family| Table {
            family,
            name: TABLE.to_owned(),
            chains: vec![
                Chain::hooked("inbound", Hook::Nat(HookPoint::Prerouting), inbound(capture)),
                Chain::hooked("outbound", Hook::Nat(HookPoint::Output), outbound(capture, family)),
            ],
        })
        .collect()
}

fn inbound(capture: &Capture) -> Vec<Rule> {
    let mut rules = Vec::new();
    for name in &capture.excluded_interfaces {
        rules.push(Rule::new().when(Selector::Incoming(name.clone())).leave());
    }
    rules.push(to_port(capture.tunnel_port).leave());
    let redirect = Statement::Redirect(capture.inbound_port);
    match &capture.inbound {
        Ports::All => {
            rules.extend(capture.excluded_inbound.iter().map(|&port| to_port(port).leave()));
            rules.push(Rule::new().when(Selector::Tcp).then(redirect));
        }
        Ports::Only(ports) => {
            rules.extend(ports.iter().map(|&port| to_port(port).then(redirect.clone())));
        }
    }
    rules
}

fn outbound(capture: &Capture, family: Family) -> Vec<Rule> {
    let mut rules = Vec::new();
    for name in &capture.excluded_interfaces {
        rules.push(Rule::new().when(Selector::Outgoing(name.clone())).leave());
    }
    for &port in &capture.excluded_outbound_ports {
        rules.push(to_port(port).leave());
        rules.push(Rule::new().when(Selector::UdpPort(port.into())).leave());
    }
    // The proxy's inbound connections to the application come from here.
    rules.push(on_loopback().when(Selector::Source(passthrough_source(family))).leave());
    rules.extend(proxy_traffic(capture, family));
    if let Some(port) = capture.dns_port {
        rules.push(to_port(53).then(Statement::Redirect(port)));
        rules.push(Rule::new().when(Selector::UdpPort(53.into())).then(Statement::Redirect(port)));
    }
    rules.push(Rule::new().when(Selector::Destination(localhost(family))).leave());
    for net in of_family(&capture.excluded_outbound, family) {
        rules.push(Rule::new().when(Selector::Destination(net)).leave());
    }
    let redirect = Statement::Redirect(capture.outbound_port);
    for &port in &capture.included_outbound_ports {
        rules.push(to_port(port).then(redirect.clone()));
    }
    match &capture.outbound {
        Ranges::All => rules.push(Rule::new().when(Selector::Tcp).then(redirect)),
        Ranges::Only(ranges) => {
            for net in of_family(ranges, family) {
                let rule = Rule::new().when(Selector::Destination(net)).when(Selector::Tcp);
                rules.push(rule.then(redirect.clone()));
            }
        }
    }
    rules
}

/// For each way to know the proxy: its connections to this pod's own address
/// pass its inbound side, an application's do not, and its others leave.
fn proxy_traffic(capture: &Capture, family: Family) -> Vec<Rule> {
    let selectors: Vec<Selector> = match &capture.proxy {
        Exclusion::Owner { users, groups } => users
            .iter()
            .map(|&user| Selector::SocketUser(user))
            .chain(groups.iter().map(|&group| Selector::SocketGroup(group)))
            .collect(),
        Exclusion::Mark(mark) => vec![Selector::Mark(*mark)],
    };
    let mut rules = Vec::new();
    for proxy in selectors {
        rules.push(
            on_loopback()
                .unless(Selector::Destination(localhost(family)))
                .unless(Selector::TcpPort(capture.tunnel_port.into()))
                .when(proxy.clone())
                .then(Statement::Redirect(capture.inbound_port)),
        );
        rules.push(on_loopback().unless(proxy.clone()).leave());
        rules.push(Rule::new().when(proxy).leave());
    }
    rules
}

fn to_port(port: u16) -> Rule {
    Rule::new().when(Selector::TcpPort(port.into()))
}

fn on_loopback() -> Rule {
    Rule::new().when(Selector::Outgoing(LOOPBACK.to_owned()))
}

fn localhost(family: Family) -> IpNet {
    match family {
        Family::Ip => IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        Family::Ip6 => IpAddr::V6(Ipv6Addr::LOCALHOST).into(),
    }
}

fn passthrough_source(family: Family) -> IpNet {
    match family {
        Family::Ip => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)).into(),
        Family::Ip6 => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)).into(),
    }
}

fn of_family(nets: &[IpNet], family: Family) -> impl Iterator<Item = IpNet> {
    nets.iter().copied().filter(move |net| match family {
        Family::Ip => matches!(net, IpNet::V4(_)),
        Family::Ip6 => matches!(net, IpNet::V6(_)),
    })
}
