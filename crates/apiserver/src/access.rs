//! Who is asking, and whether they may.
//!
//! The choice for a laptop: holders of the administrator's certificate may do
//! everything. Service accounts of `istio-system` and `kube-system` may read
//! everything, ask reviews, and write what a control plane writes (statuses,
//! ConfigMaps, Secrets, leases, events, admission configurations, definitions).
//! Any other service account may read its own namespace except Secrets, and
//! discovery. RBAC objects are stored, but nobody is granted more by them.

use std::{sync::Arc, time::SystemTime};

use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    authority::{AUDIENCE, Authority, MASTERS},
    status::Status,
    store::Store,
};

/// A caller.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct User {
    /// The name, such as `system:serviceaccount:default:web`.
    pub name: String,
    /// The identity of the account, where it has one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else is known, such as the pod that a token is bound to.
    pub extra: Value,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempt {
    /// `get`, `list`, `watch`, `create`, …
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The plural; empty for paths that are no resource.
    pub plural: String,
    /// The subresource, or nothing.
    pub subresource: String,
    /// The namespace, or nothing for all.
    pub namespace: String,
    /// The object's name, or nothing.
    pub name: String,
}

/// Namespaces whose service accounts run a control plane.
const TRUSTED: &[&str] = &["istio-system", "kube-system"];

/// What a control plane writes besides statuses.
const WRITABLE: &[&str] = &[
    "configmaps",
    "secrets",
    "leases",
    "events",
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "customresourcedefinitions",
    "tokenreviews",
    "subjectaccessreviews",
];

impl User {
    /// The API server itself, as its controllers.
    pub fn controllers() -> Self {
        Self {
            name: "system:kube-controller-manager".into(),
            groups: vec![MASTERS.into(), "system:authenticated".into()],
            ..Self::default()
        }
    }

    /// The `UserInfo` that reviews and webhooks are shown.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            value["uid"] = self.uid.clone().into();
        }
        if self.extra.is_object() {
            value["extra"] = self.extra.clone();
        }
        value
    }
}

/// The caller that a certificate (already verified by TLS) names.
pub fn by_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|one| one.as_str().ok())
        .map(str::to_owned)
        .collect();
    groups.push("system:authenticated".into());
    Some(User { name, groups, ..User::default() })
}

/// The caller that a token names, if it counts and is for one of `audiences`.
///
/// A token dies with the account and the pod it is bound to.
pub fn by_token(
    authority: &Authority,
    store: &Store,
    token: &str,
    audiences: &[String],
) -> Option<(User, Vec<String>)> {
    let claims = authority.verify(token, SystemTime::now())?;
    let wanted = match audiences {
        [] => vec![AUDIENCE.to_owned()],
        some => some.to_vec(),
    };
    let shared: Vec<String> =
        wanted.into_iter().filter(|audience| claims.aud.contains(audience)).collect();
    if shared.is_empty() {
        return None;
    }
    let bound = &claims.kubernetes;
    let namespace = bound["namespace"].as_str()?;
    let lives = |plural: &str, reference: &Value| {
        let resource = store.resource("", plural)?;
        let object = store.get(&resource, namespace, reference["name"].as_str()?)?;
        (object["metadata"]["uid"] == reference["uid"]).then_some(())
    };
    lives("serviceaccounts", &bound["serviceaccount"])?;
    let mut extra = Value::Null;
    if bound["pod"].is_object() {
        lives("pods", &bound["pod"])?;
        extra = json!({
            "authentication.kubernetes.io/pod-name": [bound["pod"]["name"]],
            "authentication.kubernetes.io/pod-uid": [bound["pod"]["uid"]],
        });
    }
    let user = User {
        name: claims.sub.clone(),
        uid: bound["serviceaccount"]["uid"].as_str().unwrap_or_default().to_owned(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ],
        extra,
    };
    Some((user, shared))
}

/// Whether a caller may do something; the refusal says what was refused.
pub fn authorize(user: &User, attempt: &Attempt) -> Result<(), Status> {
    if is_allowed(user, attempt) {
        return Ok(());
    }
    let resource = match (attempt.plural.as_str(), attempt.subresource.as_str()) {
        (plural, "") => plural.to_owned(),
        (plural, sub) => format!("{plural}/{sub}"),
    };
    let scope = match attempt.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let message = format!(
        "{} is forbidden: User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
        attempt.plural, user.name, attempt.verb, attempt.group
    );
    Err(Status::forbidden(message).about(&attempt.group, &attempt.plural, &attempt.name))
}

