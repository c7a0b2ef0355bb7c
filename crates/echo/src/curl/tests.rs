//! Whole transfers over loopback, against servers that answer by hand.

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// What one run printed, and its exit code.
#[derive(Debug)]
struct Ran {
    code: u8,
    out: String,
    err: String,
}

async fn curl(line: &str) -> Ran {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&arguments, Surroundings { out: &mut out, err: &mut err, mark: None }).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code, out: text(out), err: text(err) }
}

/// How a connection ends after the answer.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Close,
    Reset,
    Stay,
}

/// Answers one request with `answer`; the request as it came.
async fn serve_one(listener: &TcpListener, answer: &str, end: End) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    match end {
        End::Close => stream.shutdown().await.unwrap(),
        End::Reset => SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap(),
        End::Stay => {
            // Until the client leaves.
            let _ = stream.read(&mut [0]).await;
        }
    }
    request
}

async fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Runs curl with `arguments` (`URL` is replaced) against one `answer`.
async fn against(arguments: &str, answer: &str, end: End) -> (Ran, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let line = arguments.replace("URL", &url);
    tokio::join!(curl(&line), serve_one(&listener, answer, end))
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Case: Kept\r\n\r\nhi";

#[tokio::test]
async fn the_body_is_printed_and_then_the_code() {
    let (ran, request) = against("-sS -w %{http_code} URL", OK, End::Stay).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "hi200", ""));
    assert!(request.starts_with("GET /x HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    assert!(request.contains("\r\nAccept: */*\r\n"), "{request}");
}

#[tokio::test]
async fn heads_are_shown_as_they_came() {
    let (ran, _) = against("-i URL", OK, End::Stay).await;
    assert_eq!(ran.out, OK);
    let (ran, _) =
        against("-I URL", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", End::Stay).await;
    assert_eq!(ran.out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    let (ran, _) = against("-v URL", OK, End::Stay).await;
    assert!(ran.err.contains("> GET /x HTTP/1.1\n") && ran.err.contains("< X-Case: Kept\n"));
}

#[tokio::test]
async fn headers_and_data_are_sent_as_given() {
    let arguments = "-d a=1 -H Host:shop -H Accept: -H X-Empty; URL";
    let (ran, request) = against(arguments, OK, End::Stay).await;
    assert_eq!(ran.code, 0);
    let expected = "POST /x HTTP/1.1\r\nHost: shop\r\nUser-Agent: curl/8.0.0\r\nContent-Length: 3\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\nX-Empty: \r\n\r\na=1";
    assert_eq!(request, expected);
}

#[tokio::test]
async fn bodies_of_every_framing_are_read() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x\r\ni\r\n0\r\nt: 1\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nhi",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let (ran, _) = against("-s URL", answer, End::Close).await;
        assert_eq!((ran.code, ran.out.as_str()), (0, "hi"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_has_curls_code() {
    let cases = [
        ("", End::Close, 52, "Empty reply from server"),
        ("", End::Reset, 56, "Recv failure: Connection reset by peer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", End::Close, 18, "with 7 bytes missing"),
        ("SSH-2.0-x\r\n", End::Close, 1, "HTTP/0.9"),
    ];
    for (answer, end, code, text) in cases {
        let (ran, _) = against("-w %{http_code} URL", answer, end).await;
        assert_eq!(ran.code, code, "{answer:?}: {ran:?}");
        assert!(ran.err.contains(text), "{ran:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_7_and_no_such_name_is_6() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ran = curl(&format!("-s -w %{{http_code}} http://{closed}/")).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (7, "000", ""));
    let ran = curl("http://name.invalid./").await;
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (6, "curl: (6) Could not resolve host: name.invalid.\n")
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_28() {
    let (ran, _) = against("-m 0.05 -w %{http_code} URL", "", End::Stay).await;
    assert_eq!((ran.code, ran.out.as_str()), (28, "000"));
}

#[tokio::test]
async fn plaintext_where_tls_is_asked_for_is_35() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let line = format!("-sk {url}");
    let (ran, ()) = tokio::join!(curl(&line), answering);
    assert_eq!(ran.code, 35, "{ran:?}");
}

#[tokio::test]
async fn a_name_can_be_given_an_address_and_failure_a_code() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = format!("-sSf --resolve shop.example:{port}:127.0.0.1 http://shop.example:{port}/");
    let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let (ran, request) = tokio::join!(curl(&line), serve_one(&listener, answer, End::Stay));
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (22, "curl: (22) The requested URL returned error: 503\n")
    );
    assert!(request.contains(&format!("Host: shop.example:{port}\r\n")), "{request}");
}

#[tokio::test]
async fn http2_can_be_spoken_at_once() {
    use http_body_util::Full;
    use hyper::{server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/y", listener.local_addr().unwrap());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            let text = format!("{} {:?}", request.uri().path(), request.headers().get("a"));
            let response = http::Response::new(Full::<bytes::Bytes>::from(text));
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        });
        let _ = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    };
    let line = format!("-s --http2-prior-knowledge -H a:b -w %{{http_version}} {url}");
    let (ran, ()) = tokio::join!(curl(&line), server);
    assert_eq!((ran.code, ran.out.as_str()), (0, "/y Some(\"b\")2"));
}
