//! Who may see an object: `exportTo`.

use std::collections::BTreeSet;

use weft_api::metadata::EXPORT_TO;

/// How an object comes to be seen: what is meant for fewer clients comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// It is for clients of its own namespace, and the client is one.
    Private,
    /// It is exported to the client's namespace by name.
    Exported,
    /// It is exported to everybody.
    Public,
}

/// A list of `exportTo`, read once: a question costs the same however long the list is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exports {
    /// Namespaces, and `.` for the object's own; none for everybody.
    names: Option<BTreeSet<String>>,
}

impl Exports {
    /// The list `export_to`; `default` stands for an empty one.
    pub(crate) fn new(export_to: &[String], default: &[String]) -> Self {
        let list = if export_to.is_empty() { default } else { export_to };
        let is_public = list.is_empty() || list.iter().any(|entry| entry == "*");
        Self { names: (!is_public).then(|| list.iter().cloned().collect()) }
    }

    /// Whether it names everybody.
    pub(crate) fn is_public(&self) -> bool {
        self.names.is_none()
    }

    /// The first `count` namespaces that it names, but for `own`, that of its object.
    pub(crate) fn named(&self, own: &str, count: usize) -> Vec<String> {
        let named = self.names.iter().flatten();
        let others = named.filter(|name| *name != own && !matches!(name.as_str(), "." | "~"));
        others.take(count).cloned().collect()
    }

    /// Whether it names no namespace but that of its object, `own`.
    pub(crate) fn is_private(&self, own: &str) -> bool {
        self.names.as_ref().is_some_and(|names| names.iter().all(|name| name == "." || name == own))
    }

    /// Whether an object of namespace `own` is there for clients of namespace `client`.
    pub(crate) fn is_visible(&self, own: &str, client: &str) -> bool {
        self.reach(own, client).is_some()
    }

    /// How an object of namespace `own` comes to be seen by clients of namespace `client`,
    /// if it is.
    pub(crate) fn reach(&self, own: &str, client: &str) -> Option<Reach> {
        let Some(names) = &self.names else { return Some(Reach::Public) };
        match own == client && (names.contains(".") || names.contains(own)) {
            true => Some(Reach::Private),
            false => (client != "~" && names.contains(client)).then_some(Reach::Exported),
        }
    }
}

/// The list in a Service's annotation; empty without one.
pub(crate) fn of_service(service: &weft_api::kubernetes::Service) -> Vec<String> {
    let text = service.metadata.annotations.get(EXPORT_TO).map(String::as_str).unwrap_or_default();
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_seen_by_those_it_is_exported_to() {
        let check = |list: &[&str], default: &[&str], seen: bool| {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            let default: Vec<String> = default.iter().map(ToString::to_string).collect();
            let exports = Exports::new(&list, &default);
            assert_eq!(exports.is_visible("shop", "bank"), seen, "{list:?} {default:?}");
        };
        check(&[], &["*"], true);
        check(&[], &["."], false);
        check(&["*"], &["."], true);
        check(&["."], &["*"], false);
        check(&["bank"], &["."], true);
        check(&["~"], &["*"], false);
        check(&["other", "bank"], &["*"], true);
    }

    #[test]
    fn what_is_meant_for_fewer_comes_first() {
        let check = |list: &[&str], client: &str, expected: Option<Reach>| {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            let exports = Exports::new(&list, &[]);
            assert_eq!(exports.reach("shop", client), expected, "{list:?} {client}");
        };
        check(&["."], "shop", Some(Reach::Private));
        check(&["shop", "bank"], "shop", Some(Reach::Private));
        check(&["shop", "bank"], "bank", Some(Reach::Exported));
        check(&[".", "*"], "shop", Some(Reach::Public));
        check(&[], "bank", Some(Reach::Public));
        check(&["."], "bank", None);
        assert!(Reach::Private < Reach::Exported && Reach::Exported < Reach::Public);
    }
}
