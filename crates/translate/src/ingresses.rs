//! Ingresses, told as a Gateway and VirtualServices.
//!
//! All Ingresses of a namespace that name a host become one VirtualService for that host, at a
//! Gateway of every host on port 80 of the pods with `istio: ingressgateway`. Longer paths come
//! first, whichever Ingress they are in. Between namespaces the older one comes first, as with
//! VirtualServices, and what takes every path comes last.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use weft_api::{
    Key, Kind, Metadata, Object,
    gateway::{Gateway, GatewaySpec, Port, Server},
    ingress::{self, Ingress, IngressBackend, IngressPath},
    virtual_service::{
        Destination, HttpDestination, HttpMatch, HttpRoute, PortSelector, StringMatch,
        VirtualService, VirtualServiceSpec, Written,
    },
};
use weft_config::Host;

use crate::{Installation, model::age::Age};

/// What names of objects that are made here end in; users cannot write it.
const MADE: &str = "~ingress";
/// The label of the pods that serve Ingresses.
pub(crate) const SELECTOR: (&str, &str) = ("istio", "ingressgateway");
/// Paths of one host that the Ingresses of a namespace may have.
pub(crate) const PATHS: usize = 6_000;
/// Hosts that an Ingress may have: each becomes an object.
pub(crate) const HOSTS: usize = 1_000;
/// The port that they are served on.
pub(crate) const PORT: u16 = 80;

/// Changes of objects: none for those that are gone.
type Changes = Vec<(Key, Option<Object>)>;

/// All Ingresses, and what is made of them.
#[derive(Default)]
pub(crate) struct Ingresses {
    all: BTreeMap<Key, Ingress>,
    /// The controllers of IngressClasses.
    controllers: BTreeMap<String, String>,
    /// The paths of Ingresses by namespace and host.
    by_host: BTreeMap<(String, String), BTreeMap<Key, Places>>,
    by_class: BTreeMap<String, BTreeSet<Key>>,
    /// The namespaces and hosts that have a VirtualService.
    made: BTreeSet<(String, String)>,
}

/// The paths of an Ingress for a host: the numbers of rules and of paths in them.
type Places = Vec<(usize, usize)>;

/// Whose an Ingress is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class<'i> {
    /// The mesh's gateway serves it.
    Own,
    /// Another controller's.
    Other(&'i str),
    /// That of an IngressClass that is not there.
    Missing(&'i str),
    /// Nobody's.
    Nameless,
}

/// Whose `ingress` is; `controller` gives that of an IngressClass.
pub(crate) fn class<'i>(
    ingress: &'i Ingress,
    controller: impl FnOnce(&str) -> Option<String>,
) -> Class<'i> {
    if let Some(class) = ingress.metadata.annotations.get(ingress::CLASS_ANNOTATION) {
        return if class == ingress::CLASS { Class::Own } else { Class::Other(class) };
    }
    let Some(name) = &ingress.spec.ingress_class_name else { return Class::Nameless };
    match controller(name).as_deref() {
        Some(ingress::CONTROLLER) => Class::Own,
        Some(_) => Class::Other(name),
        None => Class::Missing(name),
    }
}

/// Whether the object called `key` is made here.
pub(crate) fn is_made(key: &Key) -> bool {
    key.name.ends_with(MADE)
}

/// The VirtualService that is made of the Ingresses of `namespace` for `host`.
pub(crate) fn made(namespace: &str, host: &str) -> Key {
    Key::new(Kind::VirtualService, namespace, format!("{host}{MADE}"))
}

/// The hosts of `ingress` that can be used, in lower case, with the places of their paths; none
/// where there are too many.
pub(crate) fn hosts(ingress: &Ingress) -> BTreeMap<String, Places> {
    let mut found: BTreeMap<String, Places> = BTreeMap::new();
    if ingress.spec.default_backend.is_some() {
        found.entry("*".to_owned()).or_default();
    }
    for (at, rule) in ingress.spec.rules.iter().enumerate() {
        let Some(http) = &rule.http else { continue };
        let host = rule.host.as_deref().filter(|host| !host.is_empty()).unwrap_or("*");
        if Host::parse(host).is_ok() {
            let places = found.entry(host.to_ascii_lowercase()).or_default();
            places.extend((0..http.paths.len()).map(|nth| (at, nth)));
        }
    }
    if found.len() > HOSTS {
        found.clear();
    }
    found
}

/// Whether `ingress` has so many hosts that none is served.
pub(crate) fn has_too_many_hosts(ingress: &Ingress) -> bool {
    let rules = ingress.spec.rules.iter().filter_map(|rule| rule.host.as_deref());
    rules.collect::<BTreeSet<_>>().len() > HOSTS
}

