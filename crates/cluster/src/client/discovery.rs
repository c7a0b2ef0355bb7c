//! What a server serves, and how people call it.

use serde_json::Value;

use super::{ClientError, Cluster, encode};

/// Asks for everything in one answer per root, as servers since 1.27 give it.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// One kind of object in one served version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Name in URLs.
    pub plural: String,
    /// Name of one.
    pub singular: String,
    /// Name in objects.
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Abbreviations.
    pub short_names: Vec<String>,
    /// Groups of resources, such as `all`.
    pub categories: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
}

impl Resource {
    /// The path of one object, or of all when `name` is empty; of all namespaces
    /// when `namespace` is empty, too.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        let space = match (self.namespaced, namespace) {
            (false, _) | (true, "") => String::new(),
            (true, namespace) => format!("/namespaces/{}", encode(namespace)),
        };
        let object = if name.is_empty() { String::new() } else { format!("/{}", encode(name)) };
        format!("{root}{space}/{}{object}", self.plural)
    }

    /// `deployment.apps`, as people are told of objects.
    pub fn display(&self) -> String {
        match self.group.as_str() {
            "" => self.singular.clone(),
            group => format!("{}.{group}", self.singular),
        }
    }

    fn called(&self, word: &str) -> bool {
        self.plural == word
            || self.singular == word
            || self.kind.eq_ignore_ascii_case(word)
            || self.short_names.iter().any(|short| short == word)
    }
}

/// Everything that a server serves, the core group first, preferred versions first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(Vec<Resource>);

impl Resources {
    /// Reads what the server's two discovery documents say.
    pub(super) fn read(documents: &[Value]) -> Self {
        let groups = documents.iter().filter_map(|document| document["items"].as_array()).flatten();
        let mut all = Vec::new();
        for group in groups {
            let name = super::text(group, "/metadata/name");
            for version in group["versions"].as_array().into_iter().flatten() {
                let version_name = super::text(version, "/version");
                for entry in version["resources"].as_array().into_iter().flatten() {
                    all.push(resource(name, version_name, entry));
                }
            }
        }
        Self(all)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    /// The resources that `word` means: one, or those of a category such as `all`.
    pub fn named(&self, word: &str) -> Result<Vec<&Resource>, ClientError> {
        let lower = word.to_ascii_lowercase();
        if let Some(found) = self.0.iter().find(|resource| resource.called(&lower)) {
            return Ok(vec![found]);
        }
        if let Some((name, rest)) = lower.split_once('.') {
            let found = self.0.iter().find(|resource| {
                let long = format!("{}.{}", resource.version, resource.group);
                resource.called(name) && (resource.group == rest || long == rest)
            });
            if let Some(found) = found {
                return Ok(vec![found]);
            }
        }
        let mut members: Vec<&Resource> = Vec::new();
        for resource in self.0.iter().filter(|one| one.categories.contains(&lower)) {
            let same =
                |one: &&Resource| one.group == resource.group && one.plural == resource.plural;
            if !members.iter().any(same) {
                members.push(resource);
            }
        }
        match members.is_empty() {
            true => Err(ClientError::UnknownResource(word.to_owned())),
            false => Ok(members),
        }
    }

    /// The resource of objects of this version and kind.
    pub fn of(&self, api_version: &str, kind: &str) -> Result<&Resource, ClientError> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let found = self.0.iter().find(|resource| {
            resource.group == group && resource.version == version && resource.kind == kind
        });
        found.ok_or_else(|| ClientError::UnknownKind {
            kind: kind.to_owned(),
            version: api_version.to_owned(),
        })
    }
}

