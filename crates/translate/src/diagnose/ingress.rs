//! Ingresses that nobody serves, and paths of theirs that lead nowhere.

use std::collections::BTreeMap;

use weft_api::{
    Diagnostic, Key,
    ingress::{CLASS, CLASS_ANNOTATION, CONTROLLER, Ingress, IngressBackend},
};

use crate::{
    clusters::backends,
    graph::view::View,
    ingresses::{self, Class, HOSTS, PATHS, PORT, SELECTOR},
    model::sight::Sight,
    routes::rules::targets,
};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(ingress) = view.ingress(key) else { return Vec::new() };
    match ingresses::class(ingress, |name| view.ingress_controller(name)) {
        Class::Own => {}
        other => return vec![class(key, ingress, &other)],
    }
    let mut found = gateway(key, view);
    if ingresses::has_too_many_hosts(ingress) {
        let message = format!("names more than {HOSTS} hosts, none of which is served; divide it");
        found.push(Diagnostic::error(key, "spec.rules", message));
    }
    let hosts = ingresses::hosts(ingress).into_keys();
    found.extend(hosts.filter_map(|host| closed(key, &host, view)));
    found.extend(ingress.spec.rules.iter().enumerate().filter_map(|(at, rule)| {
        let host = rule.host.as_deref().filter(|host| !host.is_empty())?;
        let taken_for = view.installation().resolve(host, &key.namespace);
        let message = format!(
            "has no dot, so that it is taken for {taken_for}: requests for `{host}` are not served"
        );
        let is_taken = !taken_for.eq_ignore_ascii_case(host);
        is_taken.then(|| Diagnostic::warning(key, format!("spec.rules[{at}].host"), message))
    }));
    for (at, written) in ingress.spec.tls.iter().enumerate() {
        let hosts = written.hosts.join(", ");
        let message = format!(
            "not honoured yet: {hosts} is served on port {PORT} without TLS, and nothing listens \
             on port 443"
        );
        found.push(Diagnostic::warning(key, format!("spec.tls[{at}]"), message));
    }
    let default = ingress.spec.default_backend.iter();
    let default = default.map(|backend| ("spec.defaultBackend".to_owned(), backend));
    let lost = default
        .chain(backends(ingress))
        .filter_map(|(field, backend)| self::backend(key, &field, backend, view));
    found.extend(lost);
    found
}

/// The backends of paths, with their fields.
fn backends(ingress: &Ingress) -> impl Iterator<Item = (String, &IngressBackend)> {
    ingress.spec.rules.iter().enumerate().flat_map(|(at, rule)| {
        let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
        paths.map(move |(nth, path)| {
            (format!("spec.rules[{at}].http.paths[{nth}].backend"), &path.backend)
        })
    })
}

/// Why it is not the mesh's gateway's to serve.
fn class(key: &Key, ingress: &Ingress, class: &Class<'_>) -> Diagnostic {
    let field = match ingress.metadata.annotations.contains_key(CLASS_ANNOTATION) {
        true => "metadata.annotations",
        false => "spec.ingressClassName",
    };
    match class {
        Class::Missing(name) => Diagnostic::warning(
            key,
            "spec.ingressClassName",
            format!(
                "there is no IngressClass {name}, so nobody serves this Ingress; apply one whose \
                 `controller` is {CONTROLLER}"
            ),
        ),
        Class::Other(name) => Diagnostic::info(
            key,
            field,
            format!("is not served by the mesh's gateway: `{name}` is another's class"),
        ),
        Class::Own | Class::Nameless => Diagnostic::info(
            key,
            "spec.ingressClassName",
            format!(
                "is not served by the mesh's gateway, since it names no class: name an \
                 IngressClass whose `controller` is {CONTROLLER}, or set the annotation {CLASS_ANNOTATION} to \
                 {CLASS}"
            ),
        ),
    }
}

/// That no pod serves it.
fn gateway(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let (name, value) = SELECTOR;
    let selector = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let picked = view.picked(&selector, None);
    if !picked.is_complete || !picked.pods.is_empty() {
        return Vec::new();
    }
    let message = format!("no pod has the label {name}={value}, so nobody serves this Ingress");
    vec![Diagnostic::warning(key, "", message)]
}

/// That there are too many paths for `host`.
fn closed(key: &Key, host: &str, view: &View<'_>) -> Option<Diagnostic> {
    let is_closed = view.is_closed(&ingresses::made(&key.namespace, host));
    let message = format!(
        "the Ingresses of namespace {} have more than {PATHS} paths for {host}, all of which \
         answer 500; give it fewer",
        key.namespace
    );
    is_closed.then(|| Diagnostic::error(key, "spec.rules", message))
}

/// That `backend` is not there.
fn backend(
    key: &Key,
    field: &str,
    backend: &IngressBackend,
    view: &View<'_>,
) -> Option<Diagnostic> {
    let service = backend.service.as_ref().filter(|service| !service.name.is_empty())?;
    let host = view.installation().service(&key.namespace, &service.name);
    let host = backends::aliased(&host, view);
    let definitions = view.definitions(&host);
    let Some(definition) = definitions.first() else {
        let message = format!(
            "there is no Service {} in namespace {}, so these requests get 503",
            service.name, key.namespace
        );
        return Some(Diagnostic::warning(key, format!("{field}.service.name"), message));
    };
    let port = &service.port;
    let (field, port, is_there) = match port.number {
        0 => {
            let is_there =
                targets::named_port(&host, &port.name, Sight::of_namespace(&key.namespace), view)
                    .is_some();
            (format!("{field}.service.port.name"), port.name.clone(), is_there)
        }
        number => {
            let is_there = definition.ports.iter().any(|port| port.number == number);
            (format!("{field}.service.port.number"), number.to_string(), is_there)
        }
    };
    let message = format!(
        "Service {} in namespace {} has no port {port}, so these requests get 503",
        service.name, key.namespace
    );
    (!is_there).then(|| Diagnostic::warning(key, field, message))
}
