//! What Istio and Envoy did, compared with what a proxy does that runs.
//!
//! Each world of a group is translated, a proxy runs it in this process, and the recorded requests
//! go through it byte by byte, to backends that do as they are told. What depends on bytes, on
//! attempts, on time or on shares is seen here; what a decision says is seen by the test of
//! explanations. A difference is listed with its reason in `tests/recordings/differences.yaml`, or
//! fails; one that is listed and gone fails too.

#[path = "replay/network.rs"]
mod network;

#[path = "replay/backend.rs"]
mod backend;
#[path = "replay/backend_h2.rs"]
mod backend_h2;
#[path = "replay/engine.rs"]
mod engine;

#[path = "replay/client.rs"]
mod client;
#[path = "replay/client_h2.rs"]
mod client_h2;
#[path = "replay/exchange.rs"]
mod exchange;

#[path = "replay/compare.rs"]
mod compare;
#[path = "replay/shares.rs"]
mod shares;

#[path = "replay/groups.rs"]
mod groups;
