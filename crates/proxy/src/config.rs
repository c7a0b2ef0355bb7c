//! Where configuration comes from: the stream, what is subscribed to, the snapshot.

pub mod client;
pub mod subscriptions;
pub mod settle;
