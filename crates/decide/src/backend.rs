//! Compiled backends.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use http::{HeaderValue, request::Parts};
use weft_balance::{Ask, BackendState, CircuitBreaker, Pool, Register, Rng, SelectedEndpoint};
use weft_config::{
    Backend, ConnectionPool, Discovery, Endpoint, HashKey, LoadBalancer, NamedEndpoint, Origin,
    Settings, Upstream,
};

use crate::{
    affinity::{self, Affinity},
    arrive::Arrival,
    endpoint_set::EndpointSet,
    failure::Failure,
    locality,
    reply::Reply,
};

/// A backend with its endpoints, ready to be asked for one.
#[derive(Debug)]
pub struct CompiledBackend {
    /// What it was compiled from.
    pub data: Arc<Backend>,
    /// Its name, for access logs and metrics.
    pub name: Arc<str>,
    origin: Arc<Origin>,
    /// The endpoints of the service's port, of which it has those with its labels.
    set: Arc<EndpointSet>,
    state: Arc<BackendState>,
    /// Its endpoints: found when it is first used, and with each new table from then on. So
    /// subsets that nothing is sent to cost nothing for each endpoint.
    pool: OnceLock<Arc<Pool>>,
    connections: Option<Arc<ConnectionPolicy>>,
    /// Where the proxy runs, where that matters.
    own: Option<Arc<Settings>>,
}

/// What holds for the connections to a backend, and for the requests on them.
#[derive(Debug)]
pub struct ConnectionPolicy {
    /// What it was compiled from.
    pub data: ConnectionPool,
    /// The limits, and what counts towards them.
    pub breaker: CircuitBreaker,
    /// Tells connections that are made by this from all others.
    pub id: u64,
}

impl ConnectionPolicy {
    fn new(name: &str, data: &ConnectionPool, state: &BackendState) -> Self {
        let breaker = CircuitBreaker::new(data, state);
        let text = format!("{data:?}");
        let id = BuildHasherDefault::<DefaultHasher>::default().hash_one((name, text));
        Self { data: data.clone(), breaker, id }
    }
}

/// Where one try goes.
#[derive(Debug)]
pub enum Pick {
    /// To an endpoint of the mesh, where the exchange counts until this is dropped.
    Endpoint(SelectedEndpoint),
    /// To an address that the mesh knows nothing of.
    Address(SocketAddr),
    /// To one of the addresses of a name, from DNS.
    Name {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// To one of the addresses of the first of these names that has some, from DNS.
    Names {
        /// The names, the one that was chosen first.
        names: Vec<NamedEndpoint>,
        /// Only the first address that can be connected to is used.
        first_only: bool,
    },
    /// To one of the addresses of the host that the request names, from DNS.
    Requested {
        /// The port.
        port: u16,
    },
}

impl CompiledBackend {
    /// Compiles a backend that chooses from `set`; endpoints that are as in `previous` are
    /// shared with it.
    pub(crate) fn new(
        data: Arc<Backend>,
        set: Arc<EndpointSet>,
        (register, own): (&Register, &Arc<Settings>),
        previous: Option<&Self>,
    ) -> Self {
        let own = data.locality.as_ref().map(|_| Arc::clone(own));
        let (name, origin) = (Arc::from(data.name.as_str()), Arc::new(data.origin.clone()));
        let state = register.backend(&data.name);
        let pool = OnceLock::new();
        let connections = data.connection_pool.as_deref().map(|pool| {
            let known = previous.and_then(|previous| previous.connections.as_ref());
            match known.filter(|known| known.data == *pool) {
                Some(known) => Arc::clone(known),
                None => Arc::new(ConnectionPolicy::new(&data.name, pool, &state)),
            }
        });
        if connections.is_none() {
            state.lift_limits();
        }
        let backend = Self { data, name, origin, set, state, pool, connections, own };
        // One that is used is made ready here, and not by the worker that needs it next.
        let used = previous.and_then(|previous| Some((previous, previous.pool.get()?)));
        if let Some((previous, known)) = used {
            let pool = match backend.chooses_as(previous) {
                true => Arc::clone(known),
                false => Arc::new(backend.make_pool(Some(known))),
            };
            // Nothing else has the cell yet.
            let _ = backend.pool.set(pool);
        }
        backend
    }

    /// The backend of traffic that leaves the mesh as it is.
    pub(crate) fn passthrough() -> Self {
        let data = Backend {
            name: "PassthroughCluster".to_owned(),
            service: String::new(),
            service_name: None,
            port: 0,
            subset: None,
            discovery: Discovery::Original,
            upstream: Upstream::SameAsClient,
            load_balancer: LoadBalancer::Random,
            outliers: None,
            warmup: None,
            locality: None,
            connection_pool: None,
            connect_timeout: std::time::Duration::from_secs(10),
            closed: None,
            origin: Origin::default(),
        };
        Self::new(Arc::new(data), Arc::default(), (&Register::default(), &Arc::default()), None)
    }

