//! The same client over HTTP/2: heads are sent as they were recorded, also those that break rules.

use bytes::Bytes;
use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpStream, tcp::OwnedWriteHalf},
    time::timeout,
};
use weft_testkit::http2::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PREFACE, block, frame};

use crate::client::{Answer, Path};

/// Peers take frames of this size unless they say more (RFC 9113, section 4.2).
const LONGEST_FRAME: usize = 16384;

/// Sends a request of these fields, with a body of this length.
pub fn send(path: &Path, fields: &[(String, String)], body: usize) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let exchange = exchange(path, fields, body);
        timeout(path.patience, exchange).await.unwrap_or_else(|_| Answer::ended("timeout"))
    })
}

async fn exchange(path: &Path, fields: &[(String, String)], body: usize) -> Answer {
    let Ok(mut stream) = TcpStream::connect(path.listener).await else {
        return Answer::ended("refused");
    };
    stream.write_all(path.line().as_bytes()).await.expect("the proxy listens");
    let (mut from_proxy, to_proxy) = stream.into_split();
    let (near, far) = tokio::io::duplex(1 << 20);
    let (from_client, mut to_client) = tokio::io::split(far);
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    tokio::spawn(replace_head(from_client, to_proxy, block(&fields)));
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_proxy, &mut to_client).await;
        let _: Result<(), _> = WriteHalf::shutdown(&mut to_client).await;
    });
    let Ok((client, connection)) = h2::client::handshake(near).await else {
        return Answer::ended("closed");
    };
    tokio::spawn(connection);
    let is_head = fields.contains(&(":method", "HEAD"));
    answer(client, is_head, body).await.unwrap_or_else(|error| match error.is_reset() {
        true => Answer::ended("stream reset"),
        false => Answer::ended("closed"),
    })
}

async fn answer(
    client: h2::client::SendRequest<Bytes>,
    is_head: bool,
    body: usize,
) -> Result<Answer, h2::Error> {
    let mut client = client.ready().await?;
    // It stands for the one that is sent in its place.
    let request = Request::builder().method(if is_head { "HEAD" } else { "POST" });
    let request = request.uri("http://stand-in/").body(()).expect("a request");
    let (response, mut stream) = client.send_request(request, body == 0)?;
    if body > 0 {
        stream.send_data(Bytes::from(vec![b'b'; body]), true)?;
    }
    let (head, mut body) = response.await?.into_parts();
    let mut answer = Answer { status: Some(head.status.as_u16()), ..Answer::default() };
    for (name, value) in &head.headers {
        answer.add(name.as_str(), value.as_bytes());
    }
    while let Some(piece) = body.data().await {
        let piece = piece?;
        answer.body.push_str(&crate::backend::latin1(&piece));
        body.flow_control().release_capacity(piece.len())?;
    }
    for (name, value) in body.trailers().await?.iter().flatten() {
        answer.add(name.as_str(), value.as_bytes());
    }
    Ok(answer)
}

/// Passes frames on, with `block` in place of the request's own head.
async fn replace_head(
    mut client: ReadHalf<tokio::io::DuplexStream>,
    mut proxy: OwnedWriteHalf,
    block: Vec<u8>,
) -> std::io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    client.read_exact(&mut preface).await?;
    proxy.write_all(&preface).await?;
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length as usize];
        client.read_exact(&mut payload).await?;
        let bytes = match kind {
            HEADERS => heads(&block, flags & END_STREAM, u32::from_be_bytes(stream)),
            _ => [&head[..], &payload].concat(),
        };
        proxy.write_all(&bytes).await?;
    }
}

/// A head in as many frames as it needs.
fn heads(block: &[u8], end: u8, stream: u32) -> Vec<u8> {
    let count = block.chunks(LONGEST_FRAME).count();
    let one = |(number, piece): (usize, &[u8])| {
        let last = if number + 1 == count { END_HEADERS } else { 0 };
        match number {
            0 => frame(HEADERS, end | last, stream, piece),
            _ => frame(CONTINUATION, last, stream, piece),
        }
    };
    block.chunks(LONGEST_FRAME).enumerate().flat_map(one).collect()
}
