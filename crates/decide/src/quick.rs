//! A hash for short keys, cheap enough for every request.
//!
//! Not for keys that strangers add: tables hold what the control plane says, and
//! what requests carry is only looked up.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds the hash of a map.
pub(crate) type Quick = BuildHasherDefault<Folded>;

/// Multiplies eight bytes at a time into 128 bits and folds the halves.
#[derive(Default)]
pub(crate) struct Folded(u64);

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ ODD) * u128::from(word | ODD);
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ self.0.rotate_left(23);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.fold(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.0 ^ ODD) * u128::from(ODD);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, hash::BuildHasher};

    use super::*;

    #[test]
    fn names_that_differ_little_are_spread_over_all_bits() {
        let hashes: Vec<u64> = (0..10_000)
            .map(|n| Quick::default().hash_one(format!("outbound|80||h{n}.default.svc")))
            .collect();
        assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), hashes.len());
        for shift in [0, 16, 32, 56] {
            let mut counts = [0_u32; 256];
            for hash in &hashes {
                counts[(hash >> shift) as usize % 256] += 1;
            }
            assert!(counts.iter().all(|count| (10..90).contains(count)), "bits from {shift}");
        }
    }
}
