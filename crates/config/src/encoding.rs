//! Resources as they travel and as they are kept: JSON.
//!
//! Reading is strict: a field that is not known may be a condition or a policy, and
//! ignoring it would do more than was meant.

use serde::Deserialize;

use crate::{
    Resource,
    feature::{Features, needs},
};

/// A resource that is ready to travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Its JSON.
    pub body: Vec<u8>,
    /// What a proxy has to be able to do for it.
    pub needs: Features,
}

/// Why a body is not a resource.
#[derive(Debug, thiserror::Error)]
#[error("not a resource of this version: {0}")]
pub struct DecodeError(#[from] serde_json::Error);

/// Writes a resource.
pub fn encode(resource: &Resource) -> Encoded {
    let body = serde_json::to_vec(resource).expect("resources have only text keys");
    Encoded { body, needs: needs(resource) }
}

/// Reads a resource, and refuses what is not known in it.
pub fn decode(body: &[u8]) -> Result<Resource, DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let resource = Resource::deserialize(&mut reader)?;
    reader.end()?;
    Ok(resource)
}
