//! Destinations that lead nowhere.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
};

use weft_api::{Diagnostic, Key, virtual_service::Destination};

use crate::{
    clusters::{backends, destination_rules},
    diagnose::unselected,
    graph::view::View,
    model::registry::Definition,
};

/// How many ports a message names.
const MOST_NAMED: usize = 5;

/// The ports that a destination without one may stand for.
#[derive(Default)]
pub(super) struct Dialled {
    /// None are known when empty.
    ports: BTreeSet<u16>,
    /// Whether the host that an object defines has one of them: many destinations may name it.
    known: RefCell<HashMap<Key, bool>>,
}

impl Dialled {
    pub(super) fn new(ports: BTreeSet<u16>) -> Self {
        Self { ports, known: RefCell::default() }
    }

    /// Whether the host has none of the ports.
    fn misses(&self, definition: &Definition) -> bool {
        let has = || {
            let mut numbers = definition.ports.iter().map(|port| port.number);
            match self.ports.len() < definition.ports.len() {
                true => self.ports.iter().any(|port| definition.port(*port).is_some()),
                false => numbers.any(|number| self.ports.contains(&number)),
            }
        };
        let mut known = self.known.borrow_mut();
        !self.ports.is_empty() && !*known.entry(definition.owner.clone()).or_insert_with(has)
    }
}

/// The first ports of a host, and how many more there are.
fn named_ports(definition: &Definition) -> String {
    let first = definition.ports.iter().take(MOST_NAMED).map(|port| port.number.to_string());
    let first = first.collect::<Vec<_>>().join(", ");
    match definition.ports.len().saturating_sub(MOST_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// What is sent to a destination.
#[derive(Clone, Copy)]
pub(super) enum Sent {
    Requests,
    Copies,
}

impl Sent {
    /// What becomes of it where a destination leads nowhere.
    fn lost(self) -> &'static str {
        match self {
            Self::Requests => "requests sent there get 503",
            Self::Copies => "no copies are sent",
        }
    }
}

/// What is wrong with `destination` of what is `sent`, which stands at `field` of `key`.
pub(super) fn check(
    key: &Key,
    field: &str,
    (sent, destination): (Sent, &Destination),
    dialled: &Dialled,
    view: &View<'_>,
) -> Option<Diagnostic> {
    let host =
        backends::aliased(&view.installation().resolve(&destination.host, &key.namespace), view);
    let group = unselected(&key.namespace);
    let mesh = view.mesh();
    let number = destination.port.as_ref().map(|port| port.number).filter(|number| *number != 0);
    let Some(definition) = backends::seen(&host, number, &group, &mesh, view) else {
        let message = missing((sent, destination), &host, view);
        return Some(Diagnostic::error(key, format!("{field}.host"), message));
    };
    let named = &definition.owner;
    match number {
        Some(number) if definition.port(number).is_none() => {
            let message = format!(
                "{named} has no port {number}, so {}; it has {}",
                sent.lost(),
                named_ports(&definition)
            );
            return Some(Diagnostic::error(key, format!("{field}.port.number"), message));
        }
        None if dialled.misses(&definition) => {
            let message = format!(
                "names no port, and {named} has none of the ports that clients dial, so {}; name \
                 one of {}",
                match sent {
                    Sent::Requests => "requests in the mesh get 503",
                    Sent::Copies => "no copies are sent in the mesh",
                },
                named_ports(&definition)
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
    let lost = sent.lost();
    let message = match policy.rules.first() {
        None => format!("no DestinationRule for {host} defines `{subset}`, so {lost}"),
        Some(rule) => format!("{} defines no subset `{subset}`, so {lost}", rule.key),
    };
    Some(Diagnostic::error(key, format!("{field}.subset"), message))
}

fn missing((sent, destination): (Sent, &Destination), host: &str, view: &View<'_>) -> String {
    let lost = sent.lost();
    if let Some(definition) = view.definitions(host).first() {
        return format!(
            "{} is not exported to this namespace, so {lost} from here",
            definition.owner
        );
    }
    match view.installation().service_key(host) {
        Some(named) => format!("there is no {named}, so {lost}"),
        None => format!(
            "`{}` names no service, so {lost}; write a service's name or NAME.NAMESPACE.{}",
            destination.host,
            view.installation().services()
        ),
    }
}
