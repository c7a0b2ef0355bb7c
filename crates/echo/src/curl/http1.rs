//! One HTTP/1.1 exchange, with the head shown exactly as it came (RFC 9112).

use std::{io, time::Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Out, Verbose, arguments::Options, connect::Stream, failure::Failure, record::Record, url::Url,
    write,
};

/// The longest head that is read.
const LONGEST_HEAD: usize = 256 * 1024;
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Sends the request and writes the answer.
pub(super) async fn exchange(
    mut stream: Box<dyn Stream>,
    url: &Url,
    options: &Options,
    (record, out, verbose): (&mut Record, Out<'_>, &mut Verbose<'_>),
) -> Result<(), Failure> {
    let begun = Instant::now();
    let head = request(url, options);
    verbose.say(">", &head);
    let body = options.data.as_deref().unwrap_or_default();
    record.uploaded = body.len();
    let sent = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await
    };
    // A server may answer and close before it has read everything: what it said
    // is worth more than the failure to send.
    let sent: io::Result<()> = sent.await;
    let mut reader = Reader { stream, buffer: Vec::new() };
    let (head, length) = loop {
        let text = match reader.head().await {
            Err(Failure::Receive(_)) if let Err(error) = &sent => {
                return Err(Failure::Send(describe(error)));
            }
            other => other?,
        };
        if record.first_byte.is_zero() {
            record.first_byte = record.connected + begun.elapsed();
        }
        record.head += text.len() as u64;
        verbose.say("<", &text);
        let head = Head::parse(&text)?;
        record.status = head.status;
        record.version = if text.starts_with("HTTP/1.0") { "1.0" } else { "1.1" };
        if options.include || options.head {
            write(out, text.as_bytes())?;
        }
        let informational = (100..200).contains(&head.status) && head.status != 101;
        if !informational {
            let length = head.length(options.verb());
            break (head, length);
        }
    };
    record.content_type = head.field("content-type").unwrap_or_default().to_owned();
    reader
        .body(length, |bytes| {
            record.received += bytes.len() as u64;
            write(out, bytes)
        })
        .await
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "Connection reset by peer".to_owned(),
        io::ErrorKind::BrokenPipe => "Broken pipe".to_owned(),
        _ => error.to_string(),
    }
}

/// The request's head, with the headers that were given in place of the usual ones.
fn request(url: &Url, options: &Options) -> String {
    let mut usual = vec![
        ("Host", url.authority.clone()),
        ("User-Agent", AGENT.to_owned()),
        ("Accept", "*/*".to_owned()),
    ];
    if let Some(data) = &options.data {
        usual.push(("Content-Length", data.len().to_string()));
        usual.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
    }
    let given = |name: &str| {
        options.headers.iter().any(|header| {
            let end = header.find([':', ';']).unwrap_or(header.len());
            header[..end].eq_ignore_ascii_case(name)
        })
    };
    let mut head = format!("{} {} HTTP/1.1\r\n", options.verb(), url.path);
    let host_first = options.headers.iter().filter_map(|header| field(header));
    for (name, value) in host_first.filter(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("{name}: {value}\r\n");
    }
    for (name, value) in usual.into_iter().filter(|(name, _)| !given(name)) {
        head += &format!("{name}: {value}\r\n");
    }
    let rest = options.headers.iter().filter_map(|header| field(header));
    for (name, value) in rest.filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

/// Name and value of `-H`; none when it only takes a usual header away.
pub(super) fn field(header: &str) -> Option<(&str, &str)> {
    if let Some(name) = header.strip_suffix(';').filter(|name| !name.contains(':')) {
        return Some((name, ""));
    }
    let (name, value) = header.split_once(':')?;
    let value = value.trim();
    (!value.is_empty()).then_some((name.trim(), value))
}

/// The user agent.
pub(super) const AGENT: &str = "curl/8.0.0";

/// A response's head.
struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

/// How long a body is.
#[derive(Clone, Copy)]
enum Length {
    Exactly(u64),
    Chunked,
    UntilClose,
}

impl Head {
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default();
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.filter(|_| line.starts_with("HTTP/1."));
        let status = status.ok_or_else(|| Failure::Reply(format!("{line:?}")))?;
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self { status, fields })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn length(&self, method: &str) -> Length {
        let chunked = self.field("transfer-encoding");
        if method == "HEAD" || matches!(self.status, 101 | 204 | 304) {
            Length::Exactly(0)
        } else if chunked.is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked")) {
            Length::Chunked
        } else if let Some(length) = self.field("content-length").and_then(|text| text.parse().ok())
        {
            Length::Exactly(length)
        } else {
            Length::UntilClose
        }
    }
}

/// The receiving side, with what was read too far.
struct Reader {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads more; false at the end.
    async fn more(&mut self) -> Result<bool, Failure> {
        self.buffer.reserve(CHUNK);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(read) => Ok(read > 0),
            // Peers that close TLS without saying so are common.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Failure::Receive(describe(&error))),
        }
    }

    async fn head(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(Failure::Reply("a head without an end".to_owned()));
            }
            if !self.buffer.is_empty()
                && !self.buffer.starts_with(&b"HTTP/"[..self.buffer.len().min(5)])
            {
                return Err(Failure::Protocol("HTTP/0.9".to_owned()));
            }
            if !self.more().await? {
                return Err(match self.buffer.is_empty() {
                    true => Failure::Empty,
                    false => Failure::Receive("Connection closed within a head".to_owned()),
                });
            }
        }
    }

    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.buffer.len() > LONGEST_HEAD || !self.more().await? {
                return Err(Failure::Partial { missing: 1 });
            }
        }
    }

    async fn body(
        &mut self,
        length: Length,
        mut sink: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match length {
            Length::Exactly(length) => self.exactly(length, &mut sink).await,
            Length::UntilClose => loop {
                sink(&self.buffer)?;
                self.buffer.clear();
                if !self.more().await? {
                    return Ok(());
                }
            },
            Length::Chunked => loop {
                let line = self.line().await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| {
                    Failure::Receive(format!("{line:?} is not the size of a chunk"))
                })?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    return Ok(());
                }
                self.exactly(size, &mut sink).await?;
                self.line().await?;
            },
        }
    }

    async fn exactly(
        &mut self,
        length: u64,
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut missing = length;
        while missing > 0 {
            if self.buffer.is_empty() && !self.more().await? {
                return Err(Failure::Partial { missing });
            }
            let now = usize::try_from(missing).unwrap_or(usize::MAX).min(self.buffer.len());
            sink(&self.buffer[..now])?;
            self.buffer.drain(..now);
            missing -= now as u64;
        }
        Ok(())
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
