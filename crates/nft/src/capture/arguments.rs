//! The flags of `istio-iptables`, long and short.

use ipnet::IpNet;

use super::{Capture, CaptureError, Exclusion, Families, Ports, Ranges};

/// The port of the sidecar's DNS proxy.
const DNS_PORT: u16 = 15053;

/// Flags that change nothing here: logging, the probe of the original program,
/// and hints for kernels and backends that are not used.
const IGNORED: &[&str] = &[
    "--log_output_level",
    "-P",
    "--probe-timeout",
    "--iptables-probe-port",
    "--iptables-version",
    "--proxy-uid-gid-only",
    "--network-namespace",
    "-k",
    "--kube-virt-interfaces",
];

/// Flags without a value that change nothing here.
const IGNORED_SWITCHES: &[&str] =
    &["--drop-invalid", "--force-apply", "-f", "--native-nftables", "--capture-all-dns"];

pub(super) fn parse(arguments: &[String]) -> Result<Capture, CaptureError> {
    let mut capture = Capture::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (flag, joined) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (argument.as_str(), None),
        };
        if let Some(apply) = switch(flag) {
            if joined != Some("false") {
                apply(&mut capture);
            }
            continue;
        }
        let known = setter(flag);
        if known.is_none() && !IGNORED.contains(&flag) {
            return Err(CaptureError::UnknownFlag(flag.to_owned()));
        }
        let value = match joined {
            Some(value) => value,
            None => rest
                .next()
                .map(String::as_str)
                .ok_or_else(|| CaptureError::MissingValue(flag.to_owned()))?,
        };
        if let Some(set) = known {
            set(&mut capture, Given { flag, value: value.trim() })?;
        }
    }
    Ok(capture)
}

/// A flag and its value, kept together for messages.
#[derive(Clone, Copy)]
struct Given<'a> {
    flag: &'a str,
    value: &'a str,
}

type Setter = fn(&mut Capture, Given<'_>) -> Result<(), CaptureError>;

fn switch(flag: &str) -> Option<fn(&mut Capture)> {
    match flag {
        "--redirect-dns" => Some(|capture| capture.dns_port = Some(DNS_PORT)),
        "--dual-stack" => Some(|capture| capture.families = Families::Both),
        flag if IGNORED_SWITCHES.contains(&flag) => Some(|_| {}),
        _ => None,
    }
}

fn setter(flag: &str) -> Option<Setter> {
    Some(match flag {
        "-p" | "--envoy-port" => |c, given| given.port().map(|port| c.outbound_port = port),
        "-z" | "--inbound-capture-port" => {
            |c, given| given.port().map(|port| c.inbound_port = port)
        }
        "-e" | "--inbound-tunnel-port" => |c, given| given.port().map(|port| c.tunnel_port = port),
        "-u" | "--proxy-uid" => |c, given| {
            let ids = given.ids()?;
            if let Exclusion::Owner { users, .. } = &mut c.proxy {
                *users = ids;
            }
            Ok(())
        },
        "-g" | "--proxy-gid" => |c, given| {
            let ids = given.ids()?;
            if let Exclusion::Owner { groups, .. } = &mut c.proxy {
                *groups = ids;
            }
            Ok(())
        },
        "-m" | "--istio-inbound-interception-mode" => |_, given| match given.value {
            "REDIRECT" => Ok(()),
            _ => Err(given.wanted("REDIRECT, the only interception mode that is served")),
        },
        "-b" | "--istio-inbound-ports" => |c, given| {
            c.inbound = match given.value {
                "*" => Ports::All,
                _ => Ports::Only(given.ports()?),
            };
            Ok(())
        },
        "-d" | "--istio-local-exclude-ports" => {
            |c, given| given.ports().map(|ports| c.excluded_inbound = ports)
        }
        "-i" | "--istio-service-cidr" => |c, given| {
            c.outbound = match given.value {
                "*" => Ranges::All,
                _ => Ranges::Only(given.ranges()?),
            };
            Ok(())
        },
        "-x" | "--istio-service-exclude-cidr" => {
            |c, given| given.ranges().map(|ranges| c.excluded_outbound = ranges)
        }
        "-q" | "--istio-outbound-ports" => {
            |c, given| given.ports().map(|ports| c.included_outbound_ports = ports)
        }
        "-o" | "--istio-local-outbound-ports-exclude" => {
            |c, given| given.ports().map(|ports| c.excluded_outbound_ports = ports)
        }
        "-c" | "--istio-exclude-interfaces" => |c, given| {
            c.excluded_interfaces = given.items().map(str::to_owned).collect();
            Ok(())
        },
        _ => return None,
    })
}

impl Given<'_> {
    fn items(&self) -> impl Iterator<Item = &str> {
        self.value.split(',').map(str::trim).filter(|item| !item.is_empty())
    }

    fn port(&self) -> Result<u16, CaptureError> {
        self.value.parse().map_err(|_| self.wanted("a port number"))
    }

    fn ports(&self) -> Result<Vec<u16>, CaptureError> {
        self.items()
            .map(|item| item.parse().map_err(|_| self.wanted("a list of port numbers")))
            .collect()
    }

    fn ids(&self) -> Result<Vec<u32>, CaptureError> {
        self.items()
            .map(|item| item.parse().map_err(|_| self.wanted("a list of numeric ids")))
            .collect()
    }

    fn ranges(&self) -> Result<Vec<IpNet>, CaptureError> {
        self.items()
            .map(|item| match item {
                "*" => Err(()),
                item => item
                    .parse::<IpNet>()
                    .or_else(|_| item.parse().map(|address: std::net::IpAddr| address.into()))
                    .map_err(|_| ()),
            })
            .collect::<Result<_, ()>>()
            .map_err(|()| self.wanted("a list of address ranges such as 10.0.0.0/8"))
    }

    fn wanted(&self, wanted: &'static str) -> CaptureError {
        CaptureError::Value { flag: self.flag.to_owned(), value: self.value.to_owned(), wanted }
    }
}
