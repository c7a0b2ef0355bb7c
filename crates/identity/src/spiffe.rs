//! SPIFFE names of workloads: `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
//!
//! A name is three fields, compared one by one; it is never a pattern.

use std::{fmt, str::FromStr};

use crate::Account;

/// The name of a workload.
///
/// Invariant: no field is empty; the domain has the characters of a host name
/// in lower case, the others those of object names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    domain: String,
    account: Account,
}

/// A text that names no workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT")]
pub struct NotASpiffeId(pub String);

impl SpiffeId {
    /// The name of `account` in `domain`.
    pub fn new(domain: &str, account: Account) -> Result<Self, NotASpiffeId> {
        let one = |field: &str, extra: &[u8]| {
            let fits = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || extra.contains(&byte)
            };
            !field.is_empty() && field.bytes().all(fits)
        };
        let fits =
            one(domain, b".-_") && one(&account.namespace, b"-") && one(&account.name, b".-");
        let id = Self { domain: domain.to_owned(), account };
        match fits {
            true => Ok(id),
            false => Err(NotASpiffeId(id.to_string())),
        }
    }

    /// The trust domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The service account.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { namespace, name } = &self.account;
        write!(f, "spiffe://{}/ns/{namespace}/sa/{name}", self.domain)
    }
}

impl FromStr for SpiffeId {
    type Err = NotASpiffeId;

    fn from_str(text: &str) -> Result<Self, NotASpiffeId> {
        let error = || NotASpiffeId(text.to_owned());
        let fields: Vec<&str> =
            text.strip_prefix("spiffe://").ok_or_else(error)?.split('/').collect();
        let [domain, "ns", namespace, "sa", name] = fields[..] else { return Err(error()) };
        let account = Account { namespace: namespace.to_owned(), name: name.to_owned() };
        Self::new(domain, account).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, &str, &str)>) {
        let id: Option<SpiffeId> = text.parse().ok();
        let fields = id
            .as_ref()
            .map(|id| (id.domain(), id.account().namespace.as_str(), id.account().name.as_str()));
        assert_eq!(fields, expected, "{text}");
        if let Some(id) = &id {
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn five_segments_are_a_name() {
        check(
            "spiffe://cluster.local/ns/shop/sa/cart.v1",
            Some(("cluster.local", "shop", "cart.v1")),
        );
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "spiffe://",
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/shop/sa/",
            "spiffe:///ns/shop/sa/cart",
            "spiffe://cluster.local/ns//sa/cart",
            "spiffe://cluster.local/ns/shop/sa/cart/",
            "spiffe://cluster.local/ns/shop/sa/cart/more",
            "spiffe://cluster.local/sa/cart/ns/shop",
            "SPIFFE://cluster.local/ns/shop/sa/cart",
            "spiffe://Cluster.local/ns/shop/sa/cart",
            "spiffe://cluster.local/ns/sh.op/sa/cart",
            "spiffe://cluster.local/ns/shop/sa/*",
            "spiffe://cluster.local/ns/shop/sa/cart\0",
            "spiffe://cluster.local/ns/shop/sa/c%61rt",
            "https://cluster.local/ns/shop/sa/cart",
        ] {
            check(text, None);
        }
    }
}
