//! 64-bit fingerprints of names and addresses.

use std::{
    fmt,
    hash::Hasher,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use twox_hash::XxHash64;

/// The fingerprint of a host and port, or of an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

/// No client dials this port: the host is known on every port, or on so many that the
/// control plane decides for each that is asked for.
pub const ANY_PORT: u16 = 0;

impl Fingerprint {
    /// All of it.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Of `host`, in lower case and without a port, on `port`.
    pub fn of_host(host: &str, port: u16) -> Self {
        let mut hasher = XxHash64::with_seed(0);
        hasher.write(host.as_bytes());
        hasher.write(&[0]);
        hasher.write(&port.to_be_bytes());
        Self(hasher.finish())
    }

    /// Of the wildcard that is `*` followed by `suffix`, on `port`.
    pub fn of_wildcard(suffix: &str, port: u16) -> Self {
        let mut hasher = XxHash64::with_seed(0);
        hasher.write(b"*");
        hasher.write(suffix.as_bytes());
        hasher.write(&[0]);
        hasher.write(&port.to_be_bytes());
        Self(hasher.finish())
    }

    /// Of the range of addresses that have their first `bits` bits in common with `ip`, on `port`.
    pub fn of_range(ip: IpAddr, bits: u8, port: u16) -> Self {
        let mut hasher = XxHash64::with_seed(2);
        match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
                hasher.write(&(u32::from(ip) & mask).to_be_bytes());
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
                hasher.write(&(u128::from(ip) & mask).to_be_bytes());
            }
        }
        hasher.write(&[bits]);
        hasher.write(&port.to_be_bytes());
        Self(hasher.finish())
    }

    /// Of an address and port.
    pub fn of_address(address: SocketAddr) -> Self {
        let mut hasher = XxHash64::with_seed(1);
        match address.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write(&address.port().to_be_bytes());
        Self(hasher.finish())
    }
}

/// A set of fingerprints: 8 bytes each, base64 of the sorted little-endian
/// numbers in text. Clones share them.
///
/// Invariant: sorted, without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints(Arc<Vec<u64>>);

impl Fingerprints {
    fn sorted(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        numbers.dedup();
        numbers.shrink_to_fit();
        Self(Arc::new(numbers))
    }

    /// Whether `fingerprint` is in the set; log₂ n steps.
    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.0.binary_search(&fingerprint.0).is_ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, sorted.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Fingerprint> for Fingerprints {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(many: I) -> Self {
        Self::sorted(many.into_iter().map(|one| one.0).collect())
    }
}

impl Serialize for Fingerprints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|number| number.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Fingerprints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Reads the text piece by piece: a directory of thousands of hosts must not
/// cost its size several times over while it is read.
struct Text;

/// Characters that are decoded at once: whole groups of four, whole fingerprints.
const PIECE: usize = 4096;

impl Visitor<'_> for Text {
    type Value = Fingerprints;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64 of fingerprints of 8 bytes each")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Fingerprints, E> {
        let mut numbers = Vec::with_capacity(text.len() / 4 * 3 / 8);
        let mut bytes = [0; PIECE / 4 * 3];
        for piece in text.as_bytes().chunks(PIECE) {
            let length = STANDARD.decode_slice(piece, &mut bytes).map_err(E::custom)?;
            let (whole, rest) = bytes[..length].as_chunks::<8>();
            if !rest.is_empty() {
                return Err(E::invalid_length(text.len(), &self));
            }
            numbers.extend(whole.iter().map(|number| u64::from_le_bytes(*number)));
        }
        Ok(Fingerprints::sorted(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_survives_its_text() {
        let many = (0..1000).map(|port| Fingerprint::of_host("hello", port));
        let set: Fingerprints = many.collect();
        let text = serde_json::to_string(&set).unwrap();
        let again: Fingerprints = serde_json::from_str(&text).unwrap();
        assert_eq!(again, set);
        assert_eq!(again.len(), 1000);
        assert!(again.contains(Fingerprint::of_host("hello", 7)));
        assert!(!again.contains(Fingerprint::of_host("hello", 1000)));
    }

    #[test]
    fn half_a_fingerprint_is_refused() {
        assert!(serde_json::from_str::<Fingerprints>("\"AAAA\"").is_err());
        assert!(serde_json::from_str::<Fingerprints>("\"?\"").is_err());
    }

    #[test]
    fn a_host_that_spells_an_address_is_not_the_address() {
        let spelled = Fingerprint::of_host("10.0.0.1", 80);
        assert_ne!(spelled, Fingerprint::of_address("10.0.0.1:80".parse().unwrap()));
    }
}
