//! The control plane's own root, and the certificates that it serves with.
//!
//! Time is an argument. Workload certificates will be signed here too, from the
//! same root.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// How long a root is valid.
const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// How long a certificate for serving is valid.
const SERVING_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How far clocks may disagree.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The keys of the Secret that holds a root, as Istio names them.
pub mod secret_key {
    /// The certificate that signs.
    pub const CERTIFICATE: &str = "ca-cert.pem";
    /// Its private key.
    pub const PRIVATE_KEY: &str = "ca-key.pem";
    /// The root that everybody trusts.
    pub const ROOT: &str = "root-cert.pem";
    /// The certificates between the one that signs and the root.
    pub const CHAIN: &str = "cert-chain.pem";
}

/// Why there is no root, or no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// The certificate is not one, or not text.
    #[error("reading the root certificate ({})", secret_key::CERTIFICATE)]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key is not one, or not text.
    #[error("reading the root's private key ({})", secret_key::PRIVATE_KEY)]
    Key(#[source] rcgen::Error),
    /// The key is another certificate's.
    #[error("the root's private key does not belong to its certificate")]
    Mismatch,
    /// The certificate may not sign others.
    #[error("the root certificate is not one of a certificate authority")]
    NotAnAuthority,
    /// The root is too old or too young.
    #[error("the root certificate is not valid now")]
    Expired,
    /// A name that no certificate can have.
    #[error("`{name}` cannot be in a certificate")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// The library fails.
    #[error("signing")]
    Sign(#[source] rcgen::Error),
}

/// A certificate authority: a certificate and its key.
///
/// Invariant: the key is the certificate's, and the certificate may sign.
pub struct Root {
    certificate_pem: String,
    key_pem: String,
    not_after: SystemTime,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate to serve with.
#[derive(Clone)]
pub struct Served {
    /// The leaf, then what signed it.
    pub chain_pem: String,
    /// The leaf's private key.
    pub key_pem: String,
    /// When to ask for the next one.
    pub renew_at: SystemTime,
    /// When it is of no more use.
    pub not_after: SystemTime,
}

impl Root {
    /// A new root of `organization`, valid for ten years.
    pub fn generate(organization: &str, now: SystemTime) -> Result<Self, RootError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(RootError::Sign)?;
        let mut params = params(now, now + ROOT_LIFETIME)?;
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(RootError::Sign)?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// The root that [`certificate_pem`](Self::certificate_pem) and
    /// [`key_pem`](Self::key_pem) wrote, or anyone else's.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, RootError> {
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| RootError::Certificate(error.into()))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| RootError::Certificate(error.into()))?;
        let key = KeyPair::from_pem(key_pem).map_err(RootError::Key)?;
        if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(RootError::Mismatch);
        }
        let may_sign =
            certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        if !certificate.is_ca() || !may_sign {
            return Err(RootError::NotAnAuthority);
        }
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|error| RootError::Certificate(error.into()))?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            not_after,
            issuer,
        })
    }

    /// The certificate, as everybody may see it.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, for the Secret and nothing else.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When the root ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// A new key and certificate for a server that is called `names`, DNS names
    /// or addresses. It never outlives the root.
    pub fn serving(&self, names: &[&str], now: SystemTime) -> Result<Served, RootError> {
        let not_after = (now + SERVING_LIFETIME).min(self.not_after);
        let left = not_after.duration_since(now).map_err(|_| RootError::Expired)?;
        let mut params = params(now, not_after)?;
        for name in names {
            params.subject_alt_names.push(alternative(name)?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(RootError::Sign)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(RootError::Sign)?;
        Ok(Served {
            chain_pem: format!("{}{}", leaf.pem(), self.certificate_pem),
            key_pem: key.serialize_pem(),
            renew_at: now + left / 2,
            not_after,
        })
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// What all certificates share. Their names are alternative names only.
fn params(now: SystemTime, not_after: SystemTime) -> Result<CertificateParams, RootError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(RootError::Sign)?;
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = not_after.into();
    Ok(params)
}

fn alternative(name: &str) -> Result<SanType, RootError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    match name.try_into() {
        Ok(dns) => Ok(SanType::DnsName(dns)),
        Err(source) => Err(RootError::Name { name: name.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
