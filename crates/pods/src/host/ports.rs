//! Which port of the host stands for a Service's port, and its sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

/// How many numbers above the wished one are tried.
const ATTEMPTS: u16 = 200;

/// Ports below this need rights that a person at a terminal does not have.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// The host's port for a Service's port: 80 and 443 have their customary
/// stand-ins, other privileged ones move up by 8000.
pub fn wished(port: u16) -> u16 {
    match port {
        80 => 8080,
        443 => 8443,
        port if port < FIRST_UNPRIVILEGED => port + 8000,
        port => port,
    }
}

/// Listens on `port`, or the next free one, at every address that exists here.
pub(super) fn listen(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for candidate in (0..ATTEMPTS).filter_map(|step| port.checked_add(step)) {
        match listen_everywhere(addresses, candidate) {
            Ok(listeners) => return Ok(listeners),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn listen_everywhere(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut missing = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for &address in addresses {
        match TcpListener::bind(SocketAddr::new(address, port)) {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 is no reason to have no host ports.
            Err(error) if address.is_ipv6() && is_absent(&error) => missing = error,
            Err(error) => return Err(error),
        }
    }
    match listeners.is_empty() {
        true => Err(missing),
        false => Ok(listeners),
    }
}

fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn privileged_ports_have_stand_ins_and_others_stay() {
        let pairs = [(80, 8080), (443, 8443), (25, 8025), (1023, 9023), (1024, 1024), (9080, 9080)];
        for (port, expected) in pairs {
            assert_eq!(wished(port), expected, "for {port}");
        }
    }

    #[test]
    fn a_taken_port_gives_the_next_free_one() {
        let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let found = listen(&addresses, port).unwrap()[0].local_addr().unwrap().port();
        assert!(found > port, "{found} is after {port}");
    }
}
