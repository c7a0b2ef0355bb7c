//! The request that a user asks about, and where it begins.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_TYPE, TE},
};

use weft_decide::ClientHello;

use crate::explanation::Protocol;

/// A request, and where it begins.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// What is asked for.
    pub url: Url,
    /// Header fields; `host` replaces the URL's.
    pub headers: HeaderMap,
    /// The address that the client dials; the URL's host as a service's address when absent.
    pub to: Option<SocketAddr>,
    /// Which proxy the request meets first.
    pub start: Start,
    /// Which HTTP the client speaks.
    pub protocol: Protocol,
    /// The server name of TLS, with which the bytes are no HTTP for a proxy that
    /// does not end TLS.
    pub server_name: Option<String>,
}

/// Which proxy a request meets first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The gateway's.
    Ingress,
    /// The one beside the client.
    From(PodName),
    /// The one beside the server.
    At(PodName),
}

/// A pod, or the workload that it is of, as `NAME`, `NAME.NAMESPACE` or `KIND/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// The name.
    pub name: String,
    /// The namespace; `default` when not said.
    pub namespace: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// How the client speaks.
    pub scheme: Scheme,
    /// Host, and port if it is written, as in the URL.
    pub authority: String,
    /// The host alone.
    pub host: String,
    /// The port, the scheme's when not written.
    pub port: u16,
    /// Path and query.
    pub target: String,
}

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in plain text.
    Http,
    /// HTTP in TLS that the client begins itself.
    Https,
    /// Bytes that are no HTTP.
    Tcp,
}

/// A question that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadQuestion {
    /// Not a URL.
    #[error("`{0}` is not a URL such as http://hello:8080/path")]
    Url(String),
    /// Not a header.
    #[error("`{0}` is not a header such as `x-user: 1`")]
    Header(String),
    /// Not a method.
    #[error("`{0}` is not an HTTP method such as GET or POST")]
    Method(String),
    /// HTTP/2 where no proxy sees HTTP.
    #[error(
        "{0} is not HTTP that a proxy can read, so --http2 says nothing about it; leave it out, or \
         ask for an http:// URL without --tls-sni"
    )]
    NotHttp(String),
    /// Not a pod's name.
    #[error("`{0}` is not a pod or a workload such as POD, POD.NAMESPACE or deploy/NAME")]
    Pod(String),
}

impl Question {
    /// A request for `url` with `method`, from `start`. Without a method it is a GET, and
    /// of a `grpc://` URL the call that a gRPC client makes.
    pub fn new(method: Option<&str>, url: &str, start: Start) -> Result<Self, BadQuestion> {
        let is_grpc = url.to_ascii_lowercase().starts_with("grpc://");
        let method = method.unwrap_or(if is_grpc { "POST" } else { "GET" });
        let bad = || BadQuestion::Method(method.to_owned());
        let mut headers = HeaderMap::new();
        if is_grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(Self {
            method: method.parse().map_err(|_| bad())?,
            url: url.parse()?,
            headers,
            to: None,
            start,
            // gRPC is spoken over nothing else.
            protocol: if is_grpc { Protocol::Http2 } else { Protocol::Http1 },
            server_name: None,
        })
    }

    /// Whether the proxy that the request meets first can read it as HTTP, as far
    /// as the client is concerned.
    pub(crate) fn is_http(&self) -> bool {
        self.url.scheme == Scheme::Http && self.server_name.is_none()
    }

    /// What the client says first, where that is TLS.
    pub(crate) fn hello(&self) -> Option<ClientHello> {
        // Clients do not name addresses (RFC 6066, section 3).
        let host = &self.url.host;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let own = Some(host).filter(|_| bare.parse::<IpAddr>().is_err());
        let server_name = match (&self.server_name, self.url.scheme) {
            (Some(name), _) => Some(name),
            (None, Scheme::Https) => own,
            (None, Scheme::Http | Scheme::Tcp) => return None,
        };
        let server_name = server_name.map(|name| name.to_ascii_lowercase());
        Some(ClientHello { server_name, ..ClientHello::default() })
    }

    /// Lets the client speak HTTP/2 without TLS.
    pub fn speak_http2(&mut self) -> Result<(), BadQuestion> {
        if !self.is_http() {
            return Err(BadQuestion::NotHttp(self.url.to_string()));
        }
        self.protocol = Protocol::Http2;
        Ok(())
    }

    /// Adds a header written as `name: value`.
    pub fn add_header(&mut self, line: &str) -> Result<(), BadQuestion> {
        let bad = || BadQuestion::Header(line.to_owned());
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
        self.headers.append(name, value);
        Ok(())
    }
}

impl FromStr for Url {
    type Err = BadQuestion;

