//! Which server of which Gateway admits a request.
//!
//! Servers of several Gateways on one port are one server for the proxy. People look for
//! the one that names the host.

use std::net::{IpAddr, SocketAddr};

use http::header::HOST;
use weft_api::{
    gateway::{Reading, Server},
    kubernetes::Pod,
    selector::selects,
};
use weft_config::{Host, Origin};
use weft_decide::{ClientHello, of_authority};

use super::HopRequest;
use crate::{explanation::Because, world::World};

/// How many servers at other addresses are named.
const MOST_ELSEWHERE: usize = 3;
/// How many hosts of a server that does not admit a name are told.
const MOST_HOSTS: usize = 5;

/// Puts the servers that admit the host in the place of the one that stands for the port;
/// where none does, says of each which hosts it admits.
pub(super) fn name(
    world: &World,
    pod: &Pod,
    dialled: SocketAddr,
    asked: &HopRequest<'_>,
    because: &mut Vec<Because>,
) {
    let is_gateway = |one: &Because| one.object.starts_with("Gateway/");
    let found = because.iter().position(|one| is_gateway(one) && one.verdict == "matched");
    let hello = asked.question.hello();
    let Some(at) = found else {
        because.extend(refused(world, pod, dialled, hello.as_ref()));
        return;
    };
    // It is the server name that leads to a server, which says so.
    if hello.is_some() {
        return;
    }
    let host = asked.head.as_ref().ok().and_then(|head| head.headers.get(HOST)?.to_str().ok());
    let Some(host) = host.map(|host| of_authority(host).into_owned()) else { return };
    let admits = |server: &Server| server.hosts.iter().any(|own| covers(own, &host));
    let is_there = |server: &Server| is_at(server, dialled.ip());
    let (servers, elsewhere): (Vec<_>, Vec<_>) =
        servers(world, pod, dialled.port()).into_iter().partition(|(_, server)| is_there(server));
    let mut named: Vec<Because> = servers
        .iter()
        .filter(|(_, server)| admits(server))
        .map(|(place, server)| told(place, "matched", format!("{} admits `{host}`", on(server))))
        .collect();
    if named.is_empty() {
        named = servers
            .iter()
            .map(|(place, server)| {
                let hosts = server.hosts.join("`, `");
                told(place, "not matched", format!("{} admits `{hosts}`", on(server)))
            })
            .collect();
    }
    let elsewhere = elsewhere.iter().filter(|(_, server)| admits(server));
    named.extend(elsewhere.take(MOST_ELSEWHERE).map(|(place, server)| {
        let bind = server.bind.as_deref().unwrap_or_default();
        let why = format!(
            "{} admits `{host}`, but is bound to {bind}; the connection is to {}",
            on(server),
            dialled.ip()
        );
        told(place, "not matched", why)
    }));
    // Nothing for the host is bound to these.
    let admitting = named.first().filter(|one| one.verdict == "matched").cloned();
    if let Some(admitting) = admitting {
        for one in because.iter_mut().filter(|one| is_gateway(one) && one.verdict == "refused") {
            (one.object, one.rule) = (admitting.object.clone(), admitting.rule.clone());
        }
    }
    because.splice(at..=at, named);
}

/// Why no server that passes TLS on is for a client that begins with `hello`.
fn refused(
    world: &World,
    pod: &Pod,
    dialled: SocketAddr,
    hello: Option<&ClientHello>,
) -> Vec<Because> {
    let all = servers(world, pod, dialled.port()).into_iter();
    let passing = all.filter(|(_, server)| {
        server.reading() == Some(Reading::ServerName) && is_at(server, dialled.ip())
    });
    let why = |server: &Server| {
        let on = on(server);
        match hello.map(|hello| hello.server_name.as_deref()) {
            None => format!("{on} is for TLS, which the client does not begin"),
            Some(None) => format!("{on} is for TLS by server name, and the client names no server"),
            Some(Some(name)) if server.hosts.iter().any(|own| covers(own, name)) => format!(
                "{on} admits `{name}`, and no `tls` rule of a VirtualService is for that server name"
            ),
            Some(Some(name)) => {
                let hosts = server.hosts.iter().take(MOST_HOSTS).map(String::as_str);
                let hosts = hosts.collect::<Vec<_>>().join("`, `");
                format!("{on} does not admit `{name}`, but `{hosts}`")
            }
        }
    };
    passing.map(|(place, server)| told(&place, "refused", why(server))).collect()
}

/// The servers that the gateway's pod serves on its port `port`.
fn servers<'w>(world: &'w World, pod: &Pod, port: u16) -> Vec<(Origin, &'w Server)> {
    let labels = &pod.metadata.labels;
    let selected = world.gateways().filter(|gateway| selects(&gateway.spec.selector, labels));
    let all = selected.flat_map(|gateway| {
        let metadata = &gateway.metadata;
        let object = format!("Gateway/{}/{}", metadata.namespace, metadata.name);
        gateway.spec.servers.iter().enumerate().map(move |(index, server)| {
            (Origin::new(object.clone(), format!("servers[{index}]")), server)
        })
    });
    all.filter(|(_, server)| world.container_port(pod, server.port.number) == port).collect()
}

/// Whether connections to `ip` are for `server`.
fn is_at(server: &Server, ip: IpAddr) -> bool {
    match server.address() {
        Ok(address) => address.is_none_or(|address| address == ip.to_canonical()),
        // Nothing listens for it.
        Err(_) => false,
    }
}

fn covers(entry: &str, host: &str) -> bool {
    let own = entry.split_once('/').map_or(entry, |(_, own)| own);
    Host::parse(own).is_ok_and(|own| own.covers(host))
}

fn on(server: &Server) -> String {
    format!("its server on port {}", server.port.number)
}

fn told(origin: &Origin, verdict: &str, why: String) -> Because {
    Because {
        object: origin.object.clone(),
        rule: origin.rule.clone(),
        source: None,
        verdict: verdict.to_owned(),
        why,
    }
}
