//! What proxies run: one file per resource, plain serde structs.
//!
//! Nothing here knows users' objects, Kubernetes or sockets, nor which kind of
//! proxy reads it: a sidecar and a gateway differ only in the listeners that
//! they are given.

pub mod answer;
pub mod backend;
pub mod change;
pub mod connection_pool;
pub mod cors;
pub mod directory;
pub mod encoding;
pub mod endpoints;
pub mod fault;
pub mod feature;
pub mod fingerprint;
pub mod interest;
pub mod limits;
pub mod listener;
pub mod name;
pub mod origin;
pub mod resource;
pub mod route;
pub mod seconds;
pub mod settings;
pub mod shares;
pub mod text_match;

pub use answer::{Answer, Covers, Entry};
pub use backend::{
    Backend, Discovery, HashCookie, HashKey, LoadBalancer, NamedEndpoint, OutlierDetection,
    Upstream,
};
pub use change::{Changes, FieldChanges, PathChange, Redirect};
pub use connection_pool::{ConnectionPool, Ping, RetryBudget, TcpKeepAlive};
pub use cors::Cors;
pub use directory::{Decides, Directory, DirectoryChunk};
pub use encoding::{DecodeError, Encoded, decode, encode};
pub use endpoints::{ChunkList, Endpoint, Endpoints, Workload};
pub use fault::Fault;
pub use feature::{Feature, Features, stand_in};
pub use fingerprint::{Fingerprint, Fingerprints};
pub use interest::{Interest, Part};
pub use limits::{Limits, ProcessLimits};
pub use listener::{Destination, HelloMatch, Layer, Listener, Protocol, Scope, Server, TcpTarget};
pub use name::Host;
pub use origin::Origin;
pub use resource::{File, Resource};
pub use route::{
    Action, Conditions, Mirror, Retries, RetryOn, Route, Rule, RuleList, SourceMatch, Target,
};
pub use settings::{AccessLog, LogFormat, Outside, Settings, Upgrades};
pub use shares::{Distribution, Failover, LocalityPolicy, Warmup};
pub use text_match::TextMatch;
