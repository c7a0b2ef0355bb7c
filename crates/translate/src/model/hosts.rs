//! Host names as users write them, and the full names they stand for.

mod index;
mod set;

use std::net::IpAddr;

use weft_api::Key;

use crate::Installation;

pub(crate) use index::HostIndex;
pub(crate) use set::HostSet;

impl Installation {
    /// The domain of services, as in `svc.cluster.local`.
    pub(crate) fn services(&self) -> String {
        format!("svc.{}", self.domain)
    }

    /// The full name of a service.
    pub(crate) fn service(&self, namespace: &str, name: &str) -> String {
        format!("{name}.{namespace}.svc.{}", self.domain)
    }

    /// The service whose full name is `host`.
    pub(crate) fn service_key(&self, host: &str) -> Option<Key> {
        let rest = host.strip_suffix(self.domain.as_str())?.strip_suffix(".svc.")?;
        let (name, namespace) = rest.split_once('.')?;
        let fits = !name.is_empty()
            && !host.contains('*')
            && !namespace.is_empty()
            && !namespace.contains('.');
        fits.then(|| Key::new(weft_api::Kind::Service, namespace, name))
    }

    /// What `host`, written in an object of `namespace`, names: a name without dots is a
    /// service beside the object, everything else is meant as it is.
    pub(crate) fn resolve(&self, host: &str, namespace: &str) -> String {
        let host = host.to_ascii_lowercase();
        let short = !host.is_empty()
            && !host.contains(['.', '*', ':', '['])
            && host.parse::<IpAddr>().is_err();
        match short {
            true => self.service(namespace, &host),
            false => host,
        }
    }
}

/// The namespace and name of a gateway written in an object of `namespace`:
/// `name`, `./name`, `namespace/name`, or `name.namespace` and more, as before Istio
/// 1.1.
pub(crate) fn gateway<'t>(text: &'t str, namespace: &'t str) -> (&'t str, &'t str) {
    if let Some((written, name)) = text.split_once('/') {
        let namespace = if written == "." { namespace } else { written };
        return (namespace, name);
    }
    let mut parts = text.split('.');
    let name = parts.next().unwrap_or_default();
    (parts.next().unwrap_or(namespace), name)
}

/// The patterns that may cover `host`, most specific first: `*.b.c`, `*.c`, `*`
/// for `a.b.c`.
pub(crate) fn patterns(host: &str) -> impl Iterator<Item = String> {
    let whole = host.strip_prefix('*').unwrap_or(host);
    // A pattern does not cover itself.
    let from = usize::from(host.len() != whole.len());
    let dots = whole.match_indices('.').map(|(at, _)| at).filter(move |at| *at >= from);
    dots.map(move |at| format!("*{}", &whole[at..])).chain((host != "*").then(|| "*".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_without_dots_are_completed() {
        let resolve =
            |host: &str, namespace: &str| Installation::default().resolve(host, namespace);
        assert_eq!(resolve("hello", "shop"), "hello.shop.svc.cluster.local");
        assert_eq!(resolve("hello.bank", "shop"), "hello.bank");
        assert_eq!(resolve("Example.COM", "shop"), "example.com");
        assert_eq!(resolve("*", "shop"), "*");
        assert_eq!(resolve("10.0.0.1", "shop"), "10.0.0.1");
    }

    #[test]
    fn gateways_are_found_under_old_and_new_spellings() {
        let check = |text: &str, namespace: &str, name: &str| {
            assert_eq!(gateway(text, "shop"), (namespace, name));
        };
        check("edge", "shop", "edge");
        check("./edge", "shop", "edge");
        check("istio-system/edge", "istio-system", "edge");
        check("edge.bank.svc.cluster.local", "bank", "edge");
    }

    #[test]
    fn patterns_go_from_the_most_specific_to_the_star() {
        let check = |host: &str, expected: &[&str]| {
            assert_eq!(patterns(host).collect::<Vec<_>>(), expected, "{host}");
        };
        check("a.b.c", &["*.b.c", "*.c", "*"]);
        check("*.b.c", &["*.c", "*"]);
        check("a", &["*"]);
        check("*", &[]);
    }
}