/// Whether a caller may do something.
pub fn is_allowed(user: &User, attempt: &Attempt) -> bool {
    if user.groups.iter().any(|group| group == MASTERS) {
        return true;
    }
    let reads = matches!(attempt.verb.as_str(), "get" | "list" | "watch");
    if attempt.plural.is_empty() {
        return reads;
    }
    if attempt.plural.starts_with("selfsubject") {
        return true;
    }
    let Some(own) = user
        .name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .map(|(namespace, _)| namespace)
    else {
        return false;
    };
    if TRUSTED.contains(&own) {
        let pods_are_not_touched = attempt.plural != "pods" || attempt.subresource == "status";
        return reads
            || (attempt.subresource == "status" && pods_are_not_touched)
            || WRITABLE.contains(&attempt.plural.as_str());
    }
    reads && attempt.namespace == own && attempt.plural != "secrets"
}

/// Who sends a request, by what TLS and the headers show.
pub fn identify(
    authority: &Authority,
    store: &Store,
    certificate: Option<&Arc<User>>,
    bearer: Option<&str>,
) -> Result<User, Status> {
    if let Some(token) = bearer {
        let found = by_token(authority, store, token, &[]);
        return found.map(|(user, _)| user).ok_or_else(Status::unauthorized);
    }
    match certificate {
        Some(user) => Ok(User::clone(user)),
        None => Ok(User {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..User::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user: &str, wish: &str, expected: bool) {
        let mut words = wish.split_whitespace().map(|word| word.trim_matches('-').to_owned());
        let mut next = || words.next().unwrap_or_default();
        let attempt = Attempt {
            verb: next(),
            plural: next(),
            subresource: next(),
            namespace: next(),
            ..Attempt::default()
        };
        let user = User { name: user.into(), ..User::default() };
        assert_eq!(is_allowed(&user, &attempt), expected, "{} {wish}", user.name);
    }

    #[test]
    fn accounts_may_do_what_the_mesh_needs_and_no_more() {
        let istiod = "system:serviceaccount:istio-system:istiod";
        check(istiod, "watch pods - -", true);
        check(istiod, "update virtualservices status blue", true);
        check(istiod, "create configmaps - blue", true);
        check(istiod, "create tokenreviews - -", true);
        check(istiod, "delete pods - blue", false);
        let web = "system:serviceaccount:blue:web";
        check(web, "list pods - blue", true);
        check(web, "list pods - green", false);
        check(web, "get secrets - blue", false);
        check(web, "create pods - blue", false);
        check(web, "get - - -", true);
        check("system:anonymous", "list pods - blue", false);
    }

    #[test]
    fn a_token_dies_with_its_pod() {
        let (authority, store) = (Authority::new().unwrap(), Store::new());
        let of = |plural: &str| store.resource("", plural).unwrap();
        store.create(&of("namespaces"), json!({"metadata": {"name": "blue"}})).unwrap();
        let object =
            |spec: Value| json!({"metadata": {"name": "web", "namespace": "blue"}, "spec": spec});
        let account = store.create(&of("serviceaccounts"), object(Value::Null)).unwrap();
        let pod = store.create(&of("pods"), object(json!({"containers": []}))).unwrap();
        let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
        let request = crate::TokenRequest {
            namespace: "blue".into(),
            account: "web".into(),
            account_uid: uid(&account),
            pod: Some(("web".into(), uid(&pod))),
            audiences: vec!["istio-ca".into()],
            lifetime: std::time::Duration::from_secs(600),
        };
        let token = authority.service_account_token(&request, SystemTime::now()).unwrap();
        let ask = |audience: &str| by_token(&authority, &store, &token, &[audience.to_owned()]);
        let (user, _) = ask("istio-ca").unwrap();
        assert_eq!(user.name, "system:serviceaccount:blue:web");
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], json!(["web"]));
        assert!(ask("elsewhere").is_none());
        assert!(by_token(&authority, &store, &token, &[]).is_none());
        store.delete(&of("pods"), "blue", "web", &crate::Deletion::now()).unwrap();
        assert!(ask("istio-ca").is_none());
    }
}
