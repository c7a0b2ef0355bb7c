//! Which addresses the proxy dials for others.
//!
//! The author of an `EndpointSlice` or a name chooses an address that the proxy dials as
//! itself. The machine that it runs on is not theirs to reach: its administration trusts who
//! comes from there. So an address is looked at last, after names are resolved.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::{Arc, PoisonError, RwLock},
};

/// The ports of proxies.
const OWN_PORTS: RangeInclusive<u16> = 15000..=15090;

/// Which addresses the proxy dials for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Others than its own machine's and its link's: the configuration comes from many.
    #[default]
    Mesh,
    /// All: the author of the configuration may do all that the proxy may.
    Anywhere,
}

impl Reach {
    /// Whether an address that the configuration gives, or a name in it, may be dialled.
    pub fn includes(self, address: SocketAddr) -> bool {
        self.includes_dialled(address) && (self == Self::Anywhere || !is_link_local(address.ip()))
    }

    /// Whether an address that the client itself dialled may be dialled for it. What is on
    /// its link, as clouds' metadata and caches of names, the client reaches without a proxy.
    pub fn includes_dialled(self, address: SocketAddr) -> bool {
        if self == Self::Anywhere {
            return true;
        }
        let ip = address.ip().to_canonical();
        let nowhere = match ip {
            IpAddr::V4(ip) => {
                ip.is_loopback() || ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast()
            }
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_multicast(),
        };
        let own = OWN_PORTS.contains(&address.port()) && is_own(ip);
        !(nowhere || own)
    }
}

/// Where this proxy listens; copies of one know the same.
#[derive(Clone, Debug, Default)]
pub struct OwnSockets(Arc<RwLock<Vec<SocketAddr>>>);

impl OwnSockets {
    /// It listens at these addresses from now on.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        // A list is never half set.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Whether a connection to `address` would come back to this proxy.
    pub fn include(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let own = self.0.read().unwrap_or_else(PoisonError::into_inner);
        own.iter().filter(|own| own.port() == address.port()).any(|own| {
            let bound = own.ip().to_canonical();
            bound == ip
                // The kernel takes an unspecified address for loopback.
                || (ip.is_unspecified() && (bound.is_loopback() || bound.is_unspecified()))
                || (bound.is_unspecified() && is_own(ip))
        })
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => Ipv6Addr::is_unicast_link_local(&ip),
    }
}

/// Whether `ip` is one of this machine's, since nothing else can be bound to.
fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, configured: bool, dialled: bool) {
        let at: SocketAddr = address.parse().unwrap();
        let found = (Reach::Mesh.includes(at), Reach::Mesh.includes_dialled(at));
        assert_eq!(found, (configured, dialled), "{address}");
        assert!(Reach::Anywhere.includes(at) && Reach::Anywhere.includes_dialled(at));
    }

    #[test]
    fn the_machine_itself_is_not_reached_for_others() {
        for ip in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255"] {
            check(&format!("{ip}:80"), false, false);
            check(&format!("[::ffff:{ip}]:80"), false, false);
        }
        for ip in ["::1", "::", "ff02::1"] {
            check(&format!("[{ip}]:80"), false, false);
        }
        check("10.1.0.1:80", true, true);
        check("[2001:db8::1]:15000", true, true);
    }

    #[test]
    fn what_is_on_the_link_is_reached_only_as_the_client_dialled_it() {
        check("169.254.169.254:80", false, true);
        check("[::ffff:169.254.169.254]:80", false, true);
        check("[fe80::1]:80", false, true);
    }

    #[test]
    fn what_comes_back_to_this_proxy_is_known_by_any_of_its_addresses() {
        let own = OwnSockets::default();
        let comes_back = |address: &str| own.include(address.parse().unwrap());
        assert!(!comes_back("127.0.0.1:8080"));
        own.set(["0.0.0.0:8080", "127.0.0.1:9090"].map(|at| at.parse().unwrap()).into());
        for address in ["127.0.0.1:8080", "127.0.0.9:8080", "[::ffff:127.0.0.1]:8080"] {
            assert!(comes_back(address), "{address}");
        }
        assert!(comes_back("0.0.0.0:8080") && comes_back("127.0.0.1:9090"));
        assert!(comes_back("0.0.0.0:9090"), "the kernel takes it for loopback");
        for address in ["127.0.0.1:8081", "192.0.2.1:8080", "127.0.0.2:9090"] {
            assert!(!comes_back(address), "{address}");
        }
        own.set(vec!["[::]:8080".parse().unwrap()]);
        assert!(comes_back("127.0.0.1:8080"));
    }

    #[test]
    fn ports_of_proxies_are_closed_at_this_machines_addresses_only() {
        // The address that this machine would send from; there may be none.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
        if let Ok(own) = own {
            for port in [15000, 15021, 15090] {
                check(&format!("{}:{port}", own.ip()), false, false);
            }
            check(&format!("{}:8080", own.ip()), true, true);
        }
        assert!(is_own([127, 0, 0, 1].into()) && !is_own([192, 0, 2, 1].into()));
        check("192.0.2.1:15021", true, true);
    }
}
