//! Netlink attributes: length, type, value, padded to four bytes.

/// Marks an attribute whose value is a list of attributes.
const NESTED: u16 = 0x8000;

/// A growing list of attributes.
#[derive(Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn raw(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).expect("attributes are small by construction");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.raw(kind, &bytes)
    }

    /// Numbers are in network order throughout nftables.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.raw(kind, &value.to_be_bytes())
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) -> &mut Self {
        let mut nested = Attributes::default();
        fill(&mut nested);
        self.raw(kind | NESTED, &nested.0)
    }
}
