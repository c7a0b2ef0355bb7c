//! How configuration travels: interests one way, answers the other.
//!
//! A proxy subscribes to names; each is answered by one resource of that name
//! and by the pieces that it needs, which come along without being asked for.
//! Both ends are machines: they are told what arrived and say what to send.
//! Nothing here knows gRPC, sockets, clocks, or what a resource means.
//!
//! One response is in flight at a time. So what changes meanwhile is gathered,
//! and the server always knows exactly what its client holds.

mod client;
mod message;
mod server;

pub use client::{Client, Standing, Update};
pub use message::{
    HELD_BYTES, HELD_LIMIT, INTEREST_LIMIT, NAME_LIMIT, Name, REFUSED_BYTES, Refusal, Request,
    Resource, Response, Violation,
};
pub use server::{Event, ResourceSet, Server, Splitting};