    /// Where one try goes, when the client dialled `destination`; none when there is no
    /// endpoint.
    pub fn pick(&self, destination: SocketAddr, ask: &Ask<'_>, rng: &mut Rng) -> Option<Pick> {
        match &self.data.discovery {
            Discovery::Endpoints(_) => {
                let pool = self.pool.get_or_init(|| Arc::new(self.make_pool(None)));
                pool.pick(ask, rng).map(Pick::Endpoint)
            }
            Discovery::Nowhere => None,
            Discovery::Original => Some(Pick::Address(destination)),
            Discovery::Fixed(address) => Some(Pick::Address(*address)),
            Discovery::Dns { host, port } => {
                Some(Pick::Name { host: Arc::from(host.as_str()), port: *port })
            }
            Discovery::Names { names, first_only } => {
                Some(Pick::Names { names: chosen_first(names, rng), first_only: *first_only })
            }
            Discovery::Requested { port } => Some(Pick::Requested { port: *port }),
        }
    }

    /// What holds for its connections, where that is more than for all.
    pub fn connections(&self) -> Option<&Arc<ConnectionPolicy>> {
        self.connections.as_ref()
    }

    /// The answer of a backend that is closed.
    pub(crate) fn closed_reply(&self) -> Reply {
        let details = self.data.closed.clone().unwrap_or_default();
        let reply = Failure::BackendClosed(details).reply();
        reply.about(&self.name).because_of(&self.origin)
    }

    /// What keeps a request with this `head`, as it is sent on, at one endpoint; `arrival` says
    /// how it came.
    pub fn affinity(
        &self,
        (head, authority): (&Parts, Option<&HeaderValue>),
        arrival: &Arrival,
    ) -> Affinity {
        match &self.data.load_balancer {
            LoadBalancer::Hash(key) => Affinity::of_request(key, (head, authority), arrival),
            _ => Affinity::default(),
        }
    }

    /// The hash of a connection of `client`, of which nothing but its addresses is known.
    pub fn hash_of_connection(&self, client: SocketAddr) -> Option<u64> {
        match &self.data.load_balancer {
            LoadBalancer::Hash(HashKey::SourceIp) => Some(affinity::of_client(client)),
            _ => None,
        }
    }

    /// All endpoints that the mesh knows of. To look at them does not make the backend used.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.set.with_labels(self.labels()).map(|endpoint| &**endpoint)
    }

    /// Exchanges under way with the endpoint at `address`.
    pub fn in_flight(&self, address: SocketAddr) -> u32 {
        self.state.in_flight(address)
    }

    fn labels(&self) -> &[(String, String)] {
        self.data.subset.as_ref().map_or(&[][..], |subset| &subset.labels)
    }

    /// Whether the endpoints, and how one is chosen, are those of `other`.
    fn chooses_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.set, &other.set)
            && Arc::ptr_eq(&self.state, &other.state)
            && self.labels() == other.labels()
            && self.data.load_balancer == other.data.load_balancer
            && self.data.outliers == other.data.outliers
            && self.data.warmup == other.data.warmup
            && self.data.locality == other.data.locality
            && self.own.as_ref().map(|own| (&own.locality, &own.labels))
                == other.own.as_ref().map(|own| (&own.locality, &own.labels))
    }

    fn make_pool(&self, previous: Option<&Arc<Pool>>) -> Pool {
        let endpoints: Vec<_> = self.set.with_labels(self.labels()).cloned().collect();
        let groups = self.data.locality.as_ref().zip(self.own.as_ref());
        let groups = groups.and_then(|(policy, own)| locality::groups(policy, own, &endpoints));
        let state = Arc::clone(&self.state);
        let choice = (self.data.load_balancer.clone(), self.data.outliers.as_ref());
        let pool = Pool::new(choice, endpoints, state, previous.map(|pool| &**pool));
        pool.warming(self.data.warmup).grouped(groups)
    }
}

/// The names, from one on that is chosen by its share.
fn chosen_first(names: &[NamedEndpoint], rng: &mut Rng) -> Vec<NamedEndpoint> {
    let weight = |one: &NamedEndpoint| u64::from(one.weight.unwrap_or(1));
    let sum: u64 = names.iter().map(weight).sum();
    let point = ((u128::from(rng.next_u64()) * u128::from(sum)) >> 64) as u64;
    let mut passed = 0;
    let chosen = names.iter().position(|one| {
        passed += weight(one);
        point < passed
    });
    let (before, from) = names.split_at(chosen.unwrap_or_default());
    from.iter().chain(before).cloned().collect()
}
