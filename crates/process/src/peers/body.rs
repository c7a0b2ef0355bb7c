//! Request bodies, and the memory that they take.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::OwnedSemaphorePermit;

use super::{Connection, connection::take};

/// How many bytes of request bodies are held.
#[derive(Clone, Copy, Debug)]
pub struct Bodies {
    /// Bytes of the longest body.
    pub longest: usize,
    /// Bytes of the longest body that is small: small ones take nothing of what all peers
    /// share, so they wait for no bytes that other peers hold.
    pub small: usize,
    /// Bytes of large bodies of all peers.
    pub shared: usize,
    /// Bytes of large bodies of one peer.
    pub large_of_peer: usize,
    /// Bytes of small bodies of one peer.
    pub small_of_peer: usize,
}

/// A body, whole; its bytes count until this is dropped.
#[derive(Debug)]
pub struct Gathered {
    /// What was sent.
    pub bytes: Bytes,
    /// What it takes of what may be held.
    pub held: HeldBytes,
}

/// What a body takes of what may be held.
#[derive(Debug)]
pub struct HeldBytes {
    _own: OwnedSemaphorePermit,
    shared: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// It is longer than the longest.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// The connection failed, or what came is not HTTP.
    #[error("the body cannot be read: {0}")]
    Broken(E),
}

impl Connection {
    /// Reads a body whole. The length that it declares is taken of what its peer may have
    /// before it is read, so that a peer's bodies come one after the other. Of what all
    /// may have, each byte of a large body takes its share when it is there.
    pub async fn read<B: Body<Data = Bytes>>(
        &self,
        body: B,
    ) -> Result<Gathered, ReadError<B::Error>> {
        let (peers, allowance) = (self.peers(), self.allowance());
        let limits = &peers.limits.bodies;
        let longest = limits.longest;
        let length = body.size_hint().exact().map_or(Ok(longest), usize::try_from);
        let length = length.ok().filter(|length| *length <= longest);
        let length = length.ok_or(ReadError::TooLarge(longest))?;
        let is_small = length <= limits.small;
        let own = take(if is_small { &allowance.small } else { &allowance.large }, length).await;
        let shared = match is_small {
            true => None,
            false => Some(take(&peers.bytes, 0).await),
        };
        let mut held = HeldBytes { _own: own, shared };
        let (mut body, mut whole) = (std::pin::pin!(body), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() else { continue };
            if whole.len() + data.len() > longest {
                return Err(ReadError::TooLarge(longest));
            }
            if let Some(shared) = &mut held.shared {
                shared.merge(take(&peers.bytes, data.len()).await);
            }
            whole.extend_from_slice(&data);
        }
        Ok(Gathered { bytes: whole.freeze(), held })
    }
}
