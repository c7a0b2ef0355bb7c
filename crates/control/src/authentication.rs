//! What the control plane is given: changes of objects, and who is calling.

use std::{future::Future, pin::Pin};

use weft_api::{Key, Object};

/// One thing that a source of objects says, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object is there, or is different, as of this resource version.
    Apply(Box<Object>, String),
    /// An object is gone, as of this resource version.
    Delete(Key, String),
    /// Every object that existed at the start has been applied. Until then no proxy
    /// is answered.
    Synced,
}

/// Whom a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The namespace of the service account, and of the pod.
    pub namespace: String,
    /// The pod that the token is bound to; empty for none.
    pub pod: String,
    /// The pod's identifier; empty for none.
    pub pod_uid: String,
    /// The service account.
    pub account: String,
}

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The token is not valid.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// Whether it is valid cannot be found out now.
    #[error("the token cannot be checked now: {0}")]
    Unavailable(String),
}

/// What [`Authenticate::who`] returns.
pub type Authenticating<'a> = Pin<Box<dyn Future<Output = Result<Caller, Refused>> + Send + 'a>>;

/// Checks bearer tokens.
pub trait Authenticate: Send + Sync {
    /// Whom `token` belongs to.
    fn who(&self, token: String) -> Authenticating<'_>;
}
