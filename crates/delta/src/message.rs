//! What the two ends say to each other.

use std::sync::Arc;

use bytes::Bytes;

/// The name of a resource; a name that a client subscribes to is an interest.
pub type Name = Arc<str>;

/// How many interests one client may have.
pub const INTEREST_LIMIT: usize = 4096;

/// How many bytes a name may have.
pub const NAME_LIMIT: usize = 1024;

/// How many resources a client may say to hold when a stream begins.
pub const HELD_LIMIT: usize = 250_000;

/// How many bytes the names of all these may have.
pub const HELD_BYTES: usize = 32 << 20;

/// How many bytes the names may have that a client asks for and that wait to be refused.
pub const REFUSED_BYTES: usize = 2 * INTEREST_LIMIT * NAME_LIMIT;

/// How many bytes of names go into one request, about: far below what one message
/// may have.
pub(crate) const PIECE: usize = 1 << 20;

/// A named body. Equal versions of one name mean equal bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Unique on the stream.
    pub name: Name,
    /// A hash of the body.
    pub version: u64,
    /// Opaque here; perhaps a piece of a larger message, which stays as long as this.
    pub body: Bytes,
}

/// One resource that a client could not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub name: Name,
    /// What is wrong with it.
    pub why: String,
}

/// From client to server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// New interests.
    pub subscribe: Vec<Name>,
    /// Interests that are over.
    pub unsubscribe: Vec<Name>,
    /// Only in a stream's greeting, which are its first requests: what the client
    /// still holds.
    pub held: Vec<(Name, u64)>,
    /// The greeting goes on in the next request.
    pub more: bool,
    /// The response that this request is about; empty for none, or, beside refusals, for
    /// the one in flight.
    pub nonce: String,
    /// What of that response the client could not use; the rest is in force. One that
    /// names nothing that the response carried is a refusal of all of it.
    pub refused: Vec<Refusal>,
}

/// From server to client; in force as a whole, or at least all but what the
/// client refuses by name. A large change comes in several, each of use with those
/// before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Names this response on its stream.
    pub nonce: String,
    /// New or changed, answers and pieces alike.
    pub resources: Vec<Resource>,
    /// What the client is to forget; among them interests that have no answer.
    pub removed: Vec<Name>,
}

/// The other end does not keep to the protocol; the stream is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Far more names asked for than there may be interests.
    #[error("more than {0} names that are no interests of this stream")]
    TooManyRefused(usize),
    /// More held than allowed.
    #[error("more than {0} held resources")]
    TooManyHeld(usize),
    /// Longer names than allowed, in sum.
    #[error("names of more than {0} bytes")]
    LongNames(usize),
    /// Held resources are listed once.
    #[error("held resources after the greeting of the stream")]
    HeldTwice,
    /// A response before the last one was accepted or refused.
    #[error("response `{0}` before the one before it was acknowledged")]
    TooEarly(String),
    /// One name twice in a response.
    #[error("resource `{0}` twice in one response")]
    Repeated(Name),
    /// A response that cannot be acknowledged.
    #[error("a response without a nonce")]
    NoNonce,
}
