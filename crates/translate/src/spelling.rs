//! The spellings under which clients may call a service.

use weft_api::{Key, Kind, kubernetes::Service};

use crate::hosts;

/// The spellings of one service.
pub(crate) struct Spellings {
    /// Understood in every namespace.
    pub(crate) everyone: Vec<String>,
    /// Understood in the service's own namespace only.
    pub(crate) neighbours: Vec<String>,
}

impl Spellings {
    /// The spellings that a client in `namespace` may use for a service of `own`.
    pub(crate) fn seen_from(self, namespace: &str, own: &str) -> Vec<String> {
        let mut all = self.everyone;
        if namespace == own {
            all.extend(self.neighbours);
        }
        all
    }
}

/// The spellings of `service`: its full name, also with the final dot, and its
/// beginnings; its addresses; what is below it when it is headless.
pub(crate) fn of(service: &Service) -> Spellings {
    let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
    let full = hosts::service(namespace, name);
    let mut everyone = vec![
        full.clone(),
        format!("{full}."),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}"),
    ];
    let mut neighbours = vec![name.clone()];
    if service.headless() {
        let below = everyone.iter().map(|name| format!("*.{name}")).collect::<Vec<_>>();
        everyone.extend(below);
        neighbours.push(format!("*.{name}"));
    }
    everyone.extend(service.addresses().map(|address| match address.is_ipv6() {
        true => format!("[{address}]"),
        false => address.to_string(),
    }));
    Spellings { everyone, neighbours }
}

/// The service that `host` may spell for a client in `namespace`, addresses and
/// names below a headless service aside.
pub(crate) fn service_key(host: &str, namespace: &str) -> Option<Key> {
    if let Some(key) = hosts::service_key(host.strip_suffix('.').unwrap_or(host)) {
        return Some(key);
    }
    let mut labels = host.split('.');
    let (name, own, svc) = (labels.next()?, labels.next(), labels.next());
    if name.is_empty()
        || own == Some("")
        || labels.next().is_some()
        || svc.is_some_and(|label| label != "svc")
    {
        return None;
    }
    Some(Key::new(Kind::Service, own.unwrap_or(namespace), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_the_service_it_spells() {
        let check = |host: &str, expected: &str| {
            let found =
                service_key(host, "shop").map(|key| format!("{}/{}", key.namespace, key.name));
            assert_eq!(found.unwrap_or_default(), expected, "{host}");
        };
        check("cart", "shop/cart");
        check("cart.bank", "bank/cart");
        check("cart.bank.svc", "bank/cart");
        check("cart.bank.svc.cluster.local", "bank/cart");
        check("cart.bank.svc.cluster.local.", "bank/cart");
        check("cart.", "");
        check("cart.bank.example", "");
        check("a.cart.bank.svc.cluster.local", "");
    }
}