impl Ingresses {
    /// Applies `changes`, and adds to them what they change of what is made here.
    pub(crate) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Key, Option<Object>)>,
        installation: &Installation,
    ) -> Changes {
        let mut changes: Changes = changes.into_iter().collect();
        let mut touched = BTreeSet::new();
        for (key, object) in &changes {
            match (key.kind, object) {
                (Kind::Ingress, Some(Object::Ingress(new))) => {
                    self.set(key, Some(new), &mut touched);
                }
                (Kind::Ingress, _) => self.set(key, None, &mut touched),
                (Kind::IngressClass, object) => {
                    match object {
                        Some(Object::IngressClass(class)) => {
                            let controller = class.spec.controller.clone();
                            self.controllers.insert(key.name.clone(), controller);
                        }
                        _ => drop(self.controllers.remove(&key.name)),
                    }
                    let concerned = self.by_class.get(&key.name).into_iter().flatten();
                    let concerned = concerned.filter_map(|key| self.all.get(key));
                    touched.extend(concerned.flat_map(places));
                }
                _ => {}
            }
        }
        if touched.is_empty() {
            return changes;
        }
        let was_empty = self.made.is_empty();
        for place in touched {
            let (namespace, host) = &place;
            let service = self.virtual_service(&place, installation);
            let key = made(namespace, host);
            match service.is_some() {
                true => self.made.insert(place),
                false => self.made.remove(&place),
            };
            changes.push((key, service.map(Object::VirtualService)));
        }
        if was_empty != self.made.is_empty() {
            let object = Object::Gateway(gateway(installation));
            changes.push((object.key(), was_empty.then_some(object)));
        }
        changes
    }

    /// Sets or removes the Ingress called `key`; adds what that touches to `touched`.
    fn set(&mut self, key: &Key, new: Option<&Ingress>, touched: &mut BTreeSet<(String, String)>) {
        if self.all.get(key) == new {
            return;
        }
        let old = match new {
            Some(new) => self.all.insert(key.clone(), new.clone()),
            None => self.all.remove(key),
        };
        for place in old.iter().flat_map(places) {
            if let Some(keys) = self.by_host.get_mut(&place) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_host.remove(&place);
                }
            }
            touched.insert(place);
        }
        if let Some(name) = old.as_ref().and_then(|old| old.spec.ingress_class_name.as_ref())
            && let Some(keys) = self.by_class.get_mut(name)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_class.remove(name);
            }
        }
        let Some(new) = new else { return };
        for (host, paths) in hosts(new) {
            let place = (key.namespace.clone(), host);
            self.by_host.entry(place.clone()).or_default().insert(key.clone(), paths);
            touched.insert(place);
        }
        if let Some(name) = &new.spec.ingress_class_name {
            self.by_class.entry(name.clone()).or_default().insert(key.clone());
        }
    }

    /// What the Ingresses of a namespace say of a host, if they do.
    fn virtual_service(
        &self,
        place: &(String, String),
        installation: &Installation,
    ) -> Option<VirtualService> {
        let (namespace, host) = place;
        let controller = |name: &str| self.controllers.get(name).cloned();
        let mut own: Vec<(&Ingress, &Places)> = self
            .by_host
            .get(place)?
            .iter()
            .filter_map(|(key, paths)| Some((self.all.get(key)?, paths)))
            .filter(|(ingress, _)| class(ingress, controller) == Class::Own)
            .collect();
        own.sort_by_cached_key(|(ingress, _)| Age::of(&ingress.metadata));
        let (oldest, _) = own.first()?;
        let metadata = Metadata {
            name: made(namespace, host).name,
            namespace: namespace.clone(),
            creation_timestamp: oldest.metadata.creation_timestamp.clone(),
            ..Metadata::default()
        };
        let (served_by, _) = gateway_name(installation);
        let mut spec = VirtualServiceSpec {
            hosts: vec![host.clone()],
            gateways: vec![format!("{served_by}/{MADE}")],
            export_to: vec!["*".to_owned()],
            ..VirtualServiceSpec::default()
        };
        let count: usize = own.iter().map(|(ingress, paths)| count(ingress, paths)).sum();
        if count <= PATHS {
            spec.http = rules(&own, installation);
        } else {
            // Any part of them would send requests where another part says that they do not go.
            let object = Key::new(Kind::Ingress, namespace, &oldest.metadata.name);
            let written = Some(Written { object, field: "rules".to_owned() });
            spec.http = vec![HttpRoute { written, ..HttpRoute::default() }];
            spec.closed = vec!["rules".to_owned()];
        }
        Some(VirtualService { metadata, spec })
    }
}

/// Namespace and hosts of `ingress`.
fn places(ingress: &Ingress) -> impl Iterator<Item = (String, String)> {
    let namespace = &ingress.metadata.namespace;
    hosts(ingress).into_keys().map(|host| (namespace.clone(), host))
}

/// How many rules `ingress` has for a host, of which these are the `paths`.
fn count(ingress: &Ingress, paths: &Places) -> usize {
    paths.len() + usize::from(ingress.spec.default_backend.is_some())
}

/// Namespace and name of the Gateway that Ingresses are served at.
pub(crate) fn gateway_name(installation: &Installation) -> (&str, &'static str) {
    (installation.namespace.as_str(), MADE)
}

