//! Kubernetes' probes of the application, which the proxy makes for the kubelet.
//!
//! The injector points a pod's probes at the proxy, and gives the proxy the original ones.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use http::StatusCode;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};
use weft_process::probe::{self, Get};

use crate::{
    admin::application_metrics,
    upstream::dial::{DialError, Dialer},
};

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
    grpc: Option<Grpc>,
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
    scheme: Option<String>,
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

#[derive(Clone, Debug, Deserialize)]
struct Grpc {
    port: u16,
    #[serde(default)]
    service: Option<String>,
}

fn one_second() -> u64 {
    1
}

impl Probes {
    /// Reads what the injector wrote down.
    pub fn parse(text: &str, address: Option<IpAddr>) -> Result<Self, serde_json::Error> {
        Ok(Self { by_path: serde_json::from_str(text)?, address })
    }

    /// Makes the probe that is known by `path`: the application's own status, or
    /// 200 when it has none, and 500 with the reason when there is no answer.
    pub async fn probe(&self, path: &str, dialer: &Dialer) -> (StatusCode, String) {
        let Some(probe) = self.by_path.get(path) else {
            let text = format!("no probe is known by {path}\n");
            return (StatusCode::NOT_FOUND, text);
        };
        let host = self.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        match timeout(probe.limit(), probe.make(host, dialer)).await {
            Ok(Ok(status)) => (status, String::new()),
            Ok(Err(reason)) => (StatusCode::INTERNAL_SERVER_ERROR, reason + "\n"),
            Err(_) => {
                let text = format!("no answer within {}s\n", probe.limit().as_secs());
                (StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

impl Probe {
    fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.clamp(1, 3600))
    }

    async fn make(&self, host: IpAddr, dialer: &Dialer) -> Result<StatusCode, String> {
        let connect = |port| connect(SocketAddr::new(host, port), dialer, self.limit());
        if let Some(get) = &self.http_get {
            let stream = connect(get.port).await?;
            let answer = probe::get(stream, &get.question()).await;
            let status = answer.map_err(|error| error.to_string())?;
            return StatusCode::from_u16(status).map_err(|error| error.to_string());
        }
        if let Some(grpc) = &self.grpc {
            let stream = connect(grpc.port).await?;
            let answer = probe::health(stream, grpc.service.as_deref().unwrap_or_default()).await;
            return answer.map(|()| StatusCode::OK).map_err(|error| error.to_string());
        }
        match &self.tcp_socket {
            Some(tcp) => connect(tcp.port).await.map(|_| StatusCode::OK),
            None => Err("the probe has neither httpGet nor tcpSocket nor grpc".to_owned()),
        }
    }
}

impl HttpGet {
    fn question(&self) -> Get {
        let header = |field: &Field| (field.name.clone(), field.value.clone());
        Get {
            secure: self.scheme.as_deref() == Some("HTTPS"),
            path: self.path.clone().unwrap_or_default(),
            headers: self.http_headers.iter().map(header).collect(),
        }
    }
}

async fn connect(
    address: SocketAddr,
    dialer: &Dialer,
    limit: Duration,
) -> Result<TcpStream, String> {
    application_metrics::dial(address, dialer, limit).await.map_err(|error| match error {
        DialError::Refused(reason) => format!("connecting to {address}: {reason}"),
        other => format!("connecting to {address}: {other}"),
    })
}
