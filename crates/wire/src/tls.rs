//! TLS for the stream: version 1.3, HTTP/2, post-quantum key exchange first.
//!
//! Certificates come as text and are swapped as text; this reads no files.

use std::{
    fmt,
    sync::{Arc, RwLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Not PEM.
    #[error("reading {what} as PEM")]
    Pem {
        /// What was to be read.
        what: &'static str,
        /// Why it cannot be.
        source: rustls::pki_types::pem::Error,
    },
    /// It has no certificate.
    #[error("no certificate in {what}")]
    Empty {
        /// Where one was expected.
        what: &'static str,
    },
    /// Not what TLS needs.
    #[error("using the certificate or key for TLS")]
    Unusable(#[from] rustls::Error),
}

/// What a client needs to know a server that has a certificate under `roots_pem`.
pub fn trusting(roots_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates("the root certificates", roots_pem)? {
        roots.add(root)?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// What a server needs to speak HTTP/2 with the certificate of `serving`,
/// whichever it is at the time of the handshake.
pub fn serving(serving: Arc<Serving>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// A server's certificate and key, which can be swapped while it serves.
pub struct Serving(RwLock<Arc<CertifiedKey>>);

impl Serving {
    /// Starts with this chain, leaf first, and its key.
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        Ok(Self(RwLock::new(certified(chain_pem, key_pem)?)))
    }

    /// Uses another chain and key for new handshakes.
    pub fn replace(&self, chain_pem: &str, key_pem: &str) -> Result<(), TlsError> {
        let key = certified(chain_pem, key_pem)?;
        // Writing an `Arc` cannot be left half done, so a poisoned lock is as good.
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = key;
        Ok(())
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving")
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certified(chain_pem: &str, key_pem: &str) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates("the certificate chain", chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|source| TlsError::Pem { what: "the private key", source })?;
    let key = CertifiedKey::from_der(chain, key, &provider())?;
    Ok(Arc::new(key))
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|source| TlsError::Pem { what, source })?;
    match chain.is_empty() {
        true => Err(TlsError::Empty { what }),
        false => Ok(chain),
    }
}
