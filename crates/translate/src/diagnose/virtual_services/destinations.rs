//! Destinations that lead nowhere.

use std::collections::BTreeSet;

use weft_api::{Diagnostic, Key, virtual_service::Destination};

use crate::{
    clusters::{backends, destination_rules},
    diagnose::unselected,
    graph::view::View,
};

/// What is wrong with `destination`, which stands at `field` of `key`; `dialled`
/// are the ports that one without a port may stand for, if they are known.
pub(super) fn check(
    key: &Key,
    field: &str,
    destination: &Destination,
    dialled: &BTreeSet<u16>,
    view: &View<'_>,
) -> Option<Diagnostic> {
    let host =
        backends::aliased(&view.installation().resolve(&destination.host, &key.namespace), view);
    let group = unselected(&key.namespace);
    let mesh = view.mesh();
    let Some(definition) = backends::seen(&host, &group, &mesh, view) else {
        let message = missing(destination, &host, view);
        return Some(Diagnostic::error(key, format!("{field}.host"), message));
    };
    let named = &definition.owner;
    let ports: Vec<u16> = definition.ports.iter().map(|port| port.number).collect();
    let known = || ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match destination.port.as_ref().map(|port| port.number).filter(|number| *number != 0) {
        Some(number) if !ports.contains(&number) => {
            let message = format!(
                "{named} has no port {number}, so requests sent there get 503; it has {}",
                known()
            );
            return Some(Diagnostic::error(key, format!("{field}.port.number"), message));
        }
        None if !dialled.is_empty() && !dialled.iter().any(|port| ports.contains(port)) => {
            let message = format!(
                "names no port, and {named} has none of the ports that clients dial, so \
                 requests in the mesh get 503; name one of {}",
                known()
            );
            return Some(Diagnostic::error(key, field.to_owned(), message));
        }
        _ => {}
    }
    let subset = destination.subset.as_deref().filter(|subset| !subset.is_empty())?;
    let policy = destination_rules::policy(&host, &named.namespace, &group, &mesh, view);
    if policy.definer(subset).is_some() {
        return None;
    }
    let message = match policy.rules.first() {
        None => format!(
            "no DestinationRule for {host} defines `{subset}`, so requests sent there get 503"
        ),
        Some(rule) => {
            format!("{} defines no subset `{subset}`, so requests sent there get 503", rule.key)
        }
    };
    Some(Diagnostic::error(key, format!("{field}.subset"), message))
}

fn missing(destination: &Destination, host: &str, view: &View<'_>) -> String {
    if let Some(definition) = view.definitions(host).first() {
        return format!(
            "{} is not exported to this namespace, so requests sent there get 503 from here",
            definition.owner
        );
    }
    match view.installation().service_key(host) {
        Some(named) => format!("there is no {named}, so requests sent there get 503"),
        None => format!(
            "`{}` names no service, so requests sent there get 503; write a service's name or \
             NAME.NAMESPACE.{}",
            destination.host,
            view.installation().services()
        ),
    }
}
