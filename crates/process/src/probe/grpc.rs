//! The standard health check of gRPC: `grpc.health.v1.Health/Check`.
//!
//! One unary call over HTTP/2 without TLS, as a node makes it. The call is small
//! enough to be made by hand: a message with five bytes before it, and the
//! call's own status after the answer.

use std::{fmt::Display, net::SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Request, Response, body::Incoming, client::conn::http2, http::Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

use super::{AGENT, ProbeError, driven};

/// No answer to the question is longer.
const LONGEST_ANSWER: usize = 64 * 1024;
/// What a server answers that has no such call.
const UNIMPLEMENTED: &str = "12";

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl ServingStatus {
    /// As the protocol spells it.
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// Asks whether `service` is served; an error says what came instead.
pub(super) async fn check(
    stream: TcpStream,
    address: SocketAddr,
    service: &str,
) -> Result<(), ProbeError> {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(failed)?;
    let request = request(address, service).map_err(ProbeError::Request)?;
    let exchange = async {
        let status = status(sender.send_request(request).await.map_err(failed)?).await;
        // Nobody else may hold the connection open.
        drop(sender);
        status
    };
    match driven(connection, exchange).await? {
        ServingStatus::Serving => Ok(()),
        other => Err(ProbeError::Unhealthy(other.name())),
    }
}

fn failed(error: impl Display) -> ProbeError {
    ProbeError::Health(error.to_string())
}

fn request(address: SocketAddr, service: &str) -> Result<Request<Full<Bytes>>, Error> {
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let mut body = BytesMut::with_capacity(5 + message.len());
    // Not compressed, then the length.
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(&message);
    Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", AGENT)
        .body(Full::new(body.freeze()))
}

async fn status(response: Response<Incoming>) -> Result<ServingStatus, ProbeError> {
    if response.status() != 200 {
        return Err(failed(format_args!("HTTP status {}", response.status().as_u16())));
    }
    // A call that fails at once has its status in the head.
    refused(response.headers())?;
    let body = Limited::new(response.into_body(), LONGEST_ANSWER);
    let body = body.collect().await.map_err(failed)?;
    if let Some(trailers) = body.trailers() {
        refused(trailers)?;
    }
    let body = body.to_bytes();
    let odd = || failed("the answer is not a HealthCheckResponse");
    let message = body.strip_prefix(&[0]).and_then(|rest| rest.get(4..)).ok_or_else(odd)?;
    HealthCheckResponse::decode(message).map(|answer| answer.status()).map_err(|_| odd())
}

/// An error when the call itself did not succeed.
fn refused(fields: &HeaderMap) -> Result<(), ProbeError> {
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(UNIMPLEMENTED) => Err(ProbeError::NoHealthService),
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(failed(format!("code {code} {message}").trim_end()))
        }
    }
}
