//! URLs as far as curl reads them: `[http[s]://]host[:port][/path][?query]`.

use std::str::FromStr;

use super::failure::Failure;

/// Where to connect and what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Whether to speak TLS.
    pub(super) secure: bool,
    /// Host name or address, without brackets.
    pub(super) host: String,
    /// Port, the scheme's when absent in the text.
    pub(super) port: u16,
    /// Host and port as the `Host` header has them.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
}

impl FromStr for Url {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let rejected = |why: &str| Failure::Url(format!("{why} in {text:?}"));
        if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(Failure::Url("Malformed input to a URL function".to_owned()));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(Failure::Protocol(scheme.to_owned())),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(rejected("a user name, which the built-in curl does not send,"));
        }
        let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match bracketed {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        if host.is_empty() {
            return Err(Failure::Url("No host part in the URL".to_owned()));
        }
        let default = if secure { 443 } else { 80 };
        let port = match port.filter(|port| !port.is_empty()) {
            None => default,
            Some(port) => port.parse().map_err(|_| {
                Failure::Url("Port number was not a decimal number between 0 and 65535".to_owned())
            })?,
        };
        let shown = if bracketed.is_some() { format!("[{host}]") } else { host.to_owned() };
        let authority = if port == default { shown } else { format!("{shown}:{port}") };
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok(Self { secure, host: host.to_owned(), port, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = match text.parse::<Url>() {
            Ok(url) => format!("{} {} {} {}", url.host, url.port, url.authority, url.path),
            Err(failure) => format!("{}", failure.code()),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn urls_are_read_as_curl_reads_them() {
        check("http://world:8080/", "world 8080 world:8080 /");
        check("world", "world 80 world /");
        check("HTTPS://a.b", "a.b 443 a.b /");
        check("https://a:443/x?y#z", "a 443 a /x?y");
        check("http://a?b=c", "a 80 a /?b=c");
        check("http://[::1]:81/", "::1 81 [::1]:81 /");
        check("ftp://a/", "1");
        check("http:///x", "3");
        check("http://a:x/", "3");
        check("http://a b/", "3");
        check("http://me@a/", "3");
    }
}
