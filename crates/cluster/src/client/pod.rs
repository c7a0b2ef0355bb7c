//! Finds the pod and container that a user names.

use serde_json::Value;

use super::{ClientError, Cluster, NamespaceScope, Query, ResourceNames, Resources, text};

/// One container of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub name: String,
    /// What people should know about how it was chosen.
    pub remark: Option<String>,
}

impl Cluster {
    /// The container that `word` (`POD`, `pod/POD`, `deployment/NAME`) and perhaps
    /// a container's name mean.
    pub async fn container(
        &self,
        resources: &Resources,
        (word, namespace): (&str, &str),
        container: Option<&str>,
    ) -> Result<Container, ClientError> {
        let words = match word.contains('/') {
            true => vec![word.to_owned()],
            false => vec!["pods".to_owned(), word.to_owned()],
        };
        let scope = NamespaceScope::Namespace(namespace.to_owned());
        let query = Query { words, scope, labels: None, fields: None };
        let targets = query.targets(resources)?;
        let found = match self.objects(&targets, &query).await {
            Err(ClientError::Refused { refusal }) if refusal.code == 404 && !word.contains('/') => {
                return Err(self.no_pod(resources, (word, namespace), refusal).await);
            }
            found => found?,
        };
        let (resource, object) = found
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::Usage(format!("{word:?} names no pod")))?;
        let (pod, mut remark) = match resource.kind.as_str() {
            "Pod" => (object, None),
            _ => self.pod_of(resources, &object, namespace).await?,
        };
        let name = match container {
            Some(name) => known(&pod, name)?,
            None => {
                let (name, why) = default(&pod)?;
                remark = remark.or(why);
                name
            }
        };
        Ok(Container {
            namespace: text(&pod, "/metadata/namespace").to_owned(),
            pod: text(&pod, "/metadata/name").to_owned(),
            name,
            remark,
        })
    }

    /// The error that there is no pod; for the name of a workload, with what to write.
    async fn no_pod(
        &self,
        resources: &Resources,
        (word, namespace): (&str, &str),
        refusal: super::Refusal,
    ) -> ClientError {
        let words = vec!["deployments.apps".to_owned(), word.to_owned()];
        let scope = NamespaceScope::Namespace(namespace.to_owned());
        let query = Query { words, scope, labels: None, fields: None };
        let found = match query.targets(resources) {
            Ok(targets) => self.objects(&targets, &query).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(_) => ClientError::Usage(format!(
                "there is no pod {word}; deployment/{word} stands for the first pod of that Deployment"
            )),
            Err(_) => ClientError::Refused { refusal },
        }
    }

    /// The first pod that the object's selector selects.
    async fn pod_of(
        &self,
        resources: &Resources,
        object: &Value,
        namespace: &str,
    ) -> Result<(Value, Option<String>), ClientError> {
        let selector = match object.pointer("/spec/selector/matchLabels") {
            Some(labels) => labels,
            None => &object["spec"]["selector"],
        };
        let what = format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
        if selector.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(ClientError::Usage(format!("{what} selects no pods")));
        }
        let scope = NamespaceScope::Namespace(namespace.to_owned());
        let labels = Some(super::table::labels(selector));
        let query = Query { words: Vec::new(), scope, labels, fields: None };
        let resource = resources.of("v1", "Pod")?.clone();
        let target = ResourceNames { resource, names: Vec::new() };
        let pods = self.objects(std::slice::from_ref(&target), &query).await?;
        let remark = (pods.len() > 1).then(|| {
            let first = text(&pods[0].1, "/metadata/name");
            format!("Found {} pods, using pod/{first}", pods.len())
        });
        match pods.into_iter().next() {
            Some((_, pod)) => Ok((pod, remark)),
            None => Err(ClientError::Usage(format!("{what} has no pods"))),
        }
    }
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.map(|container| text(container, "/name")).collect()
}

fn known(pod: &Value, name: &str) -> Result<String, ClientError> {
    let mut all = names(pod, "containers");
    all.extend(names(pod, "initContainers"));
    match all.contains(&name) {
        true => Ok(name.to_owned()),
        false => {
            let pod = text(pod, "/metadata/name");
            let text =
                format!("container {name} not found in pod {pod}; it has {}", all.join(", "));
            Err(ClientError::Usage(text))
        }
    }
}

/// The container that a pod's author meant, else its first.
fn default(pod: &Value) -> Result<(String, Option<String>), ClientError> {
    let all = names(pod, "containers");
    let annotation = &pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
    if let Some(name) = annotation.as_str().filter(|name| all.contains(name)) {
        return Ok((name.to_owned(), None));
    }
    match all.as_slice() {
        [] => Err(ClientError::Usage("the pod has no containers".to_owned())),
        [only] => Ok(((*only).to_owned(), None)),
        [first, ..] => {
            let remark = format!("Defaulted container {first:?} out of: {}", all.join(", "));
            Ok(((*first).to_owned(), Some(remark)))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_chosen_by_name_annotation_or_order() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "app"}, {"name": "helper"}],
                "initContainers": [{"name": "istio-proxy"}],
            },
        });
        let remark = "Defaulted container \"app\" out of: app, helper".to_owned();
        assert_eq!(default(&pod).unwrap(), ("app".to_owned(), Some(remark)));
        let mut annotated = pod.clone();
        annotated["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] =
            json!("helper");
        assert_eq!(default(&annotated).unwrap(), ("helper".to_owned(), None));
        assert_eq!(known(&pod, "istio-proxy").unwrap(), "istio-proxy");
        let error = known(&pod, "x").unwrap_err().to_string();
        assert_eq!(error, "container x not found in pod p; it has app, helper, istio-proxy");
    }
}
