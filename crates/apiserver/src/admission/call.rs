//! One call of one webhook: HTTPS to a Service or a URL, within its deadline.

use std::{io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::node::Dial;

/// The longest answer that is read.
const LONGEST: usize = 8 << 20;

/// Why a webhook could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Its configuration makes no sense.
    #[error("its clientConfig is wrong: {0}")]
    Configuration(String),
    /// It was not reached.
    #[error("Post \"{url}\": {source}")]
    Connect {
        /// Where it was looked for.
        url: String,
        /// What happened.
        source: io::Error,
    },
    /// The exchange failed.
    #[error("Post \"{url}\": {why}")]
    Exchange {
        /// Whom it was with.
        url: String,
        /// What happened.
        why: String,
    },
    /// It did not answer in time.
    #[error("Post \"{url}\": no answer within {}s", deadline.as_secs())]
    Late {
        /// Who did not answer.
        url: String,
        /// The time it had.
        deadline: Duration,
    },
}

/// Where a webhook is.
struct Endpoint {
    url: String,
    host: String,
    path: String,
    place: WebhookAddress,
}

enum WebhookAddress {
    Service(String, String, u16),
    Address(String, u16),
}

/// Calls webhooks.
pub struct Caller {
    dial: Arc<dyn Dial>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Caller {
    /// A caller that reaches Services through `dial`.
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial, provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()) }
    }

    /// Sends a review and reads the answer.
    pub async fn call(&self, webhook: &Value, review: &Value) -> Result<Value, CallError> {
        let config = &webhook["clientConfig"];
        let deadline = Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10));
        let endpoint = endpoint(config, deadline)?;
        let tls = self.tls(config)?;
        let exchange = self.exchange(&endpoint, tls, review);
        match tokio::time::timeout(deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Late { url: endpoint.url, deadline }),
        }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        tls: Arc<ClientConfig>,
        review: &Value,
    ) -> Result<Value, CallError> {
        let url = || endpoint.url.clone();
        let failed =
            |why: &dyn std::fmt::Display| CallError::Exchange { url: url(), why: why.to_string() };
        let connected = match &endpoint.place {
            WebhookAddress::Service(namespace, name, port) => {
                self.dial.service(namespace, name, *port).await
            }
            WebhookAddress::Address(host, port) => TcpStream::connect((host.as_str(), *port)).await,
        };
        let stream = connected.map_err(|source| CallError::Connect { url: url(), source })?;
        let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| failed(&error))?;
        let stream = TlsConnector::from(tls)
            .connect(name, stream)
            .await
            .map_err(|source| CallError::Connect { url: url(), source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        let request = Request::post(endpoint.path.as_str())
            .header(header::HOST, endpoint.host.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(review.to_string())))
            .map_err(|error| failed(&error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            let body = body.map_err(|error| failed(&error))?.to_bytes();
            if !status.is_success() {
                let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                return Err(failed(&format!("status {status}: {text}")));
            }
            serde_json::from_slice(&body).map_err(|error| failed(&error))
        };
        // The connection is driven here, so it ends with the call and leaves no task.
        tokio::pin!(connection);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(failed(&error)),
            },
        }
    }

    fn tls(&self, config: &Value) -> Result<Arc<ClientConfig>, CallError> {
        let wrong = |why: &dyn std::fmt::Display| CallError::Configuration(why.to_string());
        let bundle =
            config["caBundle"].as_str().filter(|text| !text.is_empty()).ok_or_else(|| {
                wrong(&"caBundle is empty, and webhooks are only trusted by their caBundle here")
            })?;
        let pem = STANDARD.decode(bundle).map_err(|error| wrong(&format!("caBundle: {error}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate =
                certificate.map_err(|error| wrong(&format!("caBundle: {error:?}")))?;
            roots.add(certificate).map_err(|error| wrong(&format!("caBundle: {error}")))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn endpoint(config: &Value, deadline: Duration) -> Result<Endpoint, CallError> {
    let wait = format!("timeout={}s", deadline.as_secs());
    if let Some(url) = config["url"].as_str() {
        let wrong = |why: &str| CallError::Configuration(format!("url {url:?} {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| wrong("must start with https:// and name a host"))?;
        let place = WebhookAddress::Address(
            host.trim_matches(['[', ']']).to_owned(),
            uri.port_u16().unwrap_or(443),
        );
        let path = format!("{}?{wait}", uri.path());
        return Ok(Endpoint {
            url: format!("{url}?{wait}"),
            host: host.trim_matches(['[', ']']).to_owned(),
            path,
            place,
        });
    }
    let service = &config["service"];
    let (Some(namespace), Some(name)) = (service["namespace"].as_str(), service["name"].as_str())
    else {
        let why = "it names neither a url nor a service with name and namespace";
        return Err(CallError::Configuration(why.to_owned()));
    };
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
    let path = service["path"].as_str().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let host = format!("{name}.{namespace}.svc");
    let path = format!("{slash}{path}?{wait}");
    Ok(Endpoint {
        url: format!("https://{host}:{port}{path}"),
        host,
        path,
        place: WebhookAddress::Service(namespace.to_owned(), name.to_owned(), port),
    })
}
