//! Compiled backends.

use std::{net::SocketAddr, sync::Arc};

use weft_balance::{Ask, Endpoint as BalancedEndpoint, Pool, Register, Rng, SelectedEndpoint};
use weft_config::{Backend, Discovery, Endpoint, Endpoints, LoadBalancer, Origin, Upstream};

use crate::{failure::Failure, reply::Reply, shards::Shards};

/// A backend with its endpoints, ready to be asked for one.
#[derive(Debug)]
pub struct CompiledBackend {
    /// What it was compiled from.
    pub data: Arc<Backend>,
    /// Its name, for access logs and metrics.
    pub name: Arc<str>,
    origin: Arc<Origin>,
    pool: Pool,
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
}

impl CompiledBackend {
    /// Compiles a backend with the chunks it names; endpoints that are as in `previous`
    /// are shared with it.
    pub(crate) fn new(
        data: Arc<Backend>,
        chunks: &Shards<Arc<str>, Arc<Endpoints>>,
        register: &Register,
        previous: Option<&Self>,
    ) -> Self {
        let pool = Pool::new(
            data.load_balancer,
            endpoints(&data, chunks),
            register.backend(&data.name),
            previous.map(|previous| &previous.pool),
        );
        let (name, origin) = (Arc::from(data.name.as_str()), Arc::new(data.origin.clone()));
        Self { name, data, origin, pool }
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
            connect_timeout: std::time::Duration::from_secs(10),
            closed: None,
            origin: Origin::default(),
        };
        Self::new(Arc::new(data), &Shards::default(), &Register::default(), None)
    }

    /// Where one try goes, when the client dialled `destination`; none when there is no
    /// endpoint.
    pub fn pick(&self, destination: SocketAddr, ask: &Ask<'_>, rng: &mut Rng) -> Option<Pick> {
        match &self.data.discovery {
            Discovery::Endpoints(_) => self.pool.pick(ask, rng).map(Pick::Endpoint),
            Discovery::Original => Some(Pick::Address(destination)),
            Discovery::Fixed(address) => Some(Pick::Address(*address)),
            Discovery::Dns { host, port } => {
                Some(Pick::Name { host: Arc::from(host.as_str()), port: *port })
            }
        }
    }

    /// The answer of a backend that is closed.
    pub(crate) fn closed_reply(&self) -> Reply {
        let details = self.data.closed.clone().unwrap_or_default();
        let reply = Failure::BackendClosed(details).reply();
        reply.about(&self.name).because_of(&self.origin)
    }

    /// All endpoints that the mesh knows of.
    pub fn endpoints(&self) -> &[Arc<BalancedEndpoint>] {
        self.pool.endpoints()
    }
}

/// The endpoints of the chunks that `backend` names, as far as they have its labels.
fn endpoints<'c>(
    backend: &'c Backend,
    chunks: &'c Shards<Arc<str>, Arc<Endpoints>>,
) -> impl Iterator<Item = Endpoint> + 'c {
    let names: &[String] = match &backend.discovery {
        Discovery::Endpoints(names) => names,
        Discovery::Original | Discovery::Fixed(_) | Discovery::Dns { .. } => &[],
    };
    let labels = backend.subset.as_ref().map_or(&[][..], |subset| &subset.labels);
    names
        .iter()
        .filter_map(|name| chunks.find(name.as_str()))
        .flat_map(|chunk| &chunk.endpoints)
        .filter(|endpoint| labels.iter().all(|label| endpoint.labels.contains(label)))
        .cloned()
}
