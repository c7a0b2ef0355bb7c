//! Whether a token is who it says it is: the API server is asked.

use serde_json::{Value, json};
use weft_control::{Account, Authenticate, Authenticating, Caller, Refused};

use crate::client::{ClientError, Cluster, Resource};

/// Whom the tokens of proxies are meant for.
pub(crate) const AUDIENCE: &str = "istio-ca";

/// Checks tokens by `TokenReview`.
pub(super) struct Reviews {
    cluster: Cluster,
    resource: Resource,
}

impl Reviews {
    pub(super) fn new(cluster: Cluster) -> Self {
        let resource = Resource {
            group: "authentication.k8s.io".to_owned(),
            version: "v1".to_owned(),
            plural: "tokenreviews".to_owned(),
            kind: "TokenReview".to_owned(),
            ..Resource::default()
        };
        Self { cluster, resource }
    }

    async fn review(&self, token: String) -> Result<Caller, Refused> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        });
        let answer = self.cluster.create(&self.resource, "", &review).await;
        match answer {
            Ok(review) => caller(&review["status"]),
            // Any other refusal (401, 403, 429) is about the one who asks.
            Err(ClientError::Refused { refusal }) if matches!(refusal.code, 400 | 422) => {
                Err(Refused::Invalid(refusal.message))
            }
            Err(error) => Err(Refused::Unavailable(error.to_string())),
        }
    }
}

impl Authenticate for Reviews {
    fn who(&self, token: String) -> Authenticating<'_> {
        Box::pin(self.review(token))
    }
}

/// The caller in a review's status; only accounts of the cluster call.
fn caller(status: &Value) -> Result<Caller, Refused> {
    if status["authenticated"] != true {
        let why = status["error"].as_str().unwrap_or("the API server does not know it");
        return Err(Refused::Invalid(why.to_owned()));
    }
    let audiences = status["audiences"].as_array().into_iter().flatten();
    if !audiences.into_iter().any(|audience| audience == AUDIENCE) {
        return Err(Refused::Invalid(format!("it is not meant for {AUDIENCE}")));
    }
    let user = &status["user"];
    let account = Account::of_user(user["username"].as_str().unwrap_or_default())
        .map_err(|error| Refused::Invalid(error.to_string()))?;
    let extra = |name: &str| {
        let values = &user["extra"][format!("authentication.kubernetes.io/{name}")];
        values[0].as_str().unwrap_or_default().to_owned()
    };
    Ok(Caller {
        namespace: account.namespace,
        account: account.name,
        pod: extra("pod-name"),
        pod_uid: extra("pod-uid"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        json!({
            "authenticated": true,
            "audiences": ["istio-ca"],
            "user": {
                "username": "system:serviceaccount:shop:cart",
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["cart-1"],
                    "authentication.kubernetes.io/pod-uid": ["7"],
                },
            },
        })
    }

    #[test]
    fn a_bound_token_names_account_and_pod() {
        let caller = caller(&status()).unwrap();
        assert_eq!((caller.namespace.as_str(), caller.account.as_str()), ("shop", "cart"));
        assert_eq!((caller.pod.as_str(), caller.pod_uid.as_str()), ("cart-1", "7"));
    }

    #[test]
    fn others_are_refused() {
        let mut other = status();
        other["audiences"] = json!(["api"]);
        assert!(caller(&other).is_err());
        let mut other = status();
        other["user"]["username"] = json!("kubernetes-admin");
        assert!(caller(&other).is_err());
        let text = caller(&json!({"error": "expired"})).unwrap_err().to_string();
        assert_eq!(text, "the token is not valid: expired");
    }
}
