//! What a virtual service says to sidecars on a port: made once, and shared by all its hosts.

use std::sync::Arc;

use weft_api::Key;
use weft_config::{Resource, RuleList};

use crate::{
    Group,
    closure::Closure,
    graph::view::View,
    routes::rules::{self, Rules, Site},
};

/// The rules of a virtual service on a port, as the clients of a group get them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SharedRules {
    /// The list's name; none where nothing in the virtual service is for there.
    pub(crate) list: Option<String>,
    /// Whether every client has rules in it.
    pub(crate) is_for_everyone: bool,
    /// The list, with all that its rules need.
    pub(crate) closure: Closure,
}

/// What the virtual service called `key` says on `port`.
pub(crate) fn of_sidecars(
    key: &Key,
    group: &Group,
    port: u16,
    view: &View<'_>,
) -> Arc<SharedRules> {
    let mut shared = SharedRules::default();
    let Some(service) = view.virtual_service(key) else { return Arc::new(shared) };
    let site = Site { group, gateway: None, port };
    let Rules { mut rules, backends, .. } = rules::http(service, &site, &view.mesh(), view);
    if rules.is_empty() {
        return Arc::new(shared);
    }
    shared.is_for_everyone = rules::serve_everyone(&rules);
    if !shared.is_for_everyone {
        rules.extend(rules::endings(&rules));
    }
    shared.closure.add_backends(&backends, &site, view);
    let name = format!("{port}/{}/{}", key.namespace, key.name);
    shared.list = Some(name.clone());
    shared.closure.add(view.pool().piece(Resource::RuleList(RuleList { name, rules })));
    Arc::new(shared)
}
