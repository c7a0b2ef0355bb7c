//! Documents become a world, which is asked everything.

use std::sync::Arc;

use weft_decide::Table;
use weft_explain::{
    PodName, Protocol, Question, Start, Unlabelled, Url, World, explain, translate_for,
};
use weft_manifest::Document;

/// As much as one try may cost.
const MOST: usize = 20;

/// Makes a world of `documents`, asks what is wrong with it, what its proxies would
/// be given, and where requests go.
pub fn try_out(documents: Vec<Document>) {
    if documents.len() > MOST || documents.iter().any(has_many_pods) {
        return;
    }
    let mut starts = vec![Start::Ingress];
    let mut hosts = vec!["a".to_owned(), "a.example.com".to_owned()];
    for object in documents.iter().filter_map(|document| document.value.as_ref()) {
        let text = |path: &str| object.pointer(path).and_then(|value| value.as_str());
        let name = text("/metadata/name").unwrap_or_default().to_owned();
        let namespace = text("/metadata/namespace").unwrap_or("default").to_owned();
        hosts.extend(text("/spec/hosts/0").map(str::to_owned));
        starts.push(Start::From(PodName { name: name.clone(), namespace: namespace.clone() }));
        starts.push(Start::At(PodName { name, namespace }));
    }
    let mut world = World::of_files(documents, Unlabelled::Inject);
    world.diagnostics();
    for start in &starts {
        if let Ok(file) = translate_for(&mut world, start) {
            // Everything that is said must be something that a proxy can run.
            let all = file.resources.into_iter();
            let named = all.map(|resource| (resource.name(), Some(Arc::new(resource))));
            let (_, rejected) = Table::new().with(named);
            assert_eq!(rejected, [], "from {start:?}");
        }
        for host in &hosts {
            let Ok(url) = format!("http://{host}/a").parse::<Url>() else { continue };
            let question = Question {
                method: http::Method::GET,
                url,
                headers: http::HeaderMap::new(),
                to: None,
                start: start.clone(),
                protocol: Protocol::Http1,
                server_name: None,
            };
            if let Ok(explanation) = explain(&mut world, &question) {
                let _ = explanation.to_string();
                serde_json::to_string(&explanation).expect("an explanation is JSON");
            }
        }
    }
}

/// Whether a document asks for more pods than one try may cost.
fn has_many_pods(document: &Document) -> bool {
    let replicas = document.value.as_ref().and_then(|object| object.pointer("/spec/replicas"));
    replicas.and_then(|replicas| replicas.as_f64()).is_some_and(|replicas| replicas > 5.0)
}
