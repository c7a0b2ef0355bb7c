//! The router and the pods' links.
//!
//! No bridge: each pod has a veth, one address and a default route to the
//! router, which stands in the supervisor's own network namespace.

mod addresses;
mod pods;

use std::{
    fs::{self, File},
    io,
    net::Ipv4Addr,
    os::fd::AsRawFd,
};

use ipnet::{IpNet, Ipv4Net};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
    packet_route::{
        link::{InfoData, InfoVeth},
        route::{RouteScope, RouteType},
    },
};
use tokio::runtime;

use crate::thread::apart;
pub(crate) use addresses::Addresses;
pub(crate) use pods::PodNetworks;

/// Where pods' addresses come from.
pub const PODS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
/// Where Services' addresses come from.
pub const SERVICES: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
/// The API server, as pods see it.
pub const API: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The DNS server, as pods see it.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The node, which is the router.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The user's own machine, as pods see it: a dummy address of RFC 7600.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// The router, as each pod sees it on its link.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The loopback interface has this number in every namespace.
const LOOPBACK: u32 = 1;
/// Numbers of the router's interfaces are chosen, so that none must be asked.
const FIRST_LINK: u32 = 100;

/// A pod's network namespace and its address.
#[derive(Debug)]
pub(crate) struct PodNetwork {
    pub(crate) namespace: File,
    pub(crate) address: Ipv4Addr,
    /// The name of its link in the router.
    pub(crate) link: String,
    number: u32,
}

/// The router; clones are the same.
#[derive(Clone)]
pub(crate) struct Router {
    netlink: Handle,
}

impl Router {
    /// Makes the supervisor's network namespace a router.
    pub(crate) async fn start() -> io::Result<Self> {
        let (connection, netlink, _) = new_connection()?;
        tokio::spawn(connection);
        let router = Self { netlink };
        router.up(LOOPBACK).await?;
        for address in [API, DNS, NODE] {
            router.address(LOOPBACK, address).await?;
        }
        // A Service's address needs a route before its translation is looked at.
        let services = route(SERVICES).output_interface(LOOPBACK).scope(RouteScope::Link);
        router.route(services.pref_source(NODE)).await?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        Ok(router)
    }

    /// Makes a namespace with a link to the router.
    pub(crate) async fn connect(&self, number: u32, address: Ipv4Addr) -> io::Result<PodNetwork> {
        let namespace = apart(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            // Programs of every user may listen on port 80.
            fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
            File::open("/proc/thread-self/ns/net")
        })
        .await?;
        let link = format!("p{number}");
        let index = FIRST_LINK + number;
        let peer = LinkMessageBuilder::<LinkUnspec>::new().name("eth0");
        let peer = peer.setns_by_fd(namespace.as_raw_fd()).build();
        let veth = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(
            rtnetlink::packet_route::link::InfoKind::Veth,
        )
        .name(link.clone())
        .index(index)
        .up()
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        self.netlink.link().add(veth.build()).execute().await.map_err(io::Error::other)?;
        self.address(index, GATEWAY).await?;
        self.route(route(Ipv4Net::from(address)).output_interface(index)).await?;
        let inside = namespace.try_clone()?;
        let runtime = runtime::Handle::current();
        apart(move || runtime.block_on(configure(inside, address))).await?;
        Ok(PodNetwork { namespace, address, link, number })
    }

    /// Leads `outside` addresses to a pod, which answers for them.
    pub(crate) async fn play_outside(
        &self,
        network: &PodNetwork,
        outside: &[Ipv4Net],
    ) -> io::Result<()> {
        for &range in outside {
            self.route(route(range).output_interface(FIRST_LINK + network.number)).await?;
        }
        let (inside, ranges) = (network.namespace.try_clone()?, outside.to_vec());
        let runtime = runtime::Handle::current();
        apart(move || {
            runtime.block_on(async {
                let netlink = enter(inside)?;
                for range in ranges {
                    let local = route(range).output_interface(LOOPBACK).scope(RouteScope::Host);
                    // Table 255 is the one in which the kernel looks first.
                    netlink.route(local.kind(RouteType::Local).table_id(255)).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Removes a pod's link; its namespace ends with its last process.
    pub(crate) async fn disconnect(&self, network: &PodNetwork) {
        // The link may have gone with the namespace.
        let _ = self.netlink.link().del(FIRST_LINK + network.number).execute().await;
    }

    async fn up(&self, index: u32) -> io::Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.netlink.link().set(message).execute().await.map_err(io::Error::other)
    }

    async fn address(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        let request = self.netlink.address().add(index, address.into(), 32);
        request.execute().await.map_err(io::Error::other)
    }

    async fn route(&self, route: RouteMessageBuilder<Ipv4Addr>) -> io::Result<()> {
        self.netlink.route().add(route.build()).execute().await.map_err(io::Error::other)
    }
}

fn route(to: Ipv4Net) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to.network(), to.prefix_len())
}

/// Netlink in a pod's namespace, for the calling thread.
fn enter(namespace: File) -> io::Result<Router> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let (connection, netlink, _) = new_connection()?;
    tokio::spawn(connection);
    Ok(Router { netlink })
}

async fn configure(namespace: File, address: Ipv4Addr) -> io::Result<()> {
    let inside = enter(namespace)?;
    inside.up(LOOPBACK).await?;
    let found = inside.netlink.link().get().match_name("eth0").execute();
    let mut found = std::pin::pin!(found);
    let link = futures::TryStreamExt::try_next(&mut found).await.map_err(io::Error::other)?;
    let index = link.ok_or(io::ErrorKind::NotFound)?.header.index;
    inside.address(index, address).await?;
    // Not at its making: the kernel refuses while the other end is not there.
    inside.up(index).await?;
    let gateway = route(Ipv4Net::from(GATEWAY)).output_interface(index).scope(RouteScope::Link);
    inside.route(gateway).await?;
    inside.route(RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY)).await
}

/// The IPv4 ranges in a comma-separated list; the first invalid one is an error.
pub(crate) fn ranges(text: &str) -> Result<Vec<Ipv4Net>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(|item| {
            let net = item.parse::<IpNet>().ok();
            let net =
                net.or_else(|| item.parse::<Ipv4Addr>().ok().map(|ip| Ipv4Net::from(ip).into()));
            match net {
                Some(IpNet::V4(net)) => Ok(net),
                _ => Err(item.to_owned()),
            }
        })
        .collect()
}
