//! Why an object was not applied, with what to do about it.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;
use weft_api::Kind;

use super::{Applied, ClientError, Resource, Resources, text};

/// Why an object was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyRefusal {
    /// Whether it is a failure. A kind that the server does not have is left out, and the
    /// other objects are applied; a misspelt one is a failure.
    pub is_error: bool,
    message: String,
}

impl ApplyRefusal {
    /// The refusal of `object` on a server with `resources`.
    pub fn of(object: &Value, error: &ClientError, resources: &Resources) -> Self {
        let name = match (text(object, "/kind"), text(object, "/metadata/name")) {
            (kind, "") => kind.to_owned(),
            (kind, name) => format!("{kind}/{name}"),
        };
        let refused = |why: &dyn fmt::Display| Self {
            is_error: true,
            message: format!("{name} is not applied: {why}"),
        };
        match error {
            ClientError::UnknownKind { version, .. } if version.is_empty() => {
                refused(&"the object has no apiVersion; give it one")
            }
            ClientError::UnknownKind { kind, version } => {
                if let Some(meant) = meant(version, kind, resources) {
                    return refused(&format!("the server has no {kind} of {version}; {meant}"));
                }
                let hint = hint(version, kind, resources);
                let message =
                    format!("{name} is left out: the server has no {kind} of {version}{hint}");
                Self { is_error: false, message }
            }
            error => refused(error),
        }
    }
}

impl fmt::Display for ApplyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error { "error" } else { "warning" };
        write!(f, "{severity}: {}", self.message)
    }
}

impl Applied {
    /// The server's warnings that are not in `reported`.
    pub fn new_warnings<'a>(&'a self, reported: &'a [String]) -> impl Iterator<Item = &'a str> {
        let warnings = self.warnings.iter().map(String::as_str);
        // The server shortens long ones.
        warnings.filter(|warning| {
            let begin = warning.trim_end_matches('…');
            !reported.iter().any(|line| line.contains(begin))
        })
    }
}

/// The version in which a kind is served that is not served in this one. Kinds of the same
/// name in other groups are other kinds.
fn hint(version: &str, kind: &str, resources: &Resources) -> String {
    let known = Kind::of(version, kind);
    if known.is_some_and(|kind| kind.group() == Kind::HttpRoute.group()) {
        return "; the Gateway API is not served yet".to_owned();
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    // Some kinds have moved from one group to another.
    let moved: &str = known.map_or(group, |kind| kind.group());
    let is_it = |one: &&Resource| one.kind == kind && (one.group == group || one.group == moved);
    let other = resources.iter().find(is_it);
    other.map_or_else(String::new, |resource| match resource.group.as_str() {
        "" => format!("; it is served as {}", resource.version),
        group => format!("; it is served as {group}/{}", resource.version),
    })
}

/// The kind that a misspelt one was meant to be: one of a group that is served, by its name
/// or nearly so.
fn meant(version: &str, kind: &str, resources: &Resources) -> Option<String> {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let groups: BTreeSet<&str> = resources.iter().map(|one| one.group.as_str()).collect();
    let near_group = weft_api::nearest(group, groups)?;
    let nearest = |resources: &[&Resource]| {
        let found = weft_api::nearest(kind, resources.iter().map(|one| one.kind.as_str()))?;
        resources.iter().find(|one| one.kind == found).copied().cloned()
    };
    let all: Vec<&Resource> = resources.iter().collect();
    let own: Vec<&Resource> = all.iter().filter(|one| one.group == near_group).copied().collect();
    let found = nearest(&own).or_else(|| nearest(&all))?;
    let spelled = match found.group.as_str() {
        "" => found.version.clone(),
        group => format!("{group}/{}", found.version),
    };
    match (found.group == group, found.kind == kind) {
        (true, true) => None,
        (true, false) => Some(format!("did you mean {}?", found.kind)),
        (false, _) => Some(format!("did you mean {} of {spelled}?", found.kind)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::ApplyOutcome;

    fn refusal(version: &str, kind: &str) -> String {
        let served = |group: &str, version: &str, kind: &str| {
            json!({"metadata": {"name": group}, "versions": [{"version": version,
                "resources": [{"resource": kind.to_lowercase(), "responseKind": {"kind": kind}}]}]})
        };
        let resources = Resources::read(&[json!({"items": [
            served("", "v1", "Service"), served("apps", "v1", "Deployment"),
            served("networking.istio.io", "v1", "Gateway"),
        ]})]);
        let object = json!({"kind": kind, "metadata": {"name": "x"}});
        let error = ClientError::UnknownKind { kind: kind.to_owned(), version: version.to_owned() };
        ApplyRefusal::of(&object, &error, &resources).to_string()
    }

    #[test]
    fn a_kind_that_is_not_served_is_left_out_with_the_version_that_is() {
        let other = "warning: Gateway/x is left out: the server has no Gateway of";
        assert_eq!(
            refusal("networking.istio.io/v9", "Gateway"),
            format!("{other} networking.istio.io/v9; it is served as networking.istio.io/v1")
        );
        assert_eq!(
            refusal("gateway.networking.k8s.io/v1", "Gateway"),
            format!("{other} gateway.networking.k8s.io/v1; the Gateway API is not served yet")
        );
        assert_eq!(refusal("example.com/v1", "Gateway"), format!("{other} example.com/v1"));
        assert!(refusal("v9", "Service").ends_with("of v9; it is served as v1"));
        assert!(refusal("extensions/v1beta1", "Deployment").ends_with("; it is served as apps/v1"));
    }

    #[test]
    fn a_misspelt_kind_or_group_is_a_failure_with_what_was_meant() {
        for (version, kind, expected) in [
            ("v1", "Servcie", "did you mean Service?"),
            ("v1", "Deployment", "did you mean Deployment of apps/v1?"),
            ("apps/v1", "deployment", "did you mean Deployment?"),
            ("apps/v1", "Service", "did you mean Service of v1?"),
            (
                "networking.istio.oi/v1",
                "Gateway",
                "did you mean Gateway of networking.istio.io/v1?",
            ),
        ] {
            let begin = format!("error: {kind}/x is not applied: the server has no {kind} of");
            assert_eq!(refusal(version, kind), format!("{begin} {version}; {expected}"));
        }
        assert!(refusal("example.com/v1", "Gatewya").starts_with("warning: "), "not guessed at");
    }

    #[test]
    fn other_refusals_are_failures() {
        assert_eq!(
            refusal("", "Gateway"),
            "error: Gateway/x is not applied: the object has no apiVersion; give it one"
        );
        let error = ClientError::Usage("no name".to_owned());
        let refusal = ApplyRefusal::of(&json!({"kind": "A"}), &error, &Resources::default());
        assert_eq!(refusal.to_string(), "error: A is not applied: no name");
    }

    #[test]
    fn warnings_that_were_reported_before_are_not_repeated() {
        let warnings = ["spec.a: unused", "spec.b: very lo…", "spec.c: new"];
        let applied = Applied {
            name: "a".to_owned(),
            outcome: ApplyOutcome::Created,
            object: Value::Null,
            warnings: warnings.map(str::to_owned).to_vec(),
        };
        let reported = ["x:1: spec.a: unused".to_owned(), "x:2: spec.b: very long".to_owned()];
        assert_eq!(applied.new_warnings(&reported).collect::<Vec<_>>(), ["spec.c: new"]);
    }
}
