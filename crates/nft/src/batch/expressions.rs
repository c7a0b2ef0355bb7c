//! One statement as the kernel's expressions, which move values between
//! registers and compare them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::attributes::Attributes;
use crate::ruleset::{Operator, Ports, Selector, Statement, Verdict};

/// The register of verdicts, and the two that values pass through.
const VERDICT: u32 = 0;
const VALUE: u32 = 1;
const SECOND: u32 = 2;

const META_MARK: u32 = 3;
const META_INCOMING: u32 = 6;
const META_OUTGOING: u32 = 7;
const META_SOCKET_USER: u32 = 10;
const META_SOCKET_GROUP: u32 = 11;
const META_PROTOCOL: u32 = 16;

const TCP: u8 = 6;
const UDP: u8 = 17;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Interface names are compared in the kernel's fixed-size buffers.
const INTERFACE_NAME: usize = 16;

/// Appends the expressions of `statement`.
pub(super) fn write(list: &mut Attributes, statement: &Statement) {
    match statement {
        Statement::Match(selector, operator) => write_match(list, selector, *operator),
        Statement::Verdict(verdict) => write_verdict(list, verdict),
        Statement::Redirect(port) => {
            load(list, VALUE, &port.to_be_bytes());
            expression(list, "redir", |data| {
                data.number(1, VALUE).number(2, VALUE);
            });
        }
        Statement::Dnat(address) => write_dnat(list, *address),
        Statement::Masquerade => expression(list, "masq", |_| {}),
        Statement::SetMark(mark) => {
            load(list, VALUE, &mark.to_ne_bytes());
            expression(list, "meta", |data| {
                data.number(2, META_MARK).number(3, VALUE);
            });
        }
        Statement::RejectWithReset => expression(list, "reject", |data| {
            data.number(1, 1).raw(2, &[0]);
        }),
        // Type 0 is ICMP, code 3 is "port unreachable".
        Statement::Reject => expression(list, "reject", |data| {
            data.number(1, 0).raw(2, &[3]);
        }),
    }
}

fn write_match(list: &mut Attributes, selector: &Selector, operator: Operator) {
    match selector {
        Selector::SocketUser(user) => {
            meta(list, META_SOCKET_USER);
            compare(list, operator, &user.to_ne_bytes());
        }
        Selector::SocketGroup(group) => {
            meta(list, META_SOCKET_GROUP);
            compare(list, operator, &group.to_ne_bytes());
        }
        Selector::Mark(mark) => {
            meta(list, META_MARK);
            compare(list, operator, &mark.to_ne_bytes());
        }
        Selector::Tcp => protocol(list, operator, TCP),
        Selector::Udp => protocol(list, operator, UDP),
        Selector::Incoming(name) => {
            meta(list, META_INCOMING);
            compare(list, operator, &interface(name));
        }
        Selector::Outgoing(name) => {
            meta(list, META_OUTGOING);
            compare(list, operator, &interface(name));
        }
        Selector::Source(net) => network(list, operator, (12, 8), net),
        Selector::Destination(net) => network(list, operator, (16, 24), net),
        Selector::TcpPort(ports) => {
            protocol(list, Operator::Is, TCP);
            port(list, operator, *ports);
        }
        Selector::UdpPort(ports) => {
            protocol(list, Operator::Is, UDP);
            port(list, operator, *ports);
        }
        Selector::Turn { modulus, turn } => {
            expression(list, "numgen", |data| {
                data.number(1, VALUE).number(2, *modulus).number(3, 0).number(4, 0);
            });
            compare(list, operator, &turn.to_ne_bytes());
        }
    }
}

fn write_verdict(list: &mut Attributes, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Return => (-5, None),
    };
    expression(list, "immediate", |data| {
        data.number(1, VERDICT).nest(2, |value| {
            value.nest(2, |verdict| {
                verdict.number(1, i32::cast_unsigned(code));
                if let Some(chain) = chain {
                    verdict.text(2, chain);
                }
            });
        });
    });
}

