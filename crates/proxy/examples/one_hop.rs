//! What `bench/one-hop` measures: a proxy that runs a file, and a server that
//! answers everything with one kilobyte.

use std::{env, fs, net::SocketAddr, process::ExitCode};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use weft_process::log::Levels;
use weft_proxy::{Options, Ports, Source};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match arguments[..] {
        ["proxy", file] => proxy(file, None),
        ["proxy", file, metrics] => proxy(file, metrics.parse().ok()),
        ["server", address] => server(address),
        _ => Err("usage: one_hop proxy FILE [METRICS-ADDRESS] | one_hop server ADDRESS".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("one_hop: {error}");
            ExitCode::FAILURE
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error>>;

fn proxy(file: &str, metrics: Option<SocketAddr>) -> Ended {
    let file = serde_json::from_str(&fs::read_to_string(file)?)?;
    let ports = Ports { metrics, ..Ports::default() };
    let source = Source::File(Box::new(file));
    Ok(weft_proxy::run(Options { source, ports, ..Options::default() }, Levels::detached())?)
}

fn server(address: &str) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream));
        }
    })
}

/// Requests have no bodies, so each empty line ends one.
async fn answer(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1024\r\n\r\n";
    let answer = [head.as_bytes(), &[b'x'; 1024]].concat();
    let mut asked = Vec::with_capacity(4096);
    let _ = stream.set_nodelay(true);
    while matches!(stream.read_buf(&mut asked).await, Ok(1..)) {
        while let Some(end) = asked.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            asked.drain(..end + 4);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}
