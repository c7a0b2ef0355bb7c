//! Where traffic goes: backends with their policies, and endpoints.

pub(crate) mod destination_rules;
pub(crate) mod connection_pools;
pub(crate) mod shares;
pub(crate) mod backends;
pub(crate) mod endpoints;
pub(crate) mod members;
pub(crate) mod label_sets;
