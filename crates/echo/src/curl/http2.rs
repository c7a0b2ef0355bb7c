//! One HTTP/2 exchange, without an upgrade before it (RFC 9113, section 3.3).

use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{
    Out, Verbose, arguments::Options, connect::Stream, failure::Failure, http1, record::Record,
    url::Url, write,
};

/// Sends the request and writes the answer.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    url: &Url,
    options: &Options,
    (record, out, verbose): (&mut Record, Out<'_>, &mut Verbose<'_>),
) -> Result<(), Failure> {
    let begun = Instant::now();
    let request = request(url, options)?;
    record.uploaded = options.data.as_ref().map_or(0, Vec::len);
    verbose.say(">", &format!("{} {} HTTP/2", request.method(), url.path));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(broken)?;
    let transfer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        record.first_byte = record.connected + begun.elapsed();
        record.status = response.status().as_u16();
        record.version = "2";
        let head = head(&response);
        record.head = head.len() as u64;
        verbose.say("<", &head);
        if options.include || options.head {
            write(out, head.as_bytes())?;
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        record.content_type =
            kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                record.received += data.len() as u64;
                write(out, &data)?;
            }
        }
        drop(sender);
        Ok(())
    };
    // The answer comes from the transfer; the connection only drives it.
    tokio::pin!(connection, transfer);
    tokio::select! {
        biased;
        result = &mut transfer => result,
        _ = &mut connection => transfer.await,
    }
}

fn request(url: &Url, options: &Options) -> Result<Request<Full<Bytes>>, Failure> {
    let fields: Vec<_> = options.headers.iter().filter_map(|header| http1::field(header)).collect();
    let given = |name: &str| {
        fields.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|found| found.1)
    };
    let scheme = if url.secure { "https" } else { "http" };
    let authority = given("host").unwrap_or(&url.authority);
    let mut request = Request::builder()
        .method(options.verb())
        .uri(format!("{scheme}://{authority}{}", url.path));
    let usual = [("user-agent", http1::AGENT), ("accept", "*/*")];
    for (name, value) in usual.into_iter().filter(|(name, _)| given(name).is_none()) {
        request = request.header(name, value);
    }
    if options.data.is_some() && given("content-type").is_none() {
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    for (name, value) in fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(options.data.clone().unwrap_or_default()));
    request.body(body).map_err(|error| Failure::Url(error.to_string()))
}

fn head(response: &Response<Incoming>) -> String {
    let mut head = format!("HTTP/2 {}\r\n", response.status().as_u16());
    for (name, value) in response.headers() {
        head += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    head + "\r\n"
}

/// What curl calls a connection or stream that broke.
fn broken(error: hyper::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(one) = cause {
        if let Some(io) = one.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::ConnectionReset => {
                    Failure::Receive("Connection reset by peer".to_owned())
                }
                _ => Failure::Receive(io.to_string()),
            };
        }
        cause = one.source();
    }
    match error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
        true => Failure::Empty,
        false => Failure::Stream(error.to_string()),
    }
}