    fn from_str(text: &str) -> Result<Self, BadQuestion> {
        let bad = || BadQuestion::Url(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" | "grpc" => Scheme::Http,
            "https" => Scheme::Https,
            "tcp" => Scheme::Tcp,
            _ => return Err(bad()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[bracket..].rfind(':') {
            None => (authority, None),
            Some(colon) => {
                let port = &authority[bracket + colon + 1..];
                (&authority[..bracket + colon], Some(port.parse().map_err(|_| bad())?))
            }
        };
        let fits = |char: char| !char.is_whitespace() && !char.is_control();
        if host.is_empty() || !text.chars().all(fits) {
            return Err(bad());
        }
        let target = match target.starts_with('/') {
            true => target.to_owned(),
            false => format!("/{target}"),
        };
        Ok(Self {
            scheme,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: port.unwrap_or(scheme.default_port()),
            target,
        })
    }
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::Tcp => 80,
            Self::Https => 443,
        }
    }

    /// As in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority, self.target)
    }
}

/// What may stand before a pod's or a workload's name, as kubectl has it.
const WORKLOADS: &[&str] = &[
    "po",
    "pod",
    "pods",
    "deploy",
    "deployment",
    "deployments",
    "deployment.apps",
    "rs",
    "replicaset",
    "replicasets",
    "sts",
    "statefulset",
    "statefulsets",
    "ds",
    "daemonset",
    "daemonsets",
    "job",
    "jobs",
];

impl FromStr for PodName {
    type Err = BadQuestion;

    fn from_str(text: &str) -> Result<Self, BadQuestion> {
        let bare = match text.split_once('/') {
            Some((kind, bare)) if WORKLOADS.contains(&kind.to_ascii_lowercase().as_str()) => bare,
            Some(_) => return Err(BadQuestion::Pod(text.to_owned())),
            None => text,
        };
        let (name, namespace) = bare.rsplit_once('.').unwrap_or((bare, "default"));
        match name.is_empty() || namespace.is_empty() {
            true => Err(BadQuestion::Pod(text.to_owned())),
            false => Ok(Self { name: name.to_owned(), namespace: namespace.to_owned() }),
        }
    }
}

impl FromStr for Start {
    type Err = BadQuestion;

    /// `ingress`, or the client's pod.
    fn from_str(text: &str) -> Result<Self, BadQuestion> {
        match text {
            "ingress" => Ok(Self::Ingress),
            pod => pod.parse().map(Self::From),
        }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = match text.parse::<Url>() {
            Ok(url) => {
                format!("{} {} {} {}", url.scheme.as_str(), url.authority, url.port, url.target)
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn urls_are_taken_apart() {
        check("http://hello", "http hello 80 /");
        check("hello:8080/a?b#c", "http hello:8080 8080 /a?b#c");
        check("https://[::1]/a", "https [::1] 443 /a");
        check("http://[::1]:80?x", "http [::1]:80 80 /?x");
        check("tcp://db:3306", "tcp db:3306 3306 /");
    }

    #[test]
    fn what_is_no_url_is_told() {
        let told = |text: &str| format!("`{text}` is not a URL such as http://hello:8080/path");
        for text in ["http://", "ftp://a", "http://a:b/", "http://a/ b"] {
            check(text, &told(text));
        }
    }

    #[test]
    fn a_grpc_url_is_the_call_that_a_client_makes() {
        let call = Question::new(None, "grpc://a:1/p.S/M", Start::Ingress).unwrap();
        assert_eq!((call.method.as_str(), call.protocol), ("POST", Protocol::Http2));
        assert_eq!(call.headers[CONTENT_TYPE], "application/grpc");
        let plain = Question::new(None, "http://a", Start::Ingress).unwrap();
        assert_eq!((plain.method.as_str(), plain.protocol), ("GET", Protocol::Http1));
        let refused = Question::new(Some("G T"), "http://a", Start::Ingress).unwrap_err();
        assert_eq!(refused, BadQuestion::Method("G T".to_owned()));
    }

    #[test]
    fn a_pod_may_name_its_namespace() {
        let pod: PodName = "hello.legacy".parse().unwrap();
        assert_eq!((pod.name.as_str(), pod.namespace.as_str()), ("hello", "legacy"));
        assert_eq!("hello".parse::<PodName>().unwrap().namespace, "default");
        assert!("hello.".parse::<PodName>().is_err());
        for text in ["deploy/hello.legacy", "pod/hello.legacy", "Deployment/hello.legacy"] {
            assert_eq!(text.parse::<PodName>(), Ok(pod.clone()), "{text}");
        }
        assert!("svc/hello".parse::<PodName>().is_err());
        assert_eq!(
            "deploy/hello".parse::<Start>(),
            Ok(Start::From(PodName { name: "hello".into(), namespace: "default".into() }))
        );
        assert_eq!("ingress".parse::<Start>(), Ok(Start::Ingress));
    }
}
