//! Which objects are meant, and reading them.

use futures::future::try_join_all;
use serde_json::{Value, json};
use weft_api::{Kind, kind::Effect};

use super::{
    ClientError, Cluster, JSON, Resource, Resources, encode,
    table::{self, TableOptions},
    text,
};

/// In which namespaces objects are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceScope {
    /// In one.
    Namespace(String),
    /// In all.
    All,
}

/// Which objects of the words' resources are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// `pods`, `pod/x`, `gateway,virtualservice`, and then names.
    pub words: Vec<String>,
    /// Where.
    pub scope: NamespaceScope,
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector.
    pub fields: Option<String>,
}

/// One resource, and the names that are wanted of it, none for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceNames {
    /// The resource.
    pub resource: Resource,
    /// Names.
    pub names: Vec<String>,
}

/// Asks for a table, or the objects where a server cannot make one.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

impl Cluster {
    /// All objects of the kinds that decide about traffic.
    pub async fn deciding_objects(&self, resources: &Resources) -> Result<Vec<Value>, ClientError> {
        self.objects_of(Kind::deciding(), resources).await
    }

    /// The same, and those of kinds of which users of Istio expect it, where the server has them.
    pub async fn expected_objects(&self, resources: &Resources) -> Result<Vec<Value>, ClientError> {
        let is_there = |kind: &Kind| everything(*kind).targets(resources).is_ok();
        let expected = Kind::all().filter(|kind| kind.effect() == Effect::NotYet).filter(is_there);
        self.objects_of(Kind::deciding().chain(expected), resources).await
    }

    async fn objects_of(
        &self,
        kinds: impl Iterator<Item = Kind>,
        resources: &Resources,
    ) -> Result<Vec<Value>, ClientError> {
        let listing = kinds.map(|kind| async move {
            let query = everything(kind);
            self.objects(&query.targets(resources)?, &query).await
        });
        let objects = try_join_all(listing).await?;
        Ok(objects.into_iter().flatten().map(|(_, object)| object).collect())
    }
}

/// All objects of `kind`.
fn everything(kind: Kind) -> Query {
    let word = match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    };
    Query { words: vec![word], scope: NamespaceScope::All, labels: None, fields: None }
}

impl Query {
    /// What the words mean on this server.
    pub fn targets(&self, resources: &Resources) -> Result<Vec<ResourceNames>, ClientError> {
        let Some((first, rest)) = self.words.split_first() else {
            return Err(ClientError::Usage(
                "say which resource: `pods`, `deployment/hello`, `gateway,virtualservice`"
                    .to_owned(),
            ));
        };
        if first.contains('/') {
            return self.words.iter().map(|word| one(word, resources)).collect();
        }
        if let Some(word) = rest.iter().find(|word| word.contains('/')) {
            let text = format!("there is no need to specify a resource type before {word:?}");
            return Err(ClientError::Usage(text));
        }
        let mut targets = Vec::new();
        for word in first.split(',').filter(|word| !word.is_empty()) {
            for resource in resources.named(word)? {
                targets.push(ResourceNames { resource: resource.clone(), names: rest.to_vec() });
            }
        }
        Ok(targets)
    }

    fn selectors(&self) -> String {
        let mut query = String::new();
        let pairs = [("labelSelector", &self.labels), ("fieldSelector", &self.fields)];
        for (name, value) in pairs {
            if let Some(value) = value {
                let mark = if query.is_empty() { '?' } else { '&' };
                query += &format!("{mark}{name}={}", encode(value));
            }
        }
        query
    }

    /// The paths of a target's objects: one per name, or one for all.
    fn paths(&self, target: &ResourceNames) -> Result<Vec<String>, ClientError> {
        let namespace = match &self.scope {
            NamespaceScope::Namespace(namespace) => namespace,
            NamespaceScope::All if target.names.is_empty() || !target.resource.namespaced => "",
            NamespaceScope::All => {
                let text = "a resource cannot be retrieved by name across all namespaces";
                return Err(ClientError::Usage(text.to_owned()));
            }
        };
        if target.names.is_empty() {
            return Ok(vec![target.resource.path(namespace, "") + &self.selectors()]);
        }
        Ok(target.names.iter().map(|name| target.resource.path(namespace, name)).collect())
    }
}

