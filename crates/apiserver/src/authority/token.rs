//! Service-account tokens: signed claims with an audience and an end.
//!
//! The claims are those of Kubernetes, so other programs can read the tokens.
//! Signed with ES256 by a key that never leaves memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A request for a token.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The service account's namespace.
    pub namespace: String,
    /// The service account's name.
    pub account: String,
    /// The service account's `metadata.uid`.
    pub account_uid: String,
    /// Name and uid of the pod to which the token is bound.
    pub pod: Option<(String, String)>,
    /// For whom it is; the API server itself when empty.
    pub audiences: Vec<String>,
    /// How long it counts.
    pub lifetime: Duration,
}

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Claims {
    /// For whom the token is.
    pub aud: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// When it was made.
    pub iat: u64,
    /// Before which it does not count.
    pub nbf: u64,
    /// Who made it.
    pub iss: String,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
    /// Namespace, account and pod, with their identities.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Value,
}

/// The key behind all tokens.
pub struct Signer {
    encode: EncodingKey,
    decode: DecodingKey,
    issuer: String,
}

impl Signer {
    /// A signer with a new key, for tokens of `issuer`.
    pub fn new(issuer: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let encode = EncodingKey::from_ec_der(&key.serialize_der());
        let decode = DecodingKey::from_ec_der(key.public_key_raw());
        Ok(Self { encode, decode, issuer: issuer.to_owned() })
    }

    /// Signs what is requested.
    pub fn sign(
        &self,
        request: &TokenRequest,
        now: SystemTime,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let now = seconds(now);
        let mut kubernetes = json!({
            "namespace": request.namespace,
            "serviceaccount": {"name": request.account, "uid": request.account_uid},
        });
        if let Some((name, uid)) = &request.pod {
            kubernetes["pod"] = json!({"name": name, "uid": uid});
        }
        let aud = match request.audiences.is_empty() {
            true => vec![self.issuer.clone()],
            false => request.audiences.clone(),
        };
        let claims = Claims {
            aud,
            exp: now + request.lifetime.as_secs(),
            iat: now,
            nbf: now,
            iss: self.issuer.clone(),
            sub: format!("system:serviceaccount:{}:{}", request.namespace, request.account),
            kubernetes,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.encode)
    }

    /// The claims of a token of this signer that counts at `now`.
    pub fn verify(&self, token: &str, now: SystemTime) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::ES256);
        // The audience is the caller's question, and the clock is an argument.
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decode, &validation).ok()?.claims;
        let now = seconds(now);
        (claims.nbf <= now + 60 && now < claims.exp).then_some(claims)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> TokenRequest {
        TokenRequest {
            namespace: "default".into(),
            account: "web".into(),
            account_uid: "a-1".into(),
            pod: Some(("web-1".into(), "p-1".into())),
            audiences: vec!["istio-ca".into()],
            lifetime: Duration::from_secs(600),
        }
    }

    #[test]
    fn a_token_says_who_and_for_whom_until_it_ends() {
        let signer = Signer::new("https://api").unwrap();
        let made = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let token = signer.sign(&request(), made).unwrap();
        let claims = signer.verify(&token, made + Duration::from_secs(599)).unwrap();
        assert_eq!(claims.sub, "system:serviceaccount:default:web");
        assert_eq!(claims.aud, ["istio-ca"]);
        assert_eq!(claims.kubernetes["pod"], json!({"name": "web-1", "uid": "p-1"}));
        assert_eq!(signer.verify(&token, made + Duration::from_secs(600)), None);
    }

    #[test]
    fn a_token_of_another_signer_is_nothing() {
        let token = Signer::new("https://api").unwrap().sign(&request(), UNIX_EPOCH).unwrap();
        assert_eq!(Signer::new("https://api").unwrap().verify(&token, UNIX_EPOCH), None);
    }
}
