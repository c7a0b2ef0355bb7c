//! The objects that a cluster would make from files: pods with names and
//! addresses, addresses of Services, EndpointSlices. The same files give the
//! same objects.

use std::{collections::BTreeSet, net::Ipv4Addr};

use serde_json::{Value, json};

use crate::{addresses, deployment, object, pods as of_pods, service, template};

/// The most pods of one workload that files give: one answers for the others.
pub const MOST_PODS: u64 = 10;

/// The pods that a Deployment has when everything runs, without addresses; at most
/// [`MOST_PODS`].
pub fn pods(deployment: &Value) -> Vec<Value> {
    let mut deployment = deployment.clone();
    // The version before apps/v1 took a missing selector from the template.
    let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
    if deployment["spec"]["selector"].is_null() {
        deployment["spec"]["selector"] = json!({"matchLabels": labels});
    }
    if object::namespace(&deployment).is_empty() {
        deployment["metadata"]["namespace"] = "default".into();
    }
    let set = deployment::first_set(&deployment);
    let count = set["spec"]["replicas"].as_u64().unwrap_or(1).min(MOST_PODS);
    (0..count)
        .map(|index| {
            let end = template::text(&json!([object::name(&set), index]), 0, 5);
            of_pods::from_template(&set, &format!("{}-{end}", object::name(&set)))
        })
        .collect()
}

/// Gives pods their addresses in order, and says that they run and are ready.
pub fn run(pods: &mut [Value]) {
    for (index, pod) in pods.iter_mut().enumerate() {
        let number = u16::try_from(index + 2).unwrap_or(u16::MAX);
        let address = addresses::pod(number).to_string();
        pod["status"]["phase"] = "Running".into();
        pod["status"]["podIP"] = address.clone().into();
        pod["status"]["podIPs"] = json!([{"ip": address}]);
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    }
}

/// Gives Services the addresses that the API server would give them in this order.
pub fn address(services: &mut [Value]) {
    let fixed = |service: &Value| service["spec"]["clusterIP"].as_str()?.parse::<Ipv4Addr>().ok();
    let mut taken: BTreeSet<Ipv4Addr> = services.iter().filter_map(fixed).collect();
    taken.extend([addresses::API_SERVER, addresses::DNS]);
    for one in services {
        let spec = &one["spec"];
        let is_written = spec["clusterIP"].as_str().is_some_and(|text| !text.is_empty());
        if is_written || spec["type"] == "ExternalName" {
            continue;
        }
        let namespace = match object::namespace(one) {
            "" => "default",
            namespace => namespace,
        };
        let found =
            addresses::service(namespace, object::name(one), |address| taken.contains(&address));
        taken.insert(found);
        one["spec"]["clusterIP"] = found.to_string().into();
    }
}

/// The EndpointSlices of all Services in front of all pods.
pub fn slices(services: &[Value], pods: &[Value]) -> Vec<Value> {
    let pods: Vec<&Value> = pods.iter().collect();
    services.iter().flat_map(|one| service::slices(one, &pods)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_pods_stand_for_many_replicas() {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web"}, "spec": {"replicas": 300_000, "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}});
        assert_eq!(pods(&deployment).len() as u64, MOST_PODS);
    }

    #[test]
    fn files_alone_tell_names_addresses_and_endpoints() {
        let deployment = json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment",
            "metadata": {"name": "web"}, "spec": {"replicas": 2, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}}}});
        let mut services = vec![json!({"kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}})];
        let mut pods = pods(&deployment);
        assert_eq!(pods, super::pods(&deployment));
        run(&mut pods);
        address(&mut services);
        let slices = slices(&services, &pods);
        let [slice] = slices.as_slice() else { panic!("{slices:?}") };
        let mut found: Vec<&str> = object::items(&slice["endpoints"])
            .filter_map(|endpoint| endpoint["addresses"][0].as_str())
            .collect();
        found.sort_unstable();
        assert_eq!(found, ["10.244.0.2", "10.244.0.3"]);
        assert_eq!(slice["ports"][0]["port"], 8080);
        assert!(services[0]["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."));
        assert_ne!(object::name(&pods[0]), object::name(&pods[1]));
    }
}
