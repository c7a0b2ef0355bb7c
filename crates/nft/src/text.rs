//! Rules the way `nft -f` reads them.
//!
//! The text replaces the table as a whole, as the netlink batch does: an empty
//! declaration makes the deletion safe when there was no such table.

use std::fmt::{self, Write};

use crate::ruleset::{
    Chain, Family, Hook, HookPoint, Operator, Ports, Rule, Selector, Statement, Table, Verdict,
};

/// Spells `tables` for the `nft` program.
pub fn to_text(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        write_table(&mut text, table).expect("writing to a string cannot fail");
    }
    text
}

fn write_table(out: &mut String, table: &Table) -> fmt::Result {
    let family = match table.family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
    };
    writeln!(out, "table {family} {} {{}}", table.name)?;
    writeln!(out, "delete table {family} {}", table.name)?;
    writeln!(out, "table {family} {} {{", table.name)?;
    for chain in &table.chains {
        write_chain(out, chain)?;
    }
    writeln!(out, "}}")
}

fn write_chain(out: &mut String, chain: &Chain) -> fmt::Result {
    writeln!(out, "\tchain {} {{", chain.name)?;
    if let Some(hook) = chain.hook {
        let kind = match hook {
            Hook::Nat(_) => "nat",
            Hook::Filter(_) => "filter",
        };
        let point = match hook.point() {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        };
        writeln!(out, "\t\ttype {kind} hook {point} priority {};", hook.priority())?;
    }
    for rule in &chain.rules {
        writeln!(out, "\t\t{}", Spelled(rule))?;
    }
    writeln!(out, "\t}}")
}

struct Spelled<'r>(&'r Rule);

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, statement) in self.0.0.iter().enumerate() {
            if index > 0 {
                out.write_char(' ')?;
            }
            write_statement(out, statement)?;
        }
        Ok(())
    }
}

fn write_statement(out: &mut fmt::Formatter<'_>, statement: &Statement) -> fmt::Result {
    match statement {
        Statement::Match(selector, operator) => write_match(out, selector, *operator),
        Statement::Verdict(Verdict::Accept) => write!(out, "accept"),
        Statement::Verdict(Verdict::Drop) => write!(out, "drop"),
        Statement::Verdict(Verdict::Return) => write!(out, "return"),
        Statement::Verdict(Verdict::Jump(chain)) => write!(out, "jump {chain}"),
        Statement::Redirect(port) => write!(out, "redirect to :{port}"),
        Statement::Dnat(address) => write!(out, "dnat to {address}"),
        Statement::Masquerade => write!(out, "masquerade"),
        Statement::SetMark(mark) => write!(out, "meta mark set {mark:#x}"),
        Statement::RejectWithReset => write!(out, "reject with tcp reset"),
        Statement::Reject => write!(out, "reject"),
    }
}

fn write_match(
    out: &mut fmt::Formatter<'_>,
    selector: &Selector,
    operator: Operator,
) -> fmt::Result {
    let not = match operator {
        Operator::Is => "",
        Operator::IsNot => "!= ",
    };
    match selector {
        Selector::SocketUser(user) => write!(out, "meta skuid {not}{user}"),
        Selector::SocketGroup(group) => write!(out, "meta skgid {not}{group}"),
        Selector::Mark(mark) => write!(out, "meta mark {not}{mark:#x}"),
        Selector::Tcp => write!(out, "meta l4proto {not}tcp"),
        Selector::Udp => write!(out, "meta l4proto {not}udp"),
        Selector::Incoming(name) => write!(out, "iifname {not}\"{name}\""),
        Selector::Outgoing(name) => write!(out, "oifname {not}\"{name}\""),
        Selector::Source(net) => write!(out, "{} saddr {not}{}", family_of(net), Short(net)),
        Selector::Destination(net) => write!(out, "{} daddr {not}{}", family_of(net), Short(net)),
        Selector::TcpPort(ports) => write!(out, "tcp dport {not}{}", PortText(*ports)),
        Selector::UdpPort(ports) => write!(out, "udp dport {not}{}", PortText(*ports)),
        Selector::Turn { modulus, turn } => write!(out, "numgen inc mod {modulus} {not}{turn}"),
    }
}

fn family_of(net: &ipnet::IpNet) -> &'static str {
    match net {
        ipnet::IpNet::V4(_) => "ip",
        ipnet::IpNet::V6(_) => "ip6",
    }
}

/// A network, without its length when it is a single address.
struct Short<'n>(&'n ipnet::IpNet);

impl fmt::Display for Short<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(out, "{}", self.0.addr()),
            false => write!(out, "{}", self.0.trunc()),
        }
    }
}

struct PortText(Ports);

impl fmt::Display for PortText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first == self.0.last {
            true => write!(out, "{}", self.0.first),
            false => write!(out, "{}-{}", self.0.first, self.0.last),
        }
    }
}
