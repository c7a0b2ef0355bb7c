//! The mesh's root: kept in a Secret, made once, and what is served with it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use weft_control::{Root, RootError, Served, secret_key, tls};

use super::ControlPlaneError;
use crate::client::{ClientError, Cluster, Resource};

/// The Secret in which the root is kept, as Istio names it.
const SECRET: &str = "istio-ca-secret";
/// Whose root it is: the trust domain's.
const ORGANIZATION: &str = "cluster.local";
/// How soon a renewal that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// How often the wall clock is looked at, which certificates follow: a machine
/// that was asleep has not counted the time.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// The root that the Secret has; the first control plane puts one there.
pub(super) async fn load(cluster: &Cluster, namespace: &str) -> Result<Root, ControlPlaneError> {
    let api = |source| ControlPlaneError::Api { what: "reading the mesh's root", source };
    let resource = Resource {
        version: "v1".to_owned(),
        plural: "secrets".to_owned(),
        kind: "Secret".to_owned(),
        namespaced: true,
        ..Resource::default()
    };
    if let Some(secret) = cluster.find(&resource, namespace, SECRET).await.map_err(api)? {
        return read(&secret, namespace);
    }
    let root = generate(namespace)?;
    match cluster.create(&resource, namespace, &write(&root, namespace)).await {
        Ok(_) => Ok(root),
        // Another replica was faster; its root is everybody's.
        Err(ClientError::Refused { refusal }) if refusal.code == 409 => {
            let secret = cluster.find(&resource, namespace, SECRET).await.map_err(api)?;
            read(&secret.unwrap_or_default(), namespace)
        }
        Err(error) => Err(api(error)),
    }
}

fn generate(namespace: &str) -> Result<Root, ControlPlaneError> {
    Root::generate(ORGANIZATION, SystemTime::now()).map_err(|source| ControlPlaneError::Root {
        secret: format!("{namespace}/{SECRET}"),
        source,
    })
}

fn read(secret: &Value, namespace: &str) -> Result<Root, ControlPlaneError> {
    let text = |key: &str| {
        let encoded = secret["data"][key].as_str().unwrap_or_default();
        let bytes = STANDARD.decode(encoded).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    Root::from_pem(&text(secret_key::CERTIFICATE), &text(secret_key::PRIVATE_KEY)).map_err(
        |source| ControlPlaneError::Root { secret: format!("{namespace}/{SECRET}"), source },
    )
}

fn write(root: &Root, namespace: &str) -> Value {
    let texts = [
        (secret_key::CERTIFICATE, root.certificate_pem()),
        (secret_key::PRIVATE_KEY, root.key_pem()),
        (secret_key::ROOT, root.certificate_pem()),
        (secret_key::CHAIN, ""),
    ];
    let data: Map<String, Value> =
        texts.iter().map(|(key, text)| ((*key).to_owned(), STANDARD.encode(text).into())).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace},
        "type": "istio.io/ca-root",
        "data": data,
    })
}

/// The control plane's own certificate, and when it has to be renewed.
pub(super) struct Certificate {
    root: Root,
    names: Vec<String>,
    renew_at: SystemTime,
    serving: Arc<tls::Serving>,
}

impl Certificate {
    /// A certificate for the names of the control plane's Service in a cluster of `domain`.
    pub(super) fn new(
        root: Root,
        namespace: &str,
        domain: &str,
    ) -> Result<Self, ControlPlaneError> {
        let names = vec![
            format!("istiod.{namespace}.svc"),
            format!("istiod.{namespace}.svc.{domain}"),
            format!("istiod.{namespace}"),
        ];
        let served = sign(&root, &names).map_err(|source| ControlPlaneError::Root {
            secret: format!("{namespace}/{SECRET}"),
            source,
        })?;
        let serving = Arc::new(tls::Serving::new(&served.chain_pem, &served.key_pem)?);
        Ok(Self { root, names, renew_at: served.renew_at, serving })
    }

    /// Who signed it.
    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// What new handshakes are served with.
    pub(super) fn serving(&self) -> Arc<tls::Serving> {
        Arc::clone(&self.serving)
    }

    /// Replaces the certificate before it expires, for ever.
    pub(super) async fn renew(mut self) {
        loop {
            let left = self.renew_at.duration_since(SystemTime::now()).unwrap_or_default();
            if !left.is_zero() {
                tokio::time::sleep(left.min(LONGEST_NAP)).await;
                continue;
            }
            match sign(&self.root, &self.names) {
                Ok(served) => match self.serving.replace(&served.chain_pem, &served.key_pem) {
                    Ok(()) => {
                        self.renew_at = served.renew_at;
                        continue;
                    }
                    Err(error) => tracing::error!("using a renewed certificate: {error}"),
                },
                Err(error) => tracing::error!("renewing the control plane's certificate: {error}"),
            }
            self.renew_at = SystemTime::now() + TRY_AGAIN;
        }
    }
}

fn sign(root: &Root, names: &[String]) -> Result<Served, RootError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    root.serving(&names, SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_survives_its_secret() {
        let root = generate("istio-system").unwrap();
        let again = read(&write(&root, "istio-system"), "istio-system").unwrap();
        assert_eq!(again.certificate_pem(), root.certificate_pem());
        assert!(Certificate::new(again, "istio-system", "cluster.local").is_ok());
    }

    #[test]
    fn the_control_plane_is_called_by_its_name_in_the_domain_of_the_cluster() {
        let root = generate("istio-system").unwrap();
        let certificate = Certificate::new(root, "istio-system", "east.example").unwrap();
        let expected =
            ["svc", "svc.east.example", ""].map(|rest| format!("istiod.istio-system.{rest}"));
        let expected = expected.map(|name| name.trim_end_matches('.').to_owned());
        assert_eq!(certificate.names, expected);
    }

    #[test]
    fn a_secret_that_says_nothing_is_told() {
        let error = read(&json!({"data": {}}), "istio-system").err().unwrap().to_string();
        assert_eq!(error, "the mesh's root, in Secret istio-system/istio-ca-secret");
    }
}
