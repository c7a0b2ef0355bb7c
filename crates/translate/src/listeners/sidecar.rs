//! A sidecar: everything that leaves its pod arrives at 15001, everything that
//! comes to its pod at 15006.

use std::collections::BTreeMap;

use weft_config::{
    Action, Destination, Entry, Host, Interest, Limits, Listener, Origin, Protocol, Resource,
    Route, Rule, Scope, Server, Target, TcpTarget, Upstream,
};

use crate::{
    Client, Resolved,
    closure::Closure,
    clusters::backends,
    graph::view::View,
    listeners::anywhere,
    model::{
        mesh_config::Mesh,
        protocol::Spoken,
        registry::{self, Definition, Inbound},
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
    closure.add(pool.piece(Resource::Settings(proxy_settings::of_client(client, &mesh))));
    let servers = inbound(client, &mesh, view, &mut closure);
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

/// One server for every port that a service leads to, and one for the rest.
fn inbound(client: &Client, mesh: &Mesh, view: &View<'_>, closure: &mut Closure) -> Vec<Server> {
    let mut servers = BTreeMap::new();
    for inbound in registry::inbound(client, view) {
        let Inbound { definition, port, target } = inbound;
        servers.entry(target).or_insert((definition, port.spoken));
    }
    let declared = servers
        .into_iter()
        .map(|(port, (definition, spoken))| server(port, &definition, spoken, mesh))
        .collect::<Vec<_>>();
    let rest = without_service(mesh);
    let all = declared.into_iter().chain([rest]).map(|(server, route, backend)| {
        closure.add(view.pool().piece(Resource::Route(route)));
        closure.add(view.pool().piece(Resource::Backend(backend)));
        server
    });
    all.collect()
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
    // What is declared to be HTTP and is not is refused, as in Istio.
    let protocol = match spoken {
        Spoken::Http | Spoken::Http2 => Protocol::Http,
        Spoken::Undeclared => Protocol::Detect,
        Spoken::Tcp | Spoken::Tls | Spoken::Datagrams => Protocol::Tcp,
    };
    let (mut server, route) = to_backend(&name, Some(port), protocol, origin);
    if protocol == Protocol::Http {
        server.tcp = Vec::new();
    }
    (server, route, backend)
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
