//! Who may see an object: `exportTo`.

use weft_api::metadata::EXPORT_TO;

/// Whether an object of namespace `own` with the list `export_to` is there for
/// clients of namespace `client`; `default` stands for an empty list.
pub(crate) fn visible(export_to: &[String], default: &[String], own: &str, client: &str) -> bool {
    reach(export_to, default, own, client).is_some()
}

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

/// How an object of namespace `own` with the list `export_to` comes to be seen by
/// clients of namespace `client`, if it is; `default` stands for an empty list.
pub(crate) fn reach(
    export_to: &[String],
    default: &[String],
    own: &str,
    client: &str,
) -> Option<Reach> {
    let list = if export_to.is_empty() { default } else { export_to };
    let has = |wanted: &str| list.iter().any(|entry| entry == wanted);
    if list.is_empty() || has("*") {
        return Some(Reach::Public);
    }
    match own == client && (has(".") || has(own)) {
        true => Some(Reach::Private),
        false => (client != "~" && has(client)).then_some(Reach::Exported),
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
            assert_eq!(visible(&list, &default, "shop", "bank"), seen, "{list:?} {default:?}");
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
            assert_eq!(reach(&list, &[], "shop", client), expected, "{list:?} {client}");
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
