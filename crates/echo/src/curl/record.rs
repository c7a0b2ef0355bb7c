//! What happened during a transfer, for `-w`.

use std::{net::SocketAddr, time::Duration};

use super::failure::Failure;

/// What is known of a transfer so far; kept when it is given up half-way.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) url: String,
    pub(super) method: String,
    pub(super) status: u16,
    pub(super) version: &'static str,
    pub(super) content_type: String,
    /// Bytes of body received.
    pub(super) received: u64,
    /// Bytes of head received.
    pub(super) head: u64,
    pub(super) uploaded: usize,
    pub(super) remote: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) resolved: Duration,
    pub(super) connected: Duration,
    pub(super) secured: Duration,
    pub(super) first_byte: Duration,
    pub(super) total: Duration,
    pub(super) failure: Option<Failure>,
}

impl Record {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), version: "0", ..Self::default() }
    }

    /// Fills in a format of `-w`.
    pub(super) fn render(&self, format: &str) -> String {
        let mut text = String::new();
        let mut rest = format;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            match character {
                '\\' => {
                    let Some(escape) = rest.chars().next() else { break };
                    rest = &rest[escape.len_utf8()..];
                    match escape {
                        'n' => text.push('\n'),
                        'r' => text.push('\r'),
                        't' => text.push('\t'),
                        other => text.extend(['\\', other]),
                    }
                }
                '%' if rest.starts_with('%') => {
                    text.push('%');
                    rest = &rest[1..];
                }
                '%' if rest.starts_with('{') && rest.contains('}') => {
                    let (name, after) = rest[1..].split_once('}').unwrap_or((rest, ""));
                    // curl leaves out what it does not know, too.
                    text.push_str(&self.variable(name).unwrap_or_default());
                    rest = after;
                }
                other => text.push(other),
            }
        }
        text
    }

    fn variable(&self, name: &str) -> Option<String> {
        let time = |duration: Duration| format!("{:.6}", duration.as_secs_f64());
        let ip = |address: Option<SocketAddr>| {
            address.map(|address| address.ip().to_string()).unwrap_or_default()
        };
        let port = |address: Option<SocketAddr>| {
            address.map(|address| address.port().to_string()).unwrap_or_else(|| "-1".to_owned())
        };
        Some(match name {
            "http_code" | "response_code" => format!("{:03}", self.status),
            "http_version" => self.version.to_owned(),
            "content_type" => self.content_type.clone(),
            "method" => self.method.clone(),
            "url" | "url_effective" => self.url.clone(),
            "size_download" => self.received.to_string(),
            "size_header" => self.head.to_string(),
            "size_upload" => self.uploaded.to_string(),
            "num_connects" => u8::from(self.remote.is_some()).to_string(),
            "num_redirects" => "0".to_owned(),
            "remote_ip" => ip(self.remote),
            "remote_port" => port(self.remote),
            "local_ip" => ip(self.local),
            "local_port" => port(self.local),
            "time_namelookup" => time(self.resolved),
            "time_connect" => time(self.connected),
            "time_appconnect" => time(self.secured),
            "time_starttransfer" => time(self.first_byte),
            "time_total" => time(self.total),
            "exitcode" => self.failure.as_ref().map_or(0, Failure::code).to_string(),
            "errormsg" => self.failure.as_ref().map(ToString::to_string).unwrap_or_default(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_filled_in_as_curl_does() {
        let mut record = Record::new("http://a/");
        record.status = 204;
        record.total = Duration::from_millis(1500);
        let format = r"%{http_code} %{time_total}s 100%% %{nothing}|%{url}\n\t\x%{";
        assert_eq!(record.render(format), "204 1.500000s 100% |http://a/\n\t\\x%{");
        assert_eq!(Record::new("").render("%{http_code} %{exitcode}"), "000 0");
    }
}