fn write_dnat(list: &mut Attributes, address: SocketAddr) {
    let family = match address.ip() {
        IpAddr::V4(ip) => {
            load(list, VALUE, &ip.octets());
            2
        }
        IpAddr::V6(ip) => {
            load(list, VALUE, &ip.octets());
            10
        }
    };
    load(list, SECOND, &address.port().to_be_bytes());
    expression(list, "nat", |data| {
        data.number(1, 1).number(2, family);
        data.number(3, VALUE).number(4, VALUE);
        data.number(5, SECOND).number(6, SECOND);
    });
}

fn expression(list: &mut Attributes, name: &str, fill: impl FnOnce(&mut Attributes)) {
    list.nest(1, |element| {
        element.text(1, name).nest(2, fill);
    });
}

fn meta(list: &mut Attributes, key: u32) {
    expression(list, "meta", |data| {
        data.number(1, VALUE).number(2, key);
    });
}

fn load(list: &mut Attributes, register: u32, value: &[u8]) {
    expression(list, "immediate", |data| {
        data.number(1, register).nest(2, |nested| {
            nested.raw(1, value);
        });
    });
}

fn payload(list: &mut Attributes, base: u32, offset: u32, length: usize) {
    expression(list, "payload", |data| {
        data.number(1, VALUE).number(2, base).number(3, offset);
        data.number(4, u32::try_from(length).expect("header fields are short"));
    });
}

fn compare(list: &mut Attributes, operator: Operator, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.number(1, VALUE).number(2, operator.number()).nest(3, |nested| {
            nested.raw(1, value);
        });
    });
}

fn protocol(list: &mut Attributes, operator: Operator, number: u8) {
    meta(list, META_PROTOCOL);
    compare(list, operator, &[number]);
}

/// `offsets` are those of the field in the IPv4 and the IPv6 header.
fn network(list: &mut Attributes, operator: Operator, offsets: (u32, u32), net: &IpNet) {
    let (offset, mask, wanted) = match net {
        IpNet::V4(net) => {
            (offsets.0, net.netmask().octets().to_vec(), net.network().octets().to_vec())
        }
        IpNet::V6(net) => {
            (offsets.1, net.netmask().octets().to_vec(), net.network().octets().to_vec())
        }
    };
    payload(list, NETWORK_HEADER, offset, wanted.len());
    if net.prefix_len() != net.max_prefix_len() {
        expression(list, "bitwise", |data| {
            data.number(1, VALUE).number(2, VALUE);
            data.number(3, u32::try_from(mask.len()).expect("addresses are short"));
            data.nest(4, |nested| {
                nested.raw(1, &mask);
            });
            data.nest(5, |nested| {
                nested.raw(1, &vec![0; mask.len()]);
            });
        });
    }
    compare(list, operator, &wanted);
}

fn port(list: &mut Attributes, operator: Operator, ports: Ports) {
    payload(list, TRANSPORT_HEADER, 2, 2);
    if ports.first == ports.last {
        return compare(list, operator, &ports.first.to_be_bytes());
    }
    expression(list, "range", |data| {
        data.number(1, VALUE).number(2, operator.number());
        data.nest(3, |nested| {
            nested.raw(1, &ports.first.to_be_bytes());
        });
        data.nest(4, |nested| {
            nested.raw(1, &ports.last.to_be_bytes());
        });
    });
}

/// A whole name is padded to the buffer's size; a prefix is compared as long as
/// it is.
fn interface(name: &str) -> Vec<u8> {
    match name.strip_suffix('*') {
        Some(prefix) => prefix.as_bytes().to_vec(),
        None => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(INTERFACE_NAME, 0);
            bytes
        }
    }
}

impl Operator {
    /// Equal and not equal have the same numbers in `cmp` and in `range`.
    fn number(self) -> u32 {
        match self {
            Self::Is => 0,
            Self::IsNot => 1,
        }
    }
}
