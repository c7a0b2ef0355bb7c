//! Who is asking, and whether they may.
//!
//! Members of `system:masters`, as the holder of the kubeconfig is, may do
//! everything. Everyone else may do what roles that are bound to them allow,
//! exactly as on a cluster.

mod rules;
mod grants;
mod impersonation;

use std::{sync::Arc, time::SystemTime};

use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    authority::{Authority, MASTERS},
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
    /// The path, where it is not a resource's.
    pub path: String,
}

impl Attempt {
    /// The resource, with its subresource.
    fn resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.plural.clone(),
            subresource => format!("{}/{subresource}", self.plural),
        }
    }

    fn scope(&self) -> String {
        match self.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        }
    }
}

impl User {
    /// The API server itself, as its controllers.
    pub fn controllers() -> Self {
        Self {
            name: "system:kube-controller-manager".into(),
            groups: vec![MASTERS.into(), "system:authenticated".into()],
            ..Self::default()
        }
    }

    /// Whether no role has to allow what this caller does.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
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
        [] => vec![authority.audience().to_owned()],
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
        (object["metadata"]["uid"] == reference["uid"]).then_some(object)
    };
    lives("serviceaccounts", &bound["serviceaccount"])?;
    let mut extra = Value::Null;
    if bound["pod"].is_object() {
        let pod = lives("pods", &bound["pod"])?;
        if !runs_as(&pod, bound["serviceaccount"]["name"].as_str()?) {
            return None;
        }
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

/// Whether a pod runs as a service account of its namespace.
pub fn runs_as(pod: &Value, account: &str) -> bool {
    pod["spec"]["serviceAccountName"] == account
}

/// Whether a caller may do something; the refusal says what was refused.
pub fn authorize(store: &Store, user: &User, attempt: &Attempt) -> Result<(), Status> {
    if is_allowed(store, user, attempt) {
        return Ok(());
    }
    let (verb, who) = (&attempt.verb, &user.name);
    if attempt.plural.is_empty() {
        let path = &attempt.path;
        let message = format!("forbidden: User \"{who}\" cannot {verb} path \"{path}\"");
        return Err(Status::forbidden(message));
    }
    let what = format!(
        "User \"{who}\" cannot {verb} resource \"{}\" in API group \"{}\" {}",
        attempt.resource(),
        attempt.group,
        attempt.scope(),
    );
    Err(Status::forbidden_to(&attempt.group, &attempt.plural, &attempt.name, &what))
}

/// Whether a caller may do something.
pub fn is_allowed(store: &Store, user: &User, attempt: &Attempt) -> bool {
    user.is_master()
        || rules::of(store, user, &attempt.namespace).any(|rule| rules::covers(&rule, attempt))
}

pub use grants::check as check_grant;
pub use impersonation::impersonate;
pub use rules::{defaults as default_roles, told as rules_of};

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

    #[test]
    fn a_token_dies_with_its_pod() {
        let (authority, store) = (Authority::new().unwrap(), Store::new());
        let of = |plural: &str| store.resource("", plural).unwrap();
        store.create(&of("namespaces"), json!({"metadata": {"name": "blue"}})).unwrap();
        let object =
            |spec: Value| json!({"metadata": {"name": "web", "namespace": "blue"}, "spec": spec});
        let account = store.create(&of("serviceaccounts"), object(Value::Null)).unwrap();
        let spec = json!({"containers": [], "serviceAccountName": "web"});
        let pod = store.create(&of("pods"), object(spec)).unwrap();
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
        let mut of_other = request.clone();
        of_other.account = "default".into();
        store
            .create(
                &of("serviceaccounts"),
                json!({"metadata": {"name": "default", "namespace": "blue"}}),
            )
            .unwrap();
        let stolen = authority.service_account_token(&of_other, SystemTime::now()).unwrap();
        assert!(by_token(&authority, &store, &stolen, &["istio-ca".to_owned()]).is_none());
        store.delete(&of("pods"), "blue", "web", &crate::Deletion::now()).unwrap();
        assert!(ask("istio-ca").is_none());
    }
}
