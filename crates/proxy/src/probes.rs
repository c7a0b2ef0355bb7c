//! Probes of the application, made on behalf of whoever asks the proxy.
//!
//! The injector writes down what a probe was before it was pointed here.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::{dial::Dialer, fetch};

/// Probes by path.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    by_path: BTreeMap<String, Probe>,
    address: Option<IpAddr>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    #[serde(default = "one_second")]
    timeout_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: Option<String>,
    port: u16,
    #[serde(default)]
    http_headers: Vec<Field>,
}

#[derive(Clone, Debug, Deserialize)]
struct Field {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Clone, Debug, Deserialize)]
struct TcpSocket {
    port: u16,
}

fn one_second() -> u64 {
    1
}

impl Probes {
    /// Reads what the injector wrote down.
    pub fn parse(text: &str, address: Option<IpAddr>) -> Result<Self, serde_json::Error> {
        Ok(Self { by_path: serde_json::from_str(text)?, address })
    }

    /// Makes the probe that is known by `path`.
    pub async fn probe(&self, path: &str, dialer: Dialer) -> (StatusCode, String) {
        let Some(probe) = self.by_path.get(path) else {
            let text = format!("no probe is known by {path}\n");
            return (StatusCode::NOT_FOUND, text);
        };
        let host = self.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let limit = Duration::from_secs(probe.timeout_seconds.clamp(1, 3600));
        let failed = |text: String| (StatusCode::INTERNAL_SERVER_ERROR, text + "\n");
        if let Some(get) = &probe.http_get {
            let path = get.path.clone().filter(|path| !path.is_empty());
            let path = path.unwrap_or_else(|| "/".to_owned());
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            let address = SocketAddr::new(host, get.port);
            let get = fetch::Get { address, path, headers: get.headers(), limit };
            return match get.send(dialer).await {
                Ok((status, _)) => (status, String::new()),
                Err(error) => failed(error.to_string()),
            };
        }
        match &probe.tcp_socket {
            Some(tcp) => match fetch::dial(SocketAddr::new(host, tcp.port), dialer, limit).await {
                Ok(_) => (StatusCode::OK, String::new()),
                Err(error) => failed(error.to_string()),
            },
            None => failed("the probe is neither httpGet nor tcpSocket".to_owned()),
        }
    }
}

impl HttpGet {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in &self.http_headers {
            let name = HeaderName::try_from(field.name.as_str());
            let value = HeaderValue::try_from(field.value.as_str());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        headers
    }
}
