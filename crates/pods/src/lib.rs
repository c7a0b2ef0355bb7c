//! The node of the laptop: namespaces, addresses, processes, names, Services'
//! addresses, probes.
//!
//! Two processes use it. The terminal's holds a [`host::Host`], which is the
//! only thing that acts in the host's namespaces; the supervisor
//! ([`supervisor::enter`], then [`supervisor::prepare`]) is process 1 of
//! namespaces of its own and runs the pods of a store. Nothing that it makes
//! outlives it. What a mesh is, and who put a sidecar into a pod, is not known
//! here.

pub mod host;
pub mod supervisor;

mod admit;
mod begin;
mod channel;
mod container;
mod dial;
mod dns;
mod egress;
mod endpoint_removal;
mod enter;
mod environment;
mod events;
mod object_watch;
mod host_ports;
mod images;
mod launch;
mod link;
mod logs;
mod mounts;
mod network;
mod node;
mod objects;
mod pod;
mod pod_store;
mod probe;
mod reaper;
mod relay;
mod root;
mod runtime;
mod service_rules;
mod service_view;
mod services;
mod spec;
mod state;
mod status;
mod thread;
mod translation;
mod volumes;

pub use endpoint_removal::Acknowledged;
pub use images::{Image, Images, OwnCommand};
pub use link::HostLink;
pub use network::{API, DNS, HOST, NODE, PODS, SERVICES};
pub use node::{LocalNode, NODE_NAME, Settings, Tool};
pub use root::PROGRAM;
