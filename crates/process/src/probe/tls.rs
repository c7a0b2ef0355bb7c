//! TLS to an application, without a look at its certificate.
//!
//! A kubelet does not check it either: it asks whether the application is well,
//! not who it is, and knows it by its address.

use std::{io, net::IpAddr, sync::Arc};

use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::ProbeError;
use crate::unchecked::AnyCertificate;

/// Makes the TLS handshake over `stream`; HTTP/2 and HTTP/1.1 are offered.
pub(super) async fn secure(
    address: IpAddr,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, ProbeError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ProbeError::Tls(io::Error::other(error)))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connecting =
        TlsConnector::from(Arc::new(config)).connect(ServerName::from(address), stream);
    connecting.await.map_err(ProbeError::Tls)
}
