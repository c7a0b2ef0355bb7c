//! A sidecar: everything that leaves its pod arrives at 15001, everything that
//! comes to its pod at 15006.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use weft_api::{Key, Kind, sidecar::Sidecar};
use weft_config::{
    Action, Destination, Discovery, Entry, Host, Interest, Limits, Listener, Origin, Protocol,
    Resource, Route, Rule, Scope, Server, Target, TcpTarget, Upstream,
};

use crate::{
    Client, Resolved,
    closure::Closure,
    clusters::backends,
    graph::view::View,
    listeners::{anywhere, is_reserved},
    model::{
        mesh_config::Mesh,
        protocol::Spoken,
        registry::{self, Definition, Inbound},
        sidecar,
    },
    proxy_settings,
};

const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;

/// What the sidecar of `client` runs.
pub(crate) fn sidecar(client: &Client, view: &View<'_>) -> Resolved {
    let mesh = view.mesh();
    let mut closure = Closure::default();
    let pool = view.pool();
    let scope = sidecar::of_workload(&client.namespace, client.labels.iter(), view);
    let outside = scope.as_deref().and_then(|scope| sidecar::outside_of(scope, view));
    let outside = outside.unwrap_or(mesh.outside);
    closure.add(pool.piece(Resource::Settings(proxy_settings::of_client(client, &mesh, outside))));
    let scope = scope.and_then(|scope| view.sidecar(&scope));
    let served = match scope.filter(|scope| !scope.spec.ingress.is_empty()) {
        Some(scope) => said(client, scope, &mesh, view),
        None => declared(client, &mesh, view),
    };
    let servers = inbound(served, &mesh, view, &mut closure);
    for (name, port, scope) in
        [("outbound", OUTBOUND, Scope::Directory), ("inbound", INBOUND, Scope::Servers(servers))]
    {
        closure.add(pool.piece(Resource::Listener(Listener {
            name: name.to_owned(),
            bind: anywhere(port),
            destination: Destination::Kernel,
            layers: Vec::new(),
            limits: Limits::sidecar(),
            scope,
        })));
    }
    closure.answer(&Interest::Own, Entry::Own, None)
}

/// The servers `served`, and one for the rest.
fn inbound(
    served: Vec<Served>,
    mesh: &Mesh,
    view: &View<'_>,
    closure: &mut Closure,
) -> Vec<Server> {
    let all = served.into_iter().chain([without_service(mesh)]);
    let all = all.map(|(server, route, backend)| {
        closure.add(view.pool().piece(Resource::Route(route)));
        closure.add(view.pool().piece(Resource::Backend(backend)));
        server
    });
    all.collect()
}

/// One server for every port that a service leads to.
fn declared(client: &Client, mesh: &Mesh, view: &View<'_>) -> Vec<Served> {
    let mut servers = BTreeMap::new();
    for inbound in registry::inbound(client, view) {
        let Inbound { definition, port, target } = inbound;
        servers.entry(target).or_insert((definition, port.spoken));
    }
    let servers = servers.into_iter();
    servers.map(|(port, (definition, spoken))| server(port, &definition, spoken, mesh)).collect()
}

/// One server for every port that the Sidecar of `client` says.
fn said(client: &Client, scope: &Sidecar, mesh: &Mesh, view: &View<'_>) -> Vec<Served> {
    let hosts = registry::inbound(client, view);
    let metadata = &scope.metadata;
    let object = Key::new(Kind::Sidecar, metadata.namespace.as_str(), metadata.name.as_str());
    let mut known = BTreeSet::new();
    let ingress = scope.spec.ingress.iter().enumerate();
    let ingress = ingress.filter(|(_, one)| one.port.number != 0 && known.insert(one.port.number));
    let served = ingress.map(|(at, one)| {
        let port = one.port.number;
        let name = format!("inbound|{port}||");
        let origin = Origin::new(object.to_string(), format!("ingress[{at}]"));
        let spoken = Spoken::of_entry(&one.port.protocol);
        let mut backend = backends::original(&name, port, spoken.upstream(), mesh);
        if let Some(host) = hosts.iter().find(|host| host.target == port) {
            backend.service.clone_from(&host.definition.host);
            backend.service_name = Some(host.definition.name_in_metrics());
        }
        match endpoint(&one.default_endpoint, client) {
            Ok(discovery) => backend.discovery = discovery,
            Err(details) => backend.closed = Some(details.to_owned()),
        }
        backend.origin = origin.clone();
        let (server, route) = to_backend(&name, Some(port), protocol(spoken), origin);
        (only_http(server), route, backend)
    });
    served.collect()
}

