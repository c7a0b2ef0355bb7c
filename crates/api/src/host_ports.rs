//! Where the ports of a Service are reached on the machine that runs the mesh.
//!
//! The laptop's node writes it into an annotation of the Service, and
//! `weft explain` reads it there. Which ports are bound is not known here.

use std::net::{IpAddr, SocketAddr};

/// The annotation of Services that holds their ports on the machine.
pub const ANNOTATION: &str = "weft.internal/host-ports";

/// A Service's port, and one address of the machine where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The Service's port.
    pub port: u16,
    /// Where it is reached.
    pub address: SocketAddr,
}

/// The annotation's text, as in `80=127.0.0.1:8080,80=[::1]:8080`.
pub fn write(ports: &[HostPort]) -> String {
    let entry = |one: &HostPort| format!("{}={}", one.port, one.address);
    ports.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// What the annotation's text says; entries that say nothing are left out.
pub fn read(text: &str) -> Vec<HostPort> {
    let entry = |entry: &str| {
        let (port, address) = entry.trim().split_once('=')?;
        Some(HostPort { port: port.parse().ok()?, address: address.parse().ok()? })
    };
    text.split(',').filter_map(entry).collect()
}

impl HostPort {
    /// Whether a client on the machine that dials `host` at `port` comes here.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        let bound = self.address.ip();
        self.address.port() == port
            && match address(host) {
                Some(ip) => bound == ip || is_any(bound, ip),
                None => is_local(host) && (bound.is_loopback() || bound.is_unspecified()),
            }
    }

    /// The address as people type it.
    pub fn spelled(&self) -> String {
        let ip = self.address.ip();
        match ip.is_loopback() || ip.is_unspecified() {
            true => format!("localhost:{}", self.address.port()),
            false => self.address.to_string(),
        }
    }
}

/// Whether a host stands for the machine of the one who says it.
pub fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let named = host == "localhost" || host.ends_with(".localhost");
    named || address(&host).is_some_and(|ip| ip.is_loopback())
}

/// Whether `bound` stands for all addresses, those like `ip` among them.
fn is_any(bound: IpAddr, ip: IpAddr) -> bool {
    bound.is_unspecified() && (bound.is_ipv6() || ip.is_ipv4())
}

/// The address that a URL's host is, if it is one.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "80=127.0.0.1:8081,80=[::1]:8081,443=0.0.0.0:8443";
        assert_eq!(write(&read(text)), text);
        assert_eq!(read("80,x=127.0.0.1:1,80=here"), []);
        assert_eq!(read(""), []);
    }

    #[track_caller]
    fn check(bound: &str, host: &str, expected: bool) {
        let one = HostPort { port: 80, address: bound.parse().unwrap() };
        assert_eq!(one.is_at(host, one.address.port()), expected, "{bound} for {host}");
        assert!(!one.is_at(host, 1));
    }

    #[test]
    fn a_client_on_the_machine_dials_names_and_addresses_of_it() {
        check("127.0.0.1:8081", "localhost", true);
        check("127.0.0.1:8081", "LOCALHOST.", true);
        check("127.0.0.1:8081", "hello.localhost", true);
        check("127.0.0.1:8081", "127.0.0.1", true);
        check("[::1]:8081", "[::1]", true);
        check("127.0.0.1:8081", "[::1]", false);
        check("192.0.2.7:8081", "192.0.2.7", true);
        check("192.0.2.7:8081", "localhost", false);
        check("0.0.0.0:8081", "localhost", true);
        check("0.0.0.0:8081", "192.0.2.7", true);
        check("0.0.0.0:8081", "[::1]", false);
        check("[::]:8081", "[2001:db8::7]", true);
        check("[::]:8081", "192.0.2.7", true);
        check("127.0.0.1:8081", "hello.example.com", false);
    }
}
