//! `networking.istio.io ServiceEntry` and `WorkloadEntry`: hosts and machines that
//! Kubernetes does not know.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::Metadata;

/// A service entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntry {
    /// Name, age.
    pub metadata: Metadata,
    /// What it says.
    pub spec: ServiceEntrySpec,
}

/// `ServiceEntry` `spec`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntrySpec {
    /// Full names, or `*.suffix`.
    pub hosts: Vec<String>,
    /// Addresses and ranges of addresses that clients dial.
    pub addresses: Vec<String>,
    /// Ports.
    pub ports: Vec<EntryPort>,
    /// `MESH_EXTERNAL` (also when empty), `MESH_INTERNAL`.
    pub location: String,
    /// `NONE` (also when empty), `STATIC`, `DNS`, `DNS_ROUND_ROBIN`, `DYNAMIC_DNS`.
    pub resolution: String,
    /// What is behind the hosts.
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// The pods and WorkloadEntries of its namespace that are behind the hosts.
    pub workload_selector: Option<LabelSelector>,
    /// Who sees it: `.`, `*`, or namespaces; as the mesh's settings say when empty.
    pub export_to: Vec<String>,
    /// Names in the certificates of servers.
    pub subject_alt_names: Vec<String>,
}

/// `ServiceEntry` `spec.ports[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntryPort {
    /// The port that clients dial.
    pub number: u16,
    /// `HTTP`, `HTTPS`, `GRPC`, `HTTP2`, `TLS`, `TCP` and others.
    pub protocol: String,
    /// Its name, by which endpoints have ports of their own.
    pub name: String,
    /// The endpoints' port; the same number when absent.
    pub target_port: Option<u16>,
}

/// Labels of workloads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that a workload must have.
    pub labels: BTreeMap<String, String>,
}

/// A workload entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntry {
    /// Name, age.
    pub metadata: Metadata,
    /// What it says.
    pub spec: WorkloadEntrySpec,
}

/// `WorkloadEntry` `spec`, and `ServiceEntry` `spec.endpoints[]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntrySpec {
    /// An address, or a name.
    pub address: String,
    /// Its ports, by the names of the service's; none where nothing is said of one.
    pub ports: BTreeMap<String, Option<u16>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The network it is in.
    pub network: String,
    /// Region, zone and subzone, separated by `/`.
    pub locality: String,
    /// Its share, relative to the others'; 1 when absent.
    pub weight: Option<u32>,
    /// Its service account.
    pub service_account: String,
}

/// A range of addresses: those that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The first of them.
    pub first: IpAddr,
    /// How many bits they have in common.
    pub bits: u8,
}

/// Bits of an IPv4 address.
const BITS_OF_4: u8 = 32;
/// Bits of an IPv6 address.
const BITS_OF_6: u8 = 128;

impl AddressRange {
    /// The range that is written as `10.0.0.0/8`, or as an address alone.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        let all = bits_of(ip);
        let bits = match bits {
            // A sign or a space is no digit.
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_digit()) => return None,
            Some(text) => text.parse().ok().filter(|bits| *bits <= all)?,
            None => all,
        };
        Some(Self::around(ip, bits))
    }

    /// The address alone.
    pub fn of(ip: IpAddr) -> Self {
        Self { first: ip, bits: bits_of(ip) }
    }

    /// The range of `bits` bits that `ip` is in.
    pub fn around(ip: IpAddr, bits: u8) -> Self {
        let first = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(u32::from(BITS_OF_4.saturating_sub(bits)));
                Ipv4Addr::from(u32::from(ip) & mask.unwrap_or(0)).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(u32::from(BITS_OF_6.saturating_sub(bits)));
                Ipv6Addr::from(u128::from(ip) & mask.unwrap_or(0)).into()
            }
        };
        Self { first, bits }
    }

    /// The address, if it is a single one.
    pub fn single(self) -> Option<IpAddr> {
        (self.bits == bits_of(self.first)).then_some(self.first)
    }
}

fn bits_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { BITS_OF_4 } else { BITS_OF_6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_begins_with_the_same_bits() {
        let check = |text: &str, first: &str, bits: u8| {
            let expected = AddressRange { first: first.parse().unwrap(), bits };
            assert_eq!(AddressRange::parse(text), Some(expected), "{text}");
        };
        check("10.1.2.3", "10.1.2.3", 32);
        check("10.1.2.3/8", "10.0.0.0", 8);
        check("10.1.2.3/0", "0.0.0.0", 0);
        check("2001:db8::1/32", "2001:db8::", 32);
        check("::1", "::1", 128);
        for text in ["", "10.1.2", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "10.0.0.0/", "a/8"] {
            assert_eq!(AddressRange::parse(text), None, "{text}");
        }
        assert_eq!(AddressRange::parse("10.0.0.0/8").unwrap().single(), None);
        assert!(AddressRange::parse("10.0.0.1/32").unwrap().single().is_some());
    }
}
