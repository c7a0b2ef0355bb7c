//! Backends that do as requests tell them, and note what they hear.
//!
//! They read with more leniency than any server should: what comes through must be noted, whatever
//! it is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use weft_testkit::{http2::PREFACE, waiting::until};

use crate::backend_h2;

/// A request as a backend saw it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The endpoint.
    pub at: String,
    /// The exchange that it says to be of.
    pub exchange: String,
    pub method: String,
    pub path: String,
    /// Its Host.
    pub authority: Option<String>,
    pub protocol: String,
    /// Other fields, by names in lower case.
    pub fields: BTreeMap<String, Vec<String>>,
    pub body: usize,
}

impl Heard {
    /// A field's first value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|values| values.first()).map(String::as_str)
    }
}

/// What a request tells its backend to do.
pub struct Order {
    pub status: u16,
    /// Fields of the answer beside the usual ones.
    pub fields: Vec<(String, String)>,
    /// Whether there is no answer.
    pub is_reset: bool,
    /// When to go on.
    pub due: Instant,
}

impl Order {
    /// Fields of the answer.
    pub fn all_fields(&self) -> Vec<(String, String)> {
        let usual = [("x-origin", "backend"), ("x-power", "9"), ("content-type", "text/plain")];
        let usual = usual.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        usual.chain(self.fields.iter().cloned()).collect()
    }

    /// The answer's body.
    pub fn body(&self) -> String {
        match self.status {
            204 | 304 => String::new(),
            status => format!("backend says {status}"),
        }
    }
}

/// What all backends of a world know.
#[derive(Default)]
pub struct Notes {
    heard: Mutex<Vec<Heard>>,
    attempts: Mutex<HashMap<String, usize>>,
    is_over: AtomicBool,
}

impl Notes {
    /// Notes a request, and says what it orders.
    pub fn note(&self, mut heard: Heard) -> Order {
        heard.exchange = heard.field("x-exchange").unwrap_or_default().to_owned();
        let told = heard.field("x-do").unwrap_or_default().to_owned();
        let attempt = {
            let mut attempts = self.attempts.lock().expect("no test panics with it");
            let attempt = attempts.entry(heard.exchange.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        self.heard.lock().expect("no test panics with it").push(heard);
        order(&told, attempt)
    }
}

/// Reads directives, for the `attempt`th request of an exchange.
fn order(told: &str, attempt: usize) -> Order {
    let mut order = Order { status: 200, fields: Vec::new(), is_reset: false, due: Instant::now() };
    let seconds = |text: &str| Duration::from_secs_f64(text.parse().expect("seconds"));
    for directive in told.split(';').filter(|text| !text.is_empty()) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        // `N:…` is for the first N attempts.
        let first = |value: &str| -> Option<String> {
            let (count, what) = value.split_once(':').expect("a count");
            (attempt <= count.parse().expect("a count")).then(|| what.to_owned())
        };
        match name {
            "status" => order.status = value.parse().expect("a status"),
            "reset" => order.is_reset = true,
            "sleep" => order.due += seconds(value),
            "sleepfirst" => order.due += first(value).map_or(Duration::ZERO, |it| seconds(&it)),
            "fail" => match first(value).as_deref() {
                Some("reset") => order.is_reset = true,
                Some(status) => order.status = status.parse().expect("a status"),
                None => {}
            },
            "hdr" => {
                let (name, value) = value.split_once(':').expect("a field");
                order.fields.push((name.to_owned(), value.to_owned()));
            }
            other => panic!("`{other}` is no directive"),
        }
    }
    order
}

/// The backends of a world; they end when it is dropped.
pub struct Backends {
    notes: Arc<Notes>,
    bound: Vec<SocketAddr>,
}

impl Backends {
    /// Backends at these addresses and ports, except at the IPs that `refuse`. A port of which
    /// nobody refuses is served at every address.
    pub fn at(addresses: &BTreeSet<SocketAddr>, refuse: &[String]) -> Self {
        let refuses = |address: &SocketAddr| refuse.contains(&address.ip().to_string());
        let closed: BTreeSet<u16> =
            addresses.iter().filter(|it| refuses(it)).map(SocketAddr::port).collect();
        let bound: BTreeSet<SocketAddr> = addresses
            .iter()
            .filter(|address| !refuses(address))
            .map(|address| match closed.contains(&address.port()) {
                true => *address,
                false => SocketAddr::from(([0, 0, 0, 0], address.port())),
            })
            .collect();
        let notes = Arc::new(Notes::default());
        for address in &bound {
            let listener = TcpListener::bind(address)
                .unwrap_or_else(|error| panic!("a backend at {address}: {error}"));
            let notes = Arc::clone(&notes);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if notes.is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let notes = Arc::clone(&notes);
                    thread::spawn(move || serve(stream, &notes));
                }
            });
        }
        Self { notes, bound: bound.into_iter().collect() }
    }

    /// What was heard since this was asked last.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.notes.heard.lock().expect("no test panics with it"))
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.notes.is_over.store(true, Ordering::SeqCst);
        for address in &self.bound {
            // Listeners look up at the next connection.
            let _ = TcpStream::connect(address);
        }
    }
}

