//! What was typed after `curl`.
//!
//! Options that are not known are refused: an option that is ignored in silence
//! would make a test pass for the wrong reason.

use std::{fs, io::Read, time::Duration};

use super::failure::Failure;

/// Everything that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) urls: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) method: Option<String>,
    pub(super) headers: Vec<String>,
    pub(super) data: Option<Vec<u8>>,
    pub(super) resolve: Vec<Resolve>,
    pub(super) write_out: Option<String>,
    pub(super) authorities: Option<String>,
    pub(super) max_time: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    /// From the beginning of one transfer to that of the next.
    pub(super) every: Option<Duration>,
    pub(super) silent: bool,
    pub(super) show_error: bool,
    pub(super) include: bool,
    pub(super) head: bool,
    pub(super) fail: bool,
    pub(super) insecure: bool,
    pub(super) verbose: bool,
    pub(super) http2: bool,
}

/// One `--resolve HOST:PORT:ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolve {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) address: std::net::IpAddr,
}

/// Short options with the long names that mean the same.
const SHORT: [(char, &str); 18] = [
    ('s', "silent"),
    ('S', "show-error"),
    ('i', "include"),
    ('I', "head"),
    ('o', "output"),
    ('w', "write-out"),
    ('H', "header"),
    ('X', "request"),
    ('d', "data"),
    ('m', "max-time"),
    ('k', "insecure"),
    ('v', "verbose"),
    ('f', "fail"),
    ('A', "user-agent"),
    ('N', "no-buffer"),
    ('4', "ipv4"),
    ('g', "globoff"),
    ('q', "disable"),
];

/// Long options that take a value.
const VALUED: [&str; 15] = [
    "output",
    "write-out",
    "header",
    "request",
    "data",
    "data-raw",
    "data-binary",
    "data-ascii",
    "max-time",
    "connect-timeout",
    "user-agent",
    "resolve",
    "cacert",
    "rate",
    "url",
];

impl Options {
    /// Reads the arguments, and the files that `-d @FILE` names: one value for
    /// each group of URLs, which `--next` divides.
    pub(super) fn parse(arguments: &[String]) -> Result<Vec<Self>, Failure> {
        let mut groups = Vec::new();
        let mut options = Self::default();
        let mut rest = arguments.iter();
        let mut only_urls = false;
        while let Some(argument) = rest.next() {
            if only_urls || argument == "-" || !argument.starts_with('-') {
                options.urls.push(argument.clone());
            } else if argument == "--" {
                only_urls = true;
            } else if argument == "--next" || argument == "-:" {
                groups.push(std::mem::take(&mut options).complete()?);
            } else if let Some(long) = argument.strip_prefix("--") {
                let value = value(long, argument, || rest.next().cloned())?;
                options.set(long, argument, value)?;
            } else {
                options.cluster(&argument[1..], &mut || rest.next().cloned())?;
            }
        }
        groups.push(options.complete()?);
        share(&mut groups);
        Ok(groups)
    }

    fn complete(self) -> Result<Self, Failure> {
        match self.urls.is_empty() {
            true => Err(Failure::Usage("(2) no URL specified".to_owned())),
            false => Ok(self),
        }
    }

    /// Several short options in one word; the first that takes a value ends it.
    fn cluster(
        &mut self,
        letters: &str,
        next: &mut dyn FnMut() -> Option<String>,
    ) -> Result<(), Failure> {
        for (at, letter) in letters.char_indices() {
            let shown = format!("-{letter}");
            let known = SHORT.iter().find(|(short, _)| *short == letter);
            let Some((_, long)) = known else { return Err(unknown(&shown)) };
            if !VALUED.contains(long) {
                self.set(long, &shown, String::new())?;
                continue;
            }
            let attached = &letters[at + letter.len_utf8()..];
            let value = value(long, &shown, || match attached {
                "" => next(),
                text => Some(text.to_owned()),
            })?;
            return self.set(long, &shown, value);
        }
        Ok(())
    }

    fn set(&mut self, long: &str, shown: &str, value: String) -> Result<(), Failure> {
        match long {
            "silent" => self.silent = true,
            "show-error" => self.show_error = true,
            "include" | "show-headers" => self.include = true,
            "head" => self.head = true,
            "fail" => self.fail = true,
            "insecure" => self.insecure = true,
            "verbose" => self.verbose = true,
            "http2-prior-knowledge" => self.http2 = true,
            // What these ask for is how this program works anyway.
            "no-buffer" | "ipv4" | "globoff" | "disable" | "http1.1" | "no-progress-meter" => {}
            "url" => self.urls.push(value),
            "output" => self.outputs.push(value),
            "write-out" => self.write_out = Some(value),
            "header" => self.headers.push(value),
            "user-agent" => self.headers.push(format!("User-Agent: {value}")),
            "request" => self.method = Some(value),
            "max-time" => self.max_time = Some(seconds(shown, &value)?),
            "connect-timeout" => self.connect_timeout = Some(seconds(shown, &value)?),
            "rate" => self.every = Some(rate(shown, &value)?),
            "cacert" => self.authorities = Some(value),
            "resolve" => self.resolve.push(resolve(shown, &value)?),
            "data-raw" => self.append(value.into_bytes()),
            "data" | "data-ascii" => {
                let text = contents(value)?;
                self.append(
                    text.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect(),
                );
            }
            "data-binary" => self.append(contents(value)?),
            _ => return Err(unknown(shown)),
        }
        Ok(())
    }

    fn append(&mut self, more: Vec<u8>) {
        match &mut self.data {
            None => self.data = Some(more),
            Some(data) => {
                data.push(b'&');
                data.extend(more);
            }
        }
    }