/// The Gateway that Ingresses are served at.
fn gateway(installation: &Installation) -> Gateway {
    let metadata = Metadata {
        name: MADE.to_owned(),
        namespace: installation.namespace.clone(),
        ..Metadata::default()
    };
    let port = Port {
        number: PORT,
        protocol: "HTTP".to_owned(),
        name: "http".to_owned(),
        target_port: None,
    };
    let server = Server { port, hosts: vec!["*/*".to_owned()], ..Server::default() };
    let selector = BTreeMap::from([(SELECTOR.0.to_owned(), SELECTOR.1.to_owned())]);
    Gateway { metadata, spec: GatewaySpec { selector, servers: vec![server] } }
}

/// What the Ingresses `own` say of a host, of which these are the paths: longer ones first, and of
/// equally long ones those that match exactly. Default backends take what is left.
fn rules(own: &[(&Ingress, &Places)], installation: &Installation) -> Vec<HttpRoute> {
    let mut rules = Vec::new();
    for (ingress, paths) in own {
        let written = paths.iter().filter_map(|(at, nth)| {
            let http = ingress.spec.rules.get(*at)?.http.as_ref()?;
            Some((at, nth, http.paths.get(*nth)?))
        });
        for (at, nth, path) in written {
            let condition = PathCondition::of(path);
            let field = format!("rules[{at}].http.paths[{nth}]");
            let matches = condition.matches();
            let rule = rule(ingress, matches, &path.backend, field, installation);
            rules.push((condition.order(), rule));
        }
    }
    rules.sort_by_key(|(order, _)| *order);
    let mut rules: Vec<HttpRoute> = rules.into_iter().map(|(_, rule)| rule).collect();
    rules.extend(own.iter().filter_map(|(ingress, _)| {
        let backend = ingress.spec.default_backend.as_ref()?;
        let field = "defaultBackend".to_owned();
        Some(rule(ingress, Vec::new(), backend, field, installation))
    }));
    rules
}

/// The rule of one path; without a destination where its backend cannot be used.
fn rule(
    ingress: &Ingress,
    matches: Vec<HttpMatch>,
    backend: &IngressBackend,
    field: String,
    installation: &Installation,
) -> HttpRoute {
    let own = &ingress.metadata;
    let usable = backend.service.as_ref().filter(|service| {
        let port = &service.port;
        !service.name.is_empty() && (port.number != 0 || !port.name.is_empty())
    });
    let route = usable.filter(|_| backend.resource.is_none()).map(|service| {
        let port = PortSelector {
            number: service.port.number,
            name: Some(service.port.name.clone()).filter(|_| service.port.number == 0),
        };
        HttpDestination {
            destination: Destination {
                host: installation.service(&own.namespace, &service.name),
                subset: None,
                port: Some(port),
            },
            ..HttpDestination::default()
        }
    });
    let object = Key::new(Kind::Ingress, &own.namespace, &own.name);
    HttpRoute {
        matches,
        route: route.into_iter().collect(),
        written: Some(Written { object, field }),
        ..HttpRoute::default()
    }
}

/// Which paths are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathCondition<'p> {
    Every,
    Exact(&'p str),
    /// This one, and those below it; without a slash at its end.
    Below(&'p str),
}

impl<'p> PathCondition<'p> {
    /// As Istio reads `path`: where the type leaves it open, a star at the end means all below.
    fn of(path: &'p IngressPath) -> Self {
        let text = path.path.as_deref().unwrap_or_default();
        let below = |text: &'p str| match text.strip_suffix('/').unwrap_or(text) {
            "" => Self::Every,
            text => Self::Below(text),
        };
        match path.path_type.as_str() {
            "Exact" => Self::Exact(text),
            "Prefix" => below(text),
            // The type cannot be read, and with it all that is below the path is closed.
            "" if path.backend.service.is_none() => below(text),
            _ => match text {
                "" | "*" => Self::Every,
                _ => match text.strip_suffix(".*").or_else(|| text.strip_suffix("/*")) {
                    Some(text) => below(text),
                    None => Self::Exact(text),
                },
            },
        }
    }

    /// Smaller is earlier.
    fn order(self) -> (Reverse<usize>, bool) {
        match self {
            Self::Every => (Reverse(1), true),
            Self::Exact(path) => (Reverse(path.len()), false),
            Self::Below(path) => (Reverse(path.len()), true),
        }
    }

    fn matches(self) -> Vec<HttpMatch> {
        let on = |uri: StringMatch| HttpMatch { uri: Some(uri), ..HttpMatch::default() };
        let exact =
            |text: &str| on(StringMatch { exact: Some(text.to_owned()), ..Default::default() });
        let prefix =
            |text: String| on(StringMatch { prefix: Some(text), ..StringMatch::default() });
        match self {
            Self::Every => vec![prefix("/".to_owned())],
            Self::Exact(path) => vec![exact(path)],
            Self::Below(path) => vec![exact(path), prefix(format!("{path}/"))],
        }
    }
}

#[cfg(test)]
mod tests;