fn resource(group: &str, version: &str, entry: &Value) -> Resource {
    let texts = |field: &str| -> Vec<String> {
        let list = entry[field].as_array().into_iter().flatten();
        list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let kind = super::text(entry, "/responseKind/kind").to_owned();
    let singular = match super::text(entry, "/singularResource") {
        "" => kind.to_lowercase(),
        name => name.to_owned(),
    };
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: super::text(entry, "/resource").to_owned(),
        singular,
        kind,
        namespaced: super::text(entry, "/scope") == "Namespaced",
        short_names: texts("shortNames"),
        categories: texts("categories"),
        verbs: texts("verbs"),
    }
}

impl Cluster {
    /// What the server serves.
    pub async fn resources(&self) -> Result<Resources, ClientError> {
        let (core, groups) =
            futures::try_join!(self.read("/api", AGGREGATED), self.read("/apis", AGGREGATED))?;
        for document in [&core, &groups] {
            if document["kind"] != "APIGroupDiscoveryList" {
                return Err(ClientError::Answer {
                    what: "discovery".to_owned(),
                    why: "the server is older than Kubernetes 1.27".to_owned(),
                });
            }
        }
        Ok(Resources::read(&[core, groups]))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Pods, Deployments and two kinds called Gateway.
    pub(in crate::client) fn served() -> Resources {
        let entry = |plural: &str, kind: &str, short: &[&str], categories: &[&str]| {
            json!({
                "resource": plural,
                "responseKind": {"kind": kind},
                "scope": if kind == "Namespace" { "Cluster" } else { "Namespaced" },
                "singularResource": kind.to_lowercase(),
                "shortNames": short,
                "categories": categories,
                "verbs": ["get", "list"],
            })
        };
        let group = |name: &str, version: &str, entries: &[Value]| {
            let versions = json!([{"version": version, "resources": entries}]);
            json!({"metadata": {"name": name}, "versions": versions})
        };
        Resources::read(&[
            json!({"items": [group("", "v1", &[
                entry("namespaces", "Namespace", &["ns"], &[]),
                entry("pods", "Pod", &["po"], &["all"]),
            ])]}),
            json!({"items": [
                group("apps", "v1", &[entry("deployments", "Deployment", &["deploy"], &["all"])]),
                group("networking.istio.io", "v1", &[entry("gateways", "Gateway", &["gw"], &[])]),
                group("gateway.networking.k8s.io", "v1", &[entry("gateways", "Gateway", &[], &[])]),
            ]}),
        ])
    }

    #[track_caller]
    fn check(word: &str, expected: &str) {
        let text = match served().named(word) {
            Ok(found) => found.iter().map(|one| one.path("ns", "")).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected, "{word}");
    }

    #[test]
    fn resources_are_found_by_every_name_they_have() {
        for word in ["deployments", "deployment", "deploy", "Deployment", "deployments.apps"] {
            check(word, "/apis/apps/v1/namespaces/ns/deployments");
        }
        check("deployment.v1.apps", "/apis/apps/v1/namespaces/ns/deployments");
        check("gw", "/apis/networking.istio.io/v1/namespaces/ns/gateways");
        check(
            "gateways.gateway.networking.k8s.io",
            "/apis/gateway.networking.k8s.io/v1/namespaces/ns/gateways",
        );
        check("ns", "/api/v1/namespaces");
        check("all", "/api/v1/namespaces/ns/pods /apis/apps/v1/namespaces/ns/deployments");
        check("cats", "the server doesn't have a resource type \"cats\"");
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        let pods = served().named("pods").map(|found| found[0].clone()).unwrap();
        let path = pods.path("x/pods?watch=1", "../#a%2f");
        assert_eq!(path, "/api/v1/namespaces/x%2Fpods%3Fwatch%3D1/pods/..%2F%23a%252f");
    }

    #[test]
    fn kinds_are_found_in_their_version_only() {
        assert!(served().of("apps/v1", "Deployment").is_ok());
        let error = served().of("apps/v1beta1", "Deployment").unwrap_err().to_string();
        assert_eq!(error, "no matches for kind \"Deployment\" in version \"apps/v1beta1\"");
    }
}
