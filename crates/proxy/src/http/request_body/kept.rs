//! What is kept of a request's body.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::io::buffer_limit::{Buffers, Held};

/// A piece that a reader gets at most.
const PIECE: usize = 64 * 1024;

/// Bytes that some reader has not read yet, or that are kept for another try.
#[derive(Debug)]
pub(super) struct Kept {
    /// A copy: what came may be a small piece of a large buffer, and would keep all of it.
    bytes: BytesMut,
    pub(super) held: Held,
    /// How many bytes of the body came before these.
    pub(super) first: u64,
}

impl Kept {
    pub(super) fn new(buffers: &Arc<Buffers>) -> Self {
        Self { bytes: BytesMut::new(), held: Held::new(buffers), first: 0 }
    }

    /// What is kept from byte `from` of the body on, if anything is.
    pub(super) fn get(&self, from: u64) -> Option<Bytes> {
        let skipped = usize::try_from(from.checked_sub(self.first)?).ok()?;
        let rest = self.bytes.get(skipped..)?;
        let rest = rest.get(..PIECE).unwrap_or(rest);
        (!rest.is_empty()).then(|| Bytes::copy_from_slice(rest))
    }

    /// How many bytes of the body came up to the last of these.
    pub(super) fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64
    }

    pub(super) fn push(&mut self, data: &Bytes) {
        self.bytes.extend_from_slice(data);
        self.held.set(self.bytes.len());
    }

    /// The bytes before `next` are not kept.
    pub(super) fn skip(&mut self, next: u64) {
        self.bytes = BytesMut::new();
        self.held.set(0);
        self.first = next;
    }

    pub(super) fn drop_before(&mut self, next: u64) {
        if next >= self.end() {
            return self.skip(self.end());
        }
        let count = next.saturating_sub(self.first);
        // It is less than there is.
        self.bytes.advance(usize::try_from(count).unwrap_or_default());
        self.held.set(self.bytes.len());
        self.first += count;
    }
}