fn one(word: &str, resources: &Resources) -> Result<ResourceNames, ClientError> {
    let (resource, name) = word.split_once('/').unwrap_or((word, ""));
    let found = resources.named(resource)?;
    match (found.as_slice(), name) {
        ([resource], name) if !name.is_empty() => {
            Ok(ResourceNames { resource: (*resource).clone(), names: vec![name.to_owned()] })
        }
        _ => Err(ClientError::Usage(format!("{word:?} does not name one object as TYPE/NAME"))),
    }
}

impl Cluster {
    /// The objects of every target, each with its resource.
    pub async fn objects(
        &self,
        targets: &[ResourceNames],
        query: &Query,
    ) -> Result<Vec<(Resource, Value)>, ClientError> {
        let mut all = Vec::new();
        for (target, answers) in self.answers(targets, query, JSON).await? {
            for answer in answers {
                match answer.get("items").and_then(Value::as_array) {
                    None => all.push((target.resource.clone(), answer)),
                    Some(items) => all.extend(items.iter().map(|item| {
                        // Lists leave out what is the same for all of their items.
                        let mut item = item.clone();
                        if let Some(map) = item.as_object_mut() {
                            map.entry("apiVersion").or_insert_with(|| answer["apiVersion"].clone());
                            map.entry("kind").or_insert_with(|| json!(target.resource.kind));
                        }
                        (target.resource.clone(), item)
                    })),
                }
            }
        }
        Ok(all)
    }

    /// The objects of every target as the server's tables; empty when there are none.
    pub async fn tables(
        &self,
        targets: &[ResourceNames],
        query: &Query,
        options: TableOptions,
    ) -> Result<String, ClientError> {
        let mut texts = Vec::new();
        for (target, answers) in self.answers(targets, query, TABLE).await? {
            let options = TableOptions {
                namespaces: options.namespaces && target.resource.namespaced,
                prefix: (targets.len() > 1).then(|| target.resource.display()),
                ..options.clone()
            };
            let text = table::render(&answers, &options);
            if !text.is_empty() {
                texts.push(text);
            }
        }
        Ok(texts.join("\n"))
    }

    async fn answers<'t>(
        &self,
        targets: &'t [ResourceNames],
        query: &Query,
        accept: &str,
    ) -> Result<Vec<(&'t ResourceNames, Vec<Value>)>, ClientError> {
        let asked = targets.iter().map(|target| async move {
            let paths = query.paths(target)?;
            let reading = paths.iter().map(|path| self.read(path, accept));
            Ok::<_, ClientError>((target, try_join_all(reading).await?))
        });
        try_join_all(asked).await
    }
}

/// `pod/x`, `deployment.apps/x`.
pub(super) fn name(resource: &Resource, object: &Value) -> String {
    format!("{}/{}", resource.display(), text(object, "/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::discovery::tests::served;

    #[track_caller]
    fn check(words: &str, scope: NamespaceScope, expected: &str) {
        let words = words.split_whitespace().map(str::to_owned).collect();
        let labels = Some("app=a".to_owned());
        let query = Query { words, scope, labels, fields: None };
        let paths = query.targets(&served()).and_then(|targets| {
            let paths: Result<Vec<_>, _> = targets.iter().map(|one| query.paths(one)).collect();
            Ok(paths?.concat().join(" "))
        });
        assert_eq!(paths.unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn words_say_which_objects() {
        let here = || NamespaceScope::Namespace("ns".to_owned());
        check("po", here(), "/api/v1/namespaces/ns/pods?labelSelector=app%3Da");
        check("pods", NamespaceScope::All, "/api/v1/pods?labelSelector=app%3Da");
        check("ns", here(), "/api/v1/namespaces?labelSelector=app%3Da");
        check("pod a b", here(), "/api/v1/namespaces/ns/pods/a /api/v1/namespaces/ns/pods/b");
        check(
            "pod/a deploy/b",
            here(),
            "/api/v1/namespaces/ns/pods/a /apis/apps/v1/namespaces/ns/deployments/b",
        );
        check("pod/", here(), "\"pod/\" does not name one object as TYPE/NAME");
        check(
            "pod a",
            NamespaceScope::All,
            "a resource cannot be retrieved by name across all namespaces",
        );
    }
}
