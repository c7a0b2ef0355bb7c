//! What the installation decides: where the mesh's settings are, which namespace is the
//! root, what the cluster is called, and in which domain its services are.

use weft_config::{Entry, Interest, Outside, Resource};
use weft_translate::{Installation, Resolved, Translator};

use crate::worlds;

const WORLD: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: mesh}
data: {mesh: 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}'}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
status: {podIP: 10.244.0.5}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: bank}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: bank, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.5], targetRef: {kind: Pod, namespace: shop, name: web}}]
ports: [{name: http, port: 8080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all, namespace: mesh}
spec: {host: '*.bank.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}
";

fn resolved(translator: &mut Translator, interest: &str) -> std::sync::Arc<Resolved> {
    let client = worlds::client(translator, "shop/web");
    let interest: Interest = interest.parse().expect("an interest");
    translator.resolve(&client, &interest)
}

/// The outside, whose rule decides about the service, and the clusters of the client and of
/// the endpoint.
fn told(installation: Installation) -> (Outside, String, [String; 2]) {
    let mut translator = Translator::with(installation);
    let objects = worlds::objects(WORLD).into_iter();
    translator.change(objects.map(|object| (object.key(), Some(object))));
    let own = resolved(&mut translator, "self");
    let settings = own.resources.iter().find_map(|piece| match &*piece.resource {
        Resource::Settings(settings) => Some(settings.clone()),
        _ => None,
    });
    let settings = settings.expect("a proxy has settings");
    let route = resolved(&mut translator, "cart.bank:80");
    let (mut rule, mut cluster) = (String::new(), String::new());
    for piece in &route.resources {
        match &*piece.resource {
            Resource::Backend(backend) => rule.clone_from(&backend.origin.object),
            Resource::Endpoints(chunk) => {
                let workload = chunk.endpoints[0].workload.as_ref().expect("a pod");
                cluster.clone_from(&workload.cluster);
            }
            _ => {}
        }
    }
    (settings.outside, rule, [settings.workload.cluster, cluster])
}

#[test]
fn the_namespace_and_the_cluster_are_those_of_the_installation() {
    let (outside, rule, clusters) = told(Installation::default());
    assert_eq!(outside, Outside::Allow);
    assert_eq!(rule, "Service/bank/cart");
    assert_eq!(clusters, ["Kubernetes", "Kubernetes"]);

    let east = Installation {
        namespace: "mesh".to_owned(),
        cluster: "east".to_owned(),
        ..Installation::default()
    };
    let (outside, rule, clusters) = told(east);
    assert_eq!(outside, Outside::Refuse);
    assert_eq!(rule, "DestinationRule/mesh/all");
    assert_eq!(clusters, ["east", "east"]);
}

#[test]
fn services_have_names_in_the_clusters_own_domain() {
    let domain = "corp.example".to_owned();
    let mut translator = Translator::with(Installation { domain, ..Installation::default() });
    let text = format!(
        "{WORLD}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cart, namespace: bank}}
spec: {{hosts: [cart], http: [{{route: [{{destination: {{host: cart}}}}]}}]}}
"
    );
    let objects = worlds::objects(&text).into_iter();
    translator.change(objects.map(|object| (object.key(), Some(object))));
    for host in ["cart.bank:80", "cart.bank.svc.corp.example:80"] {
        let route = resolved(&mut translator, host);
        assert_eq!(route.answer.entry, Entry::Route("80/cart.bank.svc.corp.example".to_owned()));
        let routes = worlds::routes(&route).into_values();
        let rules: Vec<_> = routes.map(|route| route.rules[0].origin.object.clone()).collect();
        assert_eq!(rules, ["VirtualService/bank/cart"], "short names are completed");
    }
    let elsewhere = resolved(&mut translator, "cart.bank.svc.cluster.local:80");
    assert_eq!(elsewhere.answer.entry, Entry::Outside);
}
