//! TLS to the server: checked against the machine's authorities, a file's, or not.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use weft_process::unchecked::AnyCertificate;

use super::{arguments::Options, failure::Failure, url::Url};

/// Where distributions keep the authorities they trust.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Shakes hands over `stream` with the server of `url`.
pub(super) async fn secure(
    stream: TcpStream,
    url: &Url,
    options: &Options,
) -> Result<TlsStream<TcpStream>, Failure> {
    let tls = |error: &dyn std::fmt::Display| Failure::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?;
    let mut config = match options.insecure {
        true => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
            .with_no_client_auth(),
        false => builder.with_root_certificates(authorities(options)?).with_no_client_auth(),
    };
    config.alpn_protocols = vec![if options.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = ServerName::try_from(url.host.clone()).map_err(|error| tls(&error))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)
}

fn authorities(options: &Options) -> Result<RootCertStore, Failure> {
    let mut store = RootCertStore::empty();
    let paths: Vec<&str> = match &options.authorities {
        Some(path) => vec![path],
        None => AUTHORITIES.to_vec(),
    };
    for path in paths {
        let Ok(certificates) = CertificateDer::pem_file_iter(path) else { continue };
        store.add_parsable_certificates(certificates.flatten());
        if !store.is_empty() {
            return Ok(store);
        }
    }
    match &options.authorities {
        Some(path) => Err(Failure::Certificate(format!("no certificates in {path}"))),
        None => Ok(store),
    }
}

/// What curl calls a handshake that failed.
fn failed(error: io::Error) -> Failure {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Failure::Certificate("unable to get local issuer certificate".to_owned())
        }
        Some(rustls::Error::InvalidCertificate(why)) => Failure::Certificate(why.to_string()),
        Some(other) => Failure::Tls(other.to_string()),
        None => Failure::Tls(error.to_string()),
    }
}
