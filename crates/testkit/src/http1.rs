//! HTTP/1.1 by hand: a server that answers as told, and a client that speaks bytes.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::waiting::eventually;

/// Nothing here takes this long unless it hangs.
pub(crate) const HANGS: Duration = Duration::from_secs(20);

/// The result of a read; a peer that says nothing for [`HANGS`] and stays fails the test.
pub(crate) fn in_time<T>(read: io::Result<T>) -> io::Result<T> {
    let hangs = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    assert!(!hangs, "nothing came for {HANGS:?}, and the connection is open");
    read
}

/// What a server says to each request, in order; the last one again and again.
pub fn server(answers: &[&str]) -> Server {
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let [connections, closed] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let (noted, counted) = (Arc::clone(&heard), Arc::clone(&connections));
    let ended = Arc::clone(&closed);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answers, noted) = (answers.clone(), Arc::clone(&noted));
            let ended = Arc::clone(&ended);
            counted.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                serve(stream, &answers, &noted);
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    Server { address, heard, connections, closed }
}

/// A server, and what it heard.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Server {
    /// Requests heard, with bodies.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until the server has closed `count` connections.
    pub fn until_closed(&self, count: usize) {
        let closed = || (self.closed.load(Ordering::SeqCst) >= count).then_some(());
        eventually(HANGS, closed).unwrap_or_else(|| panic!("{count} connections do not close"));
    }

    /// Waits until the server has heard `count` requests.
    pub fn until_heard(&self, count: usize) {
        let heard = || (self.heard.lock().unwrap().len() >= count).then_some(());
        eventually(HANGS, heard).unwrap_or_else(|| panic!("only {:?}", self.heard()));
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// `close` ends the connection without a word, `hang` says nothing more,
/// `… then close` ends it after the answer.
fn serve(mut stream: TcpStream, answers: &[String], noted: &Mutex<Vec<String>>) {
    loop {
        let Some(request) = message(&mut stream) else { return };
        let number = {
            let mut heard = noted.lock().unwrap();
            heard.push(request);
            heard.len() - 1
        };
        match answers[number.min(answers.len() - 1)].as_str() {
            "close" => return,
            "hang" => {
                let _ = stream.read(&mut [0]);
                return;
            }
            answer => {
                let (answer, close) = match answer.strip_suffix(" then close") {
                    Some(answer) => (answer, true),
                    None => (answer, false),
                };
                if stream.write_all(answer.as_bytes()).is_err() || close {
                    return;
                }
            }
        }
    }
}

/// Reads one message with its body, which has no trailers; none at the end of the connection.
pub fn message(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    let head = loop {
        if in_time(stream.read(&mut byte)).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        }
    };
    if head.contains("transfer-encoding: chunked") {
        let head = bytes.len();
        while !bytes[head..].ends_with(b"0\r\n\r\n") {
            in_time(stream.read_exact(&mut byte)).ok()?;
            bytes.push(byte[0]);
        }
    } else if let Some((_, rest)) = head.split_once("content-length: ") {
        let length = rest.lines().next().unwrap().trim().parse().unwrap();
        let mut body = vec![0; length];
        in_time(stream.read_exact(&mut body)).ok()?;
        bytes.extend(body);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A server that does `serve` with each connection.
pub fn serving(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A short answer with a length.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A client that speaks bytes.
pub struct Client(pub TcpStream);

impl Client {
    /// A client of `address`.
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        Self(stream)
    }

    /// A client with this address of its own.
    pub fn from(own: [u8; 4], address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(HANGS)).unwrap();
        Self(stream)
    }

    /// Sends `text`.
    pub fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// One message of HTTP; empty at the end of the connection.
    pub fn hear(&mut self) -> String {
        message(&mut self.0).unwrap_or_default()
    }

    /// The head of a message.
    pub fn head(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") && self.0.read(&mut byte).unwrap() > 0 {
            bytes.push(byte[0]);
        }
        String::from_utf8(bytes).unwrap()
    }

    /// Sends `request` and reads one message.
    pub fn ask(&mut self, request: &str) -> String {
        self.say(request);
        self.hear()
    }

    /// Whether the connection has not ended, and nothing has come.
    pub fn is_open(&mut self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let read = self.0.read(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Everything until the end of the connection.
    pub fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let _ = in_time(self.0.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The status line's number and the body.
pub fn brief(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    format!("{status} {body}")
}

/// A GET of `path` for `host`.
pub fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")
}
