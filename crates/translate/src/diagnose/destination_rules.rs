//! Destination rules without a service, and subsets without endpoints.

use weft_api::{Diagnostic, Key, destination_rule::DestinationRule};

use crate::{
    Installation,
    clusters::destination_rules::{self, Policy},
    diagnose::unselected,
    graph::view::View,
    model::{
        registry::Resolution,
        sight::{self, Sight},
    },
};

pub(super) fn findings(key: &Key, view: &View<'_>) -> Vec<Diagnostic> {
    let Some(rule) = view.destination_rule(key) else { return Vec::new() };
    let host = view.installation().resolve(&rule.spec.host, &key.namespace);
    if host.starts_with('*') {
        return Vec::new();
    }
    let Some(definition) =
        sight::definition(&host, None, Sight::of_namespace(&key.namespace), view)
    else {
        let message = unknown(&rule.spec.host, &host, view.installation());
        return vec![Diagnostic::warning(key, "spec.host", message)];
    };
    let mesh = view.mesh();
    let mut all = Vec::new();
    if let Resolution::Name(name) = &definition.resolution
        && view.definitions(name).is_empty()
    {
        all.extend(of_name(key, rule, name));
    }
    // Clients in the rule's own namespace see what it is merged with.
    let policy = destination_rules::policy(
        &host,
        &definition.owner.namespace,
        &unselected(&key.namespace),
        &mesh,
        view,
    );
    all.extend(doubles(key, rule, &policy));
    let sets = view.label_sets(&definition);
    for (at, subset) in rule.spec.subsets.iter().enumerate() {
        if sets.lack(subset.labels.iter()) {
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

/// What has no effect on a service that is a name outside of the mesh.
fn of_name(key: &Key, rule: &DestinationRule, name: &str) -> Vec<Diagnostic> {
    let whole = rule.spec.traffic_policy.as_deref().map(|policy| ("spec".to_owned(), policy));
    let subsets = rule.spec.subsets.iter().enumerate().filter_map(|(at, subset)| {
        Some((format!("spec.subsets[{at}]"), subset.traffic_policy.as_deref()?))
    });
    let settings = whole.into_iter().chain(subsets).flat_map(|(place, policy)| {
        let given = [
            ("loadBalancer", policy.load_balancer.is_some()),
            ("outlierDetection", policy.outlier_detection.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        given.map(move |(field, _)| format!("{place}.trafficPolicy.{field}"))
    });
    let finding = |field: String| {
        let message = format!(
            "has no effect: the service is the name `{name}`, of which the first address that can \
             be connected to is used"
        );
        Diagnostic::warning(key, field, message)
    };
    settings.map(finding).collect()
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
fn doubles(key: &Key, rule: &DestinationRule, policy: &Policy) -> Vec<Diagnostic> {
    if !policy.has(rule) {
        return Vec::new();
    }
    let subsets = rule.spec.subsets.iter().enumerate();
    let doubled = subsets.filter_map(|(at, subset)| {
        let (winner, _) = policy.definer(&subset.name)?;
        let Key { namespace, name, .. } = &*winner.key;
        (*winner.key != *key).then(|| {
            let message = format!(
                "`{}` is already defined by {namespace}/{name}, which is older and wins",
                subset.name
            );
            Diagnostic::warning(key, format!("spec.subsets[{at}].name"), message)
        })
    });
    doubled.collect()
}
