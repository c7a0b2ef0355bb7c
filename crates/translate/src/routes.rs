//! Which rules decide about a request or a connection: VirtualServices, and what holds
//! without one.

pub(crate) mod virtual_services;
pub(crate) mod delegates;
pub(crate) mod rules;
pub(crate) mod shared;
pub(crate) mod outbound;
pub(crate) mod foreign;
