//! The cluster's own certificate authority and its signer of tokens.
//!
//! Made anew for every mesh and kept in memory only, so nothing of it outlives
//! the process. It identifies users; `access` decides what they may do.

mod token;

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

pub use token::{Claims, TokenRequest};

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";

/// The domain of a cluster's names where no other is chosen.
const DOMAIN: &str = "cluster.local";

/// Names by which the API server is reached, and the one in the cluster's domain.
const NAMES: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "::1",
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    API_SERVICE,
];

const API_SERVICE: &str = "kubernetes.default.svc";

/// Why no authority could be made, or it could not sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A certificate could not be made.
    #[error("making the certificate of {subject}")]
    Certificate {
        /// Whose certificate.
        subject: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// The TLS configuration could not be made.
    #[error("configuring TLS for the API server: {0}")]
    Tls(String),
    /// A token could not be signed.
    #[error("signing a token for {account}")]
    Token {
        /// The service account.
        account: String,
        /// What the library said.
        source: jsonwebtoken::errors::Error,
    },
}

/// Who signs for this cluster.
pub struct Authority {
    ca_pem: String,
    ca: CertificateDer<'static>,
    server: Identity,
    admin: Identity,
    tokens: token::Signer,
    audience: String,
}

struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    /// A new authority with new keys.
    pub fn new() -> Result<Self, AuthorityError> {
        Self::of_domain(DOMAIN)
    }

    /// A new authority of a cluster whose names are in `domain`.
    pub fn of_domain(domain: &str) -> Result<Self, AuthorityError> {
        let failed = |subject: &str| {
            let subject = subject.to_owned();
            move |source| AuthorityError::Certificate { subject, source }
        };
        let key = KeyPair::generate().map_err(failed("the authority"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("kubernetes", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca = params.self_signed(&key).map_err(failed("the authority"))?;
        let issuer = Issuer::from_params(&params, &key);
        let full = format!("{API_SERVICE}.{domain}");
        let audience = format!("https://{full}");
        let names = NAMES.iter().map(|name| (*name).to_owned()).chain([full]);
        let names: Vec<String> = names.collect();
        let server = CertificateParams::new(names).map_err(failed("the API server"))?;
        let server = leaf(
            server,
            subject("kube-apiserver", None),
            ExtendedKeyUsagePurpose::ServerAuth,
            &issuer,
        )
        .map_err(failed("the API server"))?;
        let admin = leaf(
            CertificateParams::default(),
            subject("kubernetes-admin", Some(MASTERS)),
            ExtendedKeyUsagePurpose::ClientAuth,
            &issuer,
        )
        .map_err(failed("the administrator"))?;
        let tokens = token::Signer::new(&audience).map_err(failed("the tokens' signer"))?;
        Ok(Self { ca_pem: ca.pem(), ca: ca.der().clone(), server, admin, tokens, audience })
    }

    /// The authority's certificate, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The audience of tokens for the API server itself, which is their issuer, too.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// A kubeconfig of the administrator, for the API server at `server`.
    pub fn admin_kubeconfig(&self, server: SocketAddr, name: &str) -> String {
        let encode = |text: &str| STANDARD.encode(text);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\npreferences: {{}}\n\
             clusters:\n- name: {name}\n  cluster:\n    server: https://{server}\n    \
             certificate-authority-data: {ca}\n\
             contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}-admin\n    \
             namespace: default\n\
             users:\n- name: {name}-admin\n  user:\n    client-certificate-data: {certificate}\n    \
             client-key-data: {key}\n",
            ca = encode(&self.ca_pem),
            certificate = encode(&self.admin.certificate.pem()),
            key = encode(&self.admin.key.serialize_pem()),
        )
    }

    /// A token by which a service account, perhaps of one pod, is known.
    pub fn service_account_token(
        &self,
        request: &TokenRequest,
        now: SystemTime,
    ) -> Result<String, AuthorityError> {
        self.tokens.sign(request, now).map_err(|source| {
            let account = format!("{}/{}", request.namespace, request.account);
            AuthorityError::Token { account, source }
        })
    }

    /// What a token says, if this authority signed it and it has not expired.
    pub fn verify(&self, token: &str, now: SystemTime) -> Option<Claims> {
        self.tokens.verify(token, now)
    }

    /// How the API server speaks TLS; clients may show a certificate of this authority.
    pub fn tls(&self) -> Result<Arc<ServerConfig>, AuthorityError> {
        let tls = |error: &dyn std::fmt::Display| AuthorityError::Tls(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).map_err(|error| tls(&error))?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| tls(&error))?;
        let key = PrivatePkcs8KeyDer::from(self.server.key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| tls(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![self.server.certificate.der().clone(), self.ca.clone()],
                PrivateKeyDer::Pkcs8(key),
            )
            .map_err(|error| tls(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn subject(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

fn leaf(
    mut params: CertificateParams,
    subject: DistinguishedName,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, &KeyPair>,
) -> Result<Identity, rcgen::Error> {
    let key = KeyPair::generate()?;
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(Identity { certificate, key })
}
