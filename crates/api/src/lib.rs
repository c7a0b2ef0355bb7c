//! What users write: one file per kind, plain serde structs.
//!
//! Data only. Nothing here knows proxies, clusters, files or lines of text; a
//! diagnostic names an object and a field path, and the holder of the text finds
//! the place.

pub mod check;
pub mod destination_rule;
pub mod diagnostic;
pub mod field;
pub mod gateway;
pub mod host_ports;
pub mod ingress;
pub mod json;
pub mod kind;
pub mod kubernetes;
pub mod mesh_config;
pub mod metadata;
pub mod object;
pub mod reference;
pub mod schema;
pub mod selector;
pub mod service_entry;
pub mod sidecar;
pub mod span;
pub mod virtual_service;
pub mod visible;

pub use check::{
    Checked, MOST, MOST_HOSTS, check, check_whole, closed_mesh_config, is_dns_label, key,
    mesh_config, nearest, normalised, proxy_config, read, subnet, unknown_istio_kind, usable,
};
pub use diagnostic::{Diagnostic, Severity};
pub use field::camel_case;
pub use kind::Kind;
pub use metadata::Metadata;
pub use object::{Key, Object};
pub use visible::{visible, visible_in_line};
