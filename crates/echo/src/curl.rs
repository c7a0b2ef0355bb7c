//! A `curl` for pods of machines that have none: the options that people type
//! into courses and tests, with curl's own texts and exit codes.
//!
//! It speaks HTTP/1.1 with a reader of its own, so that `-i` and `-v` show a head
//! exactly as it came; what it does not know it refuses instead of ignoring. It
//! knows nothing of the mesh but that its sockets may be told to carry a mark.

mod arguments;
mod connect;
mod failure;
mod http1;
mod http2;
mod record;
#[cfg(test)]
mod tests;
mod tls;
mod url;

use std::{
    fs::File,
    io::{self, Write},
    time::Instant,
};

use arguments::Options;
use failure::Failure;
use record::Record;
use url::Url;

/// Where bytes of an answer go.
type Out<'a> = &'a mut (dyn Write + Send);

/// The standard streams of one run, and what its sockets carry.
pub struct Surroundings<'a> {
    /// Standard output.
    pub out: &'a mut (dyn Write + Send),
    /// Standard error.
    pub err: &'a mut (dyn Write + Send),
    /// Mark of every socket, so that traffic capture can let it pass.
    pub mark: Option<u32>,
}

/// Does what `arguments` say (without the program's name); curl's exit code.
pub async fn run(arguments: &[String], surroundings: Surroundings<'_>) -> u8 {
    let Surroundings { out, err, mark } = surroundings;
    let groups = match Options::parse(arguments) {
        Ok(groups) => groups,
        Err(failure) => {
            // Without a standard error there is nobody to tell.
            let _ = writeln!(err, "curl: {failure}");
            return failure.code();
        }
    };
    let mut code = 0;
    let mut due = tokio::time::Instant::now();
    for options in &groups {
        for index in 0..options.urls.len() {
            tokio::time::sleep_until(due).await;
            due = tokio::time::Instant::now() + options.every.unwrap_or_default();
            let failed = transfer(options, index, (&mut *out, &mut *err, mark)).await;
            // As for curl, the last transfer decides.
            code = failed.unwrap_or(0);
        }
    }
    match out.flush() {
        Ok(()) => code,
        Err(_) => Failure::Write.code(),
    }
}

/// Transfers one URL and reports on it; the exit code of its failure.
async fn transfer(
    options: &Options,
    index: usize,
    (out, err, mark): (Out<'_>, Out<'_>, Option<u32>),
) -> Option<u8> {
    let mut record = Record::new(&options.urls[index]);
    let result = one(options, index, &mut record, (&mut *out, &mut *err, mark)).await;
    let code = result.as_ref().err().map(Failure::code);
    if let (Err(failure), Some(code)) = (&result, code)
        && (!options.silent || options.show_error)
    {
        // Without a standard error there is nobody to tell.
        let _ = writeln!(err, "curl: ({code}) {failure}");
    }
    if let Some(format) = &options.write_out {
        record.failure = result.err();
        let _ = out.write_all(record.render(format).as_bytes());
    }
    code
}

/// One URL, from its text to the last byte of its answer.
async fn one(
    options: &Options,
    index: usize,
    record: &mut Record,
    (out, err, mark): (Out<'_>, Out<'_>, Option<u32>),
) -> Result<(), Failure> {
    let url: Url = options.urls[index].parse()?;
    let mut file;
    let out: Out<'_> = match options.outputs.get(index).map(String::as_str) {
        None | Some("-") => out,
        Some(path) => {
            file = File::create(path).map_err(|_| Failure::Write)?;
            &mut file
        }
    };
    let begun = Instant::now();
    let work = async {
        let mut verbose = Verbose { out: options.verbose.then_some(err) };
        let stream = connect::connect(&url, options, record, (mark, &mut verbose)).await?;
        match options.http2 {
            true => http2::exchange(stream, &url, options, (record, out, &mut verbose)).await,
            false => http1::exchange(stream, &url, options, (record, out, &mut verbose)).await,
        }
    };
    let result = match options.max_time {
        None => work.await,
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout { waited: begun.elapsed(), received: record.received }),
        },
    };
    record.total = begun.elapsed();
    result?;
    match record.status >= 400 && options.fail {
        true => Err(Failure::Status(record.status)),
        false => Ok(()),
    }
}

/// Standard error of `-v`, or nothing.
struct Verbose<'a> {
    out: Option<Out<'a>>,
}

impl Verbose<'_> {
    /// Writes `text` line by line, each after `prefix`.
    fn say(&mut self, prefix: &str, text: &str) {
        let Some(out) = &mut self.out else { return };
        for line in text.lines() {
            // What cannot be shown does not change the transfer.
            let _ = writeln!(out, "{prefix} {line}");
        }
    }
}

/// Writes bytes of the answer and passes them on at once.
fn write(out: &mut (dyn Write + Send), bytes: &[u8]) -> Result<(), Failure> {
    let written: io::Result<()> = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|_| Failure::Write)
}