/// Where the application is that `text` means; else why connections to it are closed.
fn endpoint(text: &str, client: &Client) -> Result<Discovery, &'static str> {
    if text.is_empty() {
        return Ok(Discovery::Original);
    }
    let at: SocketAddr = text.parse().map_err(|_| "invalid_endpoint")?;
    // The proxy's own ports trust who comes from the pod.
    if at.port() == 0 || is_reserved(at.port()) {
        return Err("reserved_port");
    }
    match at.ip() {
        ip if ip.is_loopback() => Ok(Discovery::Fixed(at)),
        ip if ip.is_unspecified() => {
            let own = client.addresses.iter().find(|own| own.is_ipv4() == ip.is_ipv4());
            let own = own.or(client.addresses.first());
            Ok(own.map_or(Discovery::Nowhere, |own| {
                Discovery::Fixed(SocketAddr::new(*own, at.port()))
            }))
        }
        _ => Err("invalid_endpoint"),
    }
}

/// A server with all it needs.
type Served = (Server, Route, weft_config::Backend);

fn server(port: u16, definition: &Definition, spoken: Spoken, mesh: &Mesh) -> Served {
    let name = format!("inbound|{port}||");
    let owner = &definition.owner;
    let origin = Origin::new(owner.to_string(), "");
    // What the port declares is what the application knows, whatever its client
    // speaks; on an undeclared port it is called as its client calls.
    let upstream = spoken.upstream();
    let mut backend = backends::original(&name, port, upstream, mesh);
    backend.service.clone_from(&definition.host);
    backend.service_name = Some(definition.name_in_metrics());
    backend.origin = origin.clone();
    let (server, route) = to_backend(&name, Some(port), protocol(spoken), origin);
    (only_http(server), route, backend)
}

/// How connections to a port that is declared so are read.
fn protocol(spoken: Spoken) -> Protocol {
    match spoken {
        Spoken::Http | Spoken::Http2 => Protocol::Http,
        Spoken::Undeclared => Protocol::Detect,
        Spoken::Tcp | Spoken::Tls | Spoken::Datagrams => Protocol::Tcp,
    }
}

/// What is declared to be HTTP and is not is refused, as in Istio.
fn only_http(server: Server) -> Server {
    match server.protocol {
        Protocol::Http => Server { tcp: Vec::new(), ..server },
        _ => server,
    }
}

/// What serves connections to ports that no service leads to.
fn without_service(mesh: &Mesh) -> Served {
    let name = backends::INBOUND_PASSTHROUGH;
    let backend = backends::original(name, 0, Upstream::SameAsClient, mesh);
    let (server, route) = to_backend(name, None, Protocol::Detect, Origin::default());
    (server, route, backend)
}

/// A server and a route, both called `name`, that send everything to the backend
/// of that name.
fn to_backend(
    name: &str,
    port: Option<u16>,
    protocol: Protocol,
    origin: Origin,
) -> (Server, Route) {
    let action = Action::Forward(vec![Target::new(name, 1)]);
    let rule = Rule { name: Some("default".to_owned()), ..Rule::always(action, origin.clone()) };
    let route = Route {
        name: name.to_owned(),
        hosts: vec![Host::parse("*").expect("a star is a host")],
        lists: Vec::new(),
        rules: vec![rule],
        origin: origin.clone(),
    };
    let tcp = TcpTarget {
        backends: vec![(name.to_owned(), 1)],
        origin: origin.clone(),
        ..TcpTarget::default()
    };
    let server = Server {
        name: name.to_owned(),
        port,
        hello: None,
        protocol,
        routes: vec![name.to_owned()],
        tcp: vec![tcp],
        edge: false,
        origin,
    };
    (server, route)
}
