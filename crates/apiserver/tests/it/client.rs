//! A running server on a free port, and a client that shows a certificate.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;
use weft_apiserver::{Authority, Server, Store};

use crate::fake::{self, Fake};

/// A server, its controllers and its node; they end with it.
pub struct World {
    /// What is stored.
    pub store: Store,
    /// Who signs.
    pub authority: Arc<Authority>,
    address: std::net::SocketAddr,
    tls: Arc<ClientConfig>,
    _tasks: JoinSet<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub code: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl World {
    /// Starts everything.
    pub async fn start() -> Self {
        let (store, authority) = (Store::new(), Arc::new(Authority::new().unwrap()));
        let node = Arc::new(Fake);
        let server = Server::new(store.clone(), Arc::clone(&authority), node.clone(), node);
        let server = Arc::new(server.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = tls(&authority, &authority.admin_kubeconfig(address, "test"));
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&server).serve(listener, std::future::pending()));
        tasks.spawn(Arc::clone(&server).control(std::future::pending()));
        tasks.spawn(fake::run(store.clone()));
        Self { store, authority, address, tls, _tasks: tasks }
    }

    /// Sends a request; its body may still be growing.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.open_as(&self.tls, request).await
    }

    async fn open_as(
        &self,
        tls: &Arc<ClientConfig>,
        mut request: Request<Full<Bytes>>,
    ) -> Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        // Ends when the response is dropped: nothing else holds the connection.
        tokio::spawn(connection.with_upgrades());
        request.headers_mut().insert("host", "localhost".parse().unwrap());
        sender.send_request(request).await.unwrap()
    }

    /// Sends a request and reads the answer.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Answer {
        read(self.open(request).await).await
    }

    /// GET as the administrator.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(request(Method::GET, path, "", "")).await
    }

    /// POST of JSON as the administrator.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(request(Method::POST, path, "application/json", &body.to_string())).await
    }

    /// PATCH as the administrator.
    pub async fn patch(&self, path: &str, media: &str, body: &Value) -> Answer {
        self.call(request(Method::PATCH, path, media, &body.to_string())).await
    }

    /// TLS that shows no certificate.
    fn plain(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.ca_pem().as_bytes().to_vec();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        Arc::new(builder().with_root_certificates(roots).with_no_client_auth())
    }

    /// What is answered to the head of a request, without a certificate; its body never
    /// comes.
    pub async fn answer_to_head(&self, head: &str) -> String {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(self.plain()).connect(name, stream).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// GET with a token and no certificate.
    pub async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.call_as(token, request(Method::GET, path, "", "")).await
    }

    /// Sends a request with a token and no certificate, and reads the answer.
    pub async fn call_as(&self, token: &str, mut request: Request<Full<Bytes>>) -> Answer {
        let plain = self.plain();
        if !token.is_empty() {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        read(self.open_as(&plain, request).await).await
    }
}

/// Reads an answer to its end.
pub async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { code: parts.status.as_u16(), headers: parts.headers, body }
}

/// A request with a body, which may be empty.
pub fn request(method: Method, path: &str, media: &str, body: &str) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path).header("user-agent", "it/1");
    if !media.is_empty() {
        builder = builder.header("content-type", media);
    }
    builder.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

/// TLS as kubectl would speak it with this kubeconfig.
fn tls(authority: &Authority, kubeconfig: &str) -> Arc<ClientConfig> {
    let field = |name: &str| {
        let line = kubeconfig.lines().find(|line| line.trim().starts_with(name)).unwrap();
        STANDARD.decode(line.split_once(": ").unwrap().1).unwrap()
    };
    assert_eq!(field("certificate-authority-data"), authority.ca_pem().as_bytes());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&field("certificate-authority-data")).unwrap())
        .unwrap();
    let certificate = CertificateDer::from_pem_slice(&field("client-certificate-data")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&field("client-key-data")).unwrap();
    let config = builder().with_root_certificates(roots);
    Arc::new(config.with_client_auth_cert(vec![certificate], key).unwrap())
}
