//! Who may see an object: `exportTo`.

/// Whether an object of namespace `own` with the list `export_to` is there for
/// clients of namespace `client`; `default` stands for an empty list.
pub(crate) fn visible(export_to: &[String], default: &[String], own: &str, client: &str) -> bool {
    let list = if export_to.is_empty() { default } else { export_to };
    list.is_empty()
        || list.iter().any(|entry| match entry.as_str() {
            "*" => true,
            "." => own == client,
            "~" => false,
            namespace => namespace == client,
        })
}

/// The annotation by which a Service says who sees it.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

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
}
