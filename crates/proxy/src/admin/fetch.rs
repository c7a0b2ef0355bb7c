//! What the application behind this proxy says of itself: its metrics.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::upstream::dial::{DialError, Dialer, Way};

/// What is read of an answer.
const MOST_BODY: usize = 8 * 1024 * 1024;

/// What to ask the application.
#[derive(Clone, Debug)]
pub struct Get {
    /// Where it is.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
    /// How long all of it may take.
    pub limit: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The path or host is none.
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    /// HTTP failed.
    #[error("the application's answer")]
    Http(#[from] hyper::Error),
    /// The body failed, or is too large.
    #[error("the application's answer: {0}")]
    Body(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Slow(Duration),
}

impl Get {
    /// Asks, and reads the whole answer.
    pub async fn send(self, dialer: Dialer) -> Result<(StatusCode, Bytes), FetchError> {
        let limit = self.limit;
        timeout(limit, self.exchange(dialer)).await.map_err(|_| FetchError::Slow(limit))?
    }

    async fn exchange(self, dialer: Dialer) -> Result<(StatusCode, Bytes), FetchError> {
        let stream = dial(self.address, dialer, self.limit).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(&self.path).header(header::HOST, self.address.to_string());
        let request = request.body(Empty::<Bytes>::new())?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BODY).collect().await;
            let body = body.map_err(|error| FetchError::Body(error.to_string()))?.to_bytes();
            Ok((status, body))
        };
        tokio::pin!(connection);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The connection ends when the answer is complete; what it carried is read then.
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// Connects to the application, past capture.
pub async fn dial(
    address: SocketAddr,
    dialer: Dialer,
    limit: Duration,
) -> Result<TcpStream, DialError> {
    dialer.dial_tcp(Way { address, application: true }, limit).await
}