/// Serves a connection, whatever is spoken on it.
fn serve(mut stream: TcpStream, notes: &Notes) {
    let Ok(at) = stream.local_addr().map(|address| address.to_string()) else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    if speaks_h2(&stream) {
        return backend_h2::serve(stream, &at, notes);
    }
    let mut bytes = Vec::new();
    while let Some(head) = head(&mut stream, &mut bytes) {
        if head.first() == Some(&0x16) {
            let (method, protocol) = ("CLIENT-HELLO".to_owned(), "TLS".to_owned());
            notes.note(Heard { at, method, protocol, ..Heard::default() });
            return;
        }
        let mut heard = parsed(&head, at.clone());
        let Some(body) = body(&mut stream, &mut bytes, &heard) else { return };
        heard.body = body;
        let is_head = heard.method == "HEAD";
        let order = notes.note(heard);
        until(order.due);
        if order.is_reset || answer(&mut stream, &order, is_head).is_none() {
            return;
        }
    }
}

/// Whether the client begins with the preface of HTTP/2.
fn speaks_h2(stream: &TcpStream) -> bool {
    let mut begin = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut begin) {
            Ok(0) | Err(_) => return false,
            Ok(count) if !PREFACE.starts_with(&begin[..count]) => return false,
            Ok(count) if count == PREFACE.len() => return true,
            // The rest is on its way.
            Ok(_) => until(Instant::now() + Duration::from_millis(1)),
        }
    }
}

/// Reads up to an empty line; a hello of TLS is a head.
fn head(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if bytes.first() == Some(&0x16) {
            return Some(std::mem::take(bytes));
        }
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return Some(bytes.drain(..at + 4).collect());
        }
        more(stream, bytes)?;
    }
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 16384];
    let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
    bytes.extend(&piece[..count]);
    Some(())
}

fn parsed(head: &[u8], at: String) -> Heard {
    let text = latin1(head);
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let mut heard =
        Heard { at, method: word(), path: word(), protocol: word(), ..Heard::default() };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        match name.as_str() {
            "host" => heard.authority = Some(value),
            _ => heard.fields.entry(name).or_default().push(value),
        }
    }
    heard
}

/// Bytes as text in which every byte is one letter.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Reads a request's body; its length.
fn body(stream: &mut TcpStream, bytes: &mut Vec<u8>, heard: &Heard) -> Option<usize> {
    if heard.field("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
        return chunks(stream, bytes).map(|body| body.len());
    }
    let length = heard.field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while bytes.len() < length {
        more(stream, bytes)?;
    }
    bytes.drain(..length);
    Some(length)
}

/// Reads a body in chunks, with its trailers.
fn chunks(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(stream, bytes)?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            while !self::line(stream, bytes)?.is_empty() {}
            return Some(body);
        }
        while bytes.len() < size + 2 {
            more(stream, bytes)?;
        }
        body.extend(bytes.drain(..size));
        bytes.drain(..2);
    }
}

fn line(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = bytes.windows(2).position(|two| two == b"\r\n") {
            let line: Vec<u8> = bytes.drain(..at + 2).collect();
            return Some(latin1(&line[..at]));
        }
        more(stream, bytes)?;
    }
}

/// Writes the answer; none when the connection ends with it.
fn answer(stream: &mut TcpStream, order: &Order, is_head: bool) -> Option<()> {
    let mut text = format!("HTTP/1.1 {} Told\r\n", order.status);
    for (name, value) in order.all_fields() {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = order.body();
    if !matches!(order.status, 204 | 304) {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    if !is_head {
        text.push_str(&body);
    }
    stream.write_all(text.as_bytes()).ok()?;
    let closes = order.fields.iter().any(|(name, value)| name == "connection" && value == "close");
    (!closes).then_some(())
}
