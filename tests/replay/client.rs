//! A client that sends bytes through the proxy, as from another address to another one.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::backend::latin1;

/// From where to where a connection is, and through which listener.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub listener: SocketAddr,
    /// The client, as the proxy hears it.
    pub source: IpAddr,
    /// Where the client believes to connect to.
    pub dialled: SocketAddr,
    /// How long to wait for the next bytes.
    pub patience: Duration,
}

impl Path {
    /// The line that says it (the PROXY protocol, version 1).
    pub fn line(&self) -> String {
        let (source, dialled) = (self.source, self.dialled);
        format!("PROXY TCP4 {source} {} 40000 {}\r\n", dialled.ip(), dialled.port())
    }
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: Option<u16>,
    /// Fields, by names in lower case.
    pub fields: BTreeMap<String, Vec<String>>,
    pub body: String,
    /// How the connection or stream ended without an answer.
    pub end: Option<&'static str>,
    /// Statuses of answers that came before.
    pub interim: Vec<u16>,
}

impl Answer {
    /// No answer.
    pub fn ended(end: &'static str) -> Self {
        Self { end: Some(end), ..Self::default() }
    }

    /// Whether a backend gave it.
    pub fn is_from_backend(&self) -> bool {
        self.fields.contains_key("x-origin")
    }

    /// Adds a field.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let value = latin1(value.trim_ascii());
        self.fields.entry(name.to_ascii_lowercase()).or_default().push(value);
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|values| values.first()).map(String::as_str)
    }
}

/// Sends `request` as it is, and reads one answer of HTTP/1.
pub fn send(path: &Path, request: &[u8]) -> Answer {
    let Ok(mut stream) = TcpStream::connect(path.listener) else {
        return Answer::ended("refused");
    };
    stream.set_read_timeout(Some(path.patience)).expect("a socket has a timeout");
    stream.set_nodelay(true).expect("a socket has no delay");
    // What cannot be written was refused; the answer to it is what counts.
    let _ = stream.write_all(&[path.line().as_bytes(), request].concat());
    let mut reader = Reader { stream, bytes: Vec::new() };
    reader.answer(request.starts_with(b"HEAD ")).unwrap_or_else(Answer::ended)
}

/// Bytes that came, and the way to more.
struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Reader {
    fn answer(&mut self, is_head: bool) -> Result<Answer, &'static str> {
        let mut interim = Vec::new();
        loop {
            let head = self.until(b"\r\n\r\n")?;
            let mut answer = parsed(&head);
            match answer.status {
                Some(status @ (100 | 102..=199)) => interim.push(status),
                _ => {
                    answer.interim = interim;
                    // A body that breaks off is what it is.
                    answer.body = latin1(&self.body(&answer, is_head));
                    return Ok(answer);
                }
            }
        }
    }

    /// Reads up to the end of `mark`, and takes it off.
    fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, &'static str> {
        loop {
            if let Some(at) = self.bytes.windows(mark.len()).position(|bytes| bytes == mark) {
                return Ok(self.bytes.drain(..at + mark.len()).collect());
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), &'static str> {
        let mut piece = [0; 16384];
        match self.stream.read(&mut piece) {
            Ok(0) => Err("closed"),
            Ok(count) => {
                self.bytes.extend(&piece[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err("timeout"),
            Err(_) => Err("reset"),
        }
    }

    fn body(&mut self, answer: &Answer, is_head: bool) -> Vec<u8> {
        if is_head || matches!(answer.status, Some(101 | 204 | 304)) {
            return Vec::new();
        }
        if answer.field("transfer-encoding").is_some() {
            return self.chunks();
        }
        let length = answer.field("content-length").and_then(|text| text.parse().ok());
        while length.is_none_or(|length: usize| self.bytes.len() < length) && self.more().is_ok() {}
        let length = length.unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.drain(..length).collect()
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let Ok(line) = self.until(b"\r\n") else { return body };
            let size = usize::from_str_radix(latin1(&line).trim(), 16).expect("a chunk's size");
            while self.bytes.len() < size + 2 {
                if self.more().is_err() {
                    return body;
                }
            }
            body.extend(self.bytes.drain(..size));
            self.bytes.drain(..2);
            if size == 0 {
                return body;
            }
        }
    }
}

fn parsed(head: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = latin1(lines.next().unwrap_or_default());
    answer.status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        answer.add(&latin1(&line[..colon]), &line[colon + 1..]);
    }
    answer
}
