//! Destination rules without a service, and subsets without endpoints.

use weft_api::{Diagnostic, Key, destination_rule::DestinationRule};
use weft_config::Endpoint;

use crate::{Installation, clusters::destination_rules, diagnose::unselected, graph::view::View};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(rule) = view.destination_rule(key) else { return Vec::new() };
    let host = view.installation().resolve(&rule.spec.host, &key.namespace);
    if host.starts_with('*') {
        return Vec::new();
    }
    let Some(definition) = view.definitions(&host).into_iter().next() else {
        let message = unknown(&rule.spec.host, &host, view.installation());
        return vec![Diagnostic::warning(key, "spec.host", message)];
    };
    let mesh = view.mesh();
    let mut all = Vec::new();
    // Clients in the rule's own namespace see what it is merged with.
    let policy = destination_rules::policy(
        &host,
        &definition.owner.namespace,
        &unselected(&key.namespace),
        &mesh,
        view,
    );
    all.extend(doubles(key, rule, &policy));
    let chunks = view.chunks(&definition.owner);
    let ports = definition.ports.iter();
    let endpoints: Vec<&Endpoint> = ports.flat_map(|port| chunks.endpoints(port.number)).collect();
    for (at, subset) in rule.spec.subsets.iter().enumerate() {
        let fits = |endpoint: &&&Endpoint| {
            let labels = &endpoint.labels;
            subset.labels.iter().all(|(name, value)| {
                labels.iter().any(|(known, own)| known == name && own == value)
            })
        };
        if !endpoints.is_empty() && endpoints.iter().find(fits).is_none() {
            let message = format!(
                "no ready pod of the service has the labels of `{}`, so requests to it get 503",
                subset.name
            );
            all.push(Diagnostic::warning(key, format!("spec.subsets[{at}].labels"), message));
        }
    }
    let elsewhere = key.namespace != definition.owner.namespace
        && key.namespace != mesh.config.root_namespace
        && mesh.as_istio_1_0;
    if elsewhere {
        let message = format!(
            "counts outside of `{}` because of the setting `compatibility: istio-1.0`, where no \
             rule stands in the client's or the service's namespace; today's Istio looks only there",
            key.namespace
        );
        all.push(Diagnostic::info(key, "", message));
    }
    all
}

fn unknown(written: &str, host: &str, installation: &Installation) -> String {
    match installation.service_key(host) {
        Some(service) => format!(
            "there is no Service {} in namespace {}, so the rule has no effect",
            service.name, service.namespace
        ),
        None => format!(
            "`{written}` names no service, so the rule has no effect; write a service's name or \
             NAME.NAMESPACE.{}",
            installation.services()
        ),
    }
}

/// Subsets that an older rule for the same host in the same namespace defines.
fn doubles(
    key: &Key,
    rule: &DestinationRule,
    policy: &destination_rules::Policy<'_>,
) -> Vec<Diagnostic> {
    if !policy.rules.iter().any(|known| std::ptr::eq(*known, rule)) {
        return Vec::new();
    }
    let subsets = rule.spec.subsets.iter().enumerate();
    let doubled = subsets.filter_map(|(at, subset)| {
        let (winner, _, _) = policy.subset(&subset.name)?;
        (!std::ptr::eq(winner, rule)).then(|| {
            let message = format!(
                "`{}` is already defined by {}/{}, which is older and wins",
                subset.name, winner.metadata.namespace, winner.metadata.name
            );
            Diagnostic::warning(key, format!("spec.subsets[{at}].name"), message)
        })
    });
    doubled.collect()
}
