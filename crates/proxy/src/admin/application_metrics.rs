//! Metrics of the application behind this proxy.
//!
//! They pass line by line, and only whole lines: an application that is slow, ends
//! early or says too much costs its own numbers, not those of the proxy.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use weft_process::admin::Gone;

use crate::{
    telemetry::metrics::Output,
    upstream::dial::{DialError, DialTarget, Dialer},
};

/// How long the application may take for each of connection, head and next piece.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are taken of an application's metrics.
const MOST: usize = 8 * 1024 * 1024;
/// The longest line.
const LONGEST_LINE: usize = 64 * 1024;

/// Where the application's metrics are.
#[derive(Clone, Debug)]
pub struct Metrics<'u> {
    /// As in `http://127.0.0.1:9090/metrics`.
    pub url: &'u str,
    /// How the application is reached.
    pub dialer: Dialer,
}

/// Why there are no metrics, or no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Not a URL with a host.
    #[error("not the URL of metrics")]
    Url,
    /// The path or host is invalid.
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    /// HTTP failed.
    #[error("the application's answer")]
    Http(#[from] hyper::Error),
    /// The status is not 200.
    #[error("the application answers with status {0}")]
    Status(StatusCode),
    /// Too many bytes, or bytes that are no text.
    #[error("the application's metrics are more than {MOST} bytes, or not lines of text")]
    Text,
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    Slow,
    /// The reader left.
    #[error(transparent)]
    Gone(#[from] Gone),
}

impl Metrics<'_> {
    /// Copies all whole lines.
    pub async fn copy(self, to: &mut Output) -> Result<(), FetchError> {
        let opening = timeout(PATIENCE, self.open());
        let (mut body, _connection) = opening.await.map_err(|_| FetchError::Slow)??;
        let (mut rest, mut taken) = (Vec::new(), 0);
        loop {
            let frame = timeout(PATIENCE, body.frame()).await.map_err(|_| FetchError::Slow)?;
            let Some(frame) = frame.transpose()? else { break };
            let Ok(data) = frame.into_data() else { continue };
            taken += data.len();
            rest.extend_from_slice(&data);
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if taken > MOST || rest.len() - whole > LONGEST_LINE {
                return Err(FetchError::Text);
            }
            let lines = std::str::from_utf8(&rest[..whole]).map_err(|_| FetchError::Text)?;
            to.write(|text| text.raw(lines)).await?;
            rest.drain(..whole);
        }
        if !rest.is_empty() {
            // The answer is complete, so this is a whole line without its end.
            let line = std::str::from_utf8(&rest).map_err(|_| FetchError::Text)?;
            to.write(|text| text.raw(&format!("{line}\n"))).await?;
        }
        Ok(())
    }

    /// The body of the answer, and the connection, which ends with that set.
    async fn open(self) -> Result<(Incoming, JoinSet<()>), FetchError> {
        let url: Uri = self.url.parse().map_err(|_| FetchError::Url)?;
        let host = url.host().ok_or(FetchError::Url)?;
        let host = host.parse().unwrap_or([127, 0, 0, 1].into());
        let address = SocketAddr::new(host, url.port_u16().unwrap_or(80));
        let path = url.path_and_query().map_or("/metrics", |target| target.as_str());
        let stream = dial(address, &self.dialer, PATIENCE).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the application broke");
            }
        });
        let request = Request::get(path).header(header::HOST, address.to_string());
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        match response.status() {
            StatusCode::OK => Ok((response.into_body(), task)),
            status => Err(FetchError::Status(status)),
        }
    }
}

/// Connects to the application, past capture.
pub async fn dial(
    address: SocketAddr,
    dialer: &Dialer,
    limit: Duration,
) -> Result<TcpStream, DialError> {
    dialer.dial_tcp(DialTarget { address, application: true }, limit).await
}