    /// The method of the request.
    pub(super) fn verb(&self) -> &str {
        match &self.method {
            Some(method) => method,
            None if self.head => "HEAD",
            None if self.data.is_some() => "POST",
            None => "GET",
        }
    }
}

/// Options that hold for all groups, wherever they stand.
fn share(groups: &mut [Options]) {
    let any = |is_set: fn(&Options) -> bool| groups.iter().any(is_set);
    let silent = any(|group| group.silent);
    let show_error = any(|group| group.show_error);
    let verbose = any(|group| group.verbose);
    let every = groups.iter().rev().find_map(|group| group.every);
    for group in groups {
        (group.silent, group.show_error, group.verbose) = (silent, show_error, verbose);
        group.every = every;
    }
}

fn value(
    long: &str,
    shown: &str,
    next: impl FnOnce() -> Option<String>,
) -> Result<String, Failure> {
    match VALUED.contains(&long) {
        false => Ok(String::new()),
        true => {
            next().ok_or_else(|| Failure::Usage(format!("(2) option {shown}: requires parameter")))
        }
    }
}

fn unknown(shown: &str) -> Failure {
    Failure::Usage(format!("(2) option {shown}: is unknown"))
}

fn bad(shown: &str, expected: &str) -> Failure {
    Failure::Usage(format!("(2) option {shown}: expected {expected}"))
}

fn seconds(shown: &str, text: &str) -> Result<Duration, Failure> {
    let number: Option<f64> = text.parse().ok();
    let duration = number.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| bad(shown, "a proper numerical parameter"))
}

/// `100/s`, `5/m`, and `/h` when no unit is given.
fn rate(shown: &str, text: &str) -> Result<Duration, Failure> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "h"));
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(60 * 60),
        _ => return Err(bad(shown, "a rate such as 100/s")),
    };
    match number.parse() {
        Ok(number) if number > 0_u32 => Ok(unit / number),
        _ => Err(bad(shown, "a rate such as 100/s")),
    }
}

fn resolve(shown: &str, text: &str) -> Result<Resolve, Failure> {
    let mut parts = text.trim_start_matches('+').splitn(3, ':');
    let host = parts.next().unwrap_or_default().to_ascii_lowercase();
    let port = parts.next().and_then(|port| port.parse().ok());
    let address = parts.next().map(|text| text.trim_start_matches('[').trim_end_matches(']'));
    let address = address.and_then(|text| text.split(',').next()?.parse().ok());
    match (port, address) {
        (Some(port), Some(address)) => Ok(Resolve { host, port, address }),
        _ => Err(bad(shown, "HOST:PORT:ADDRESS")),
    }
}

/// The text itself, or the file that `@FILE` names.
fn contents(value: String) -> Result<Vec<u8>, Failure> {
    let Some(path) = value.strip_prefix('@') else { return Ok(value.into_bytes()) };
    let read = match path {
        "-" => {
            let mut all = Vec::new();
            std::io::stdin().lock().read_to_end(&mut all).map(|_| all)
        }
        path => fs::read(path),
    };
    read.map_err(|_| Failure::Read(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(line: &str) -> Result<Vec<Options>, Failure> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn parse(line: &str) -> Result<Options, Failure> {
        groups(line).map(|mut groups| groups.remove(0))
    }

    #[track_caller]
    fn refuses(line: &str, expected: &str) {
        let failure = parse(line).unwrap_err();
        let text = failure.to_string();
        assert_eq!((failure.code(), text.lines().next().unwrap()), (2, expected));
    }

    #[test]
    fn short_options_may_share_a_word() {
        let options = parse("-sSo /dev/null -w%{http_code} -XPUT http://a/ -H a:b").unwrap();
        assert!(options.silent && options.show_error);
        assert_eq!(options.outputs, ["/dev/null"]);
        assert_eq!(options.write_out.as_deref(), Some("%{http_code}"));
        assert_eq!((options.verb(), options.headers.as_slice()), ("PUT", &["a:b".to_owned()][..]));
    }

    #[test]
    fn data_makes_a_post_and_joins() {
        let options = parse("a -d x=1 --data-raw @y").unwrap();
        assert_eq!((options.verb(), options.data.as_deref()), ("POST", Some(&b"x=1&@y"[..])));
    }

    #[test]
    fn names_can_be_given_addresses() {
        let options = parse("--resolve Shop.example:80:127.0.0.1 shop.example").unwrap();
        assert_eq!(
            (options.resolve[0].host.as_str(), options.resolve[0].port),
            ("shop.example", 80)
        );
    }

    #[test]
    fn next_begins_anew_but_for_what_holds_for_all() {
        let groups = groups("-X PUT a --next b -sS --rate 100/s").unwrap();
        assert_eq!((groups[0].verb(), groups[1].verb()), ("PUT", "GET"));
        assert!(groups.iter().all(|group| group.silent && group.show_error));
        assert_eq!(groups[0].every, Some(Duration::from_millis(10)));
        refuses("a --next -s", "(2) no URL specified");
        refuses("a --rate 5/x", "(2) option --rate: expected a rate such as 100/s");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        refuses("-sL a", "(2) option -L: is unknown");
        refuses("--location a", "(2) option --location: is unknown");
        refuses("a -m", "(2) option -m: requires parameter");
        refuses("a -m x", "(2) option -m: expected a proper numerical parameter");
        refuses("a --resolve b:1", "(2) option --resolve: expected HOST:PORT:ADDRESS");
        refuses("-s", "(2) no URL specified");
    }
}
