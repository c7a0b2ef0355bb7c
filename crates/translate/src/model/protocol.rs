//! What a service's port speaks, as declared.

use weft_api::kubernetes::ServicePort;
use weft_config::Upstream;

/// What a service's port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1.
    Http,
    /// HTTP/2, gRPC.
    Http2,
    /// Bytes.
    Tcp,
    /// TLS, which is passed on.
    Tls,
    /// Not declared: seen from the first bytes.
    Undeclared,
    /// Not TCP at all.
    Datagrams,
}

impl Spoken {
    /// What `port` declares: by `appProtocol`, else by the first part of its
    /// name, else by its number.
    pub(crate) fn of(port: &ServicePort) -> Self {
        if !matches!(port.protocol.as_str(), "" | "TCP") {
            return Self::Datagrams;
        }
        if let Some(declared) = port.app_protocol.as_deref().filter(|text| !text.is_empty()) {
            // An unknown one cancels what the name says, as in Istio.
            return match declared.to_ascii_lowercase().as_str() {
                "kubernetes.io/h2c" => Self::Http2,
                "kubernetes.io/ws" => Self::Http,
                "kubernetes.io/wss" => Self::Tls,
                word => Self::of_word(word).unwrap_or(Self::Undeclared),
            };
        }
        let name = port.name.to_ascii_lowercase();
        // The only prefix with a dash of its own.
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Self::Http2;
        }
        let word = name.split('-').next().unwrap_or_default();
        if let Some(spoken) = Self::of_word(word) {
            return spoken;
        }
        match port.port {
            25 | 53 | 3306 | 27017 => Self::Tcp,
            _ => Self::Undeclared,
        }
    }

    /// What the port of a ServiceEntry declares by its protocol.
    pub(crate) fn of_entry(protocol: &str) -> Self {
        match protocol.to_ascii_lowercase().as_str() {
            "udp" => Self::Datagrams,
            word => Self::of_word(word).unwrap_or(Self::Undeclared),
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        match word {
            "http" | "http_proxy" => Some(Self::Http),
            "http2" | "grpc" | "grpc-web" => Some(Self::Http2),
            "https" | "tls" => Some(Self::Tls),
            "tcp" | "mongo" | "redis" | "mysql" => Some(Self::Tcp),
            _ => None,
        }
    }

    /// Whether it is declared to be HTTP.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2)
    }

    /// Whether HTTP rules apply to it.
    pub(crate) fn may_be_http(self) -> bool {
        self.is_http() || self == Self::Undeclared
    }

    /// How HTTP is spoken to it.
    pub(crate) fn upstream(self) -> Upstream {
        match self {
            Self::Http => Upstream::Http1,
            Self::Http2 => Upstream::Http2,
            Self::Tcp | Self::Tls | Self::Undeclared | Self::Datagrams => Upstream::SameAsClient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, app_protocol: Option<&str>, port: u16, expected: Spoken) {
        let port = ServicePort {
            name: name.to_owned(),
            port,
            app_protocol: app_protocol.map(str::to_owned),
            ..ServicePort::default()
        };
        assert_eq!(Spoken::of(&port), expected);
    }

    #[test]
    fn the_name_declares_up_to_its_first_dash() {
        check("http", None, 8080, Spoken::Http);
        check("http-web", None, 8080, Spoken::Http);
        check("HTTP-web", None, 8080, Spoken::Http);
        check("grpc-web-x", None, 8080, Spoken::Http2);
        check("grpc", None, 8080, Spoken::Http2);
        check("tls", None, 443, Spoken::Tls);
        check("https-web", None, 443, Spoken::Tls);
        check("tcp", Some("kubernetes.io/wss"), 443, Spoken::Tls);
        check("httpx", None, 80, Spoken::Undeclared);
        check("", None, 8080, Spoken::Undeclared);
        check("", None, 3306, Spoken::Tcp);
    }

    #[test]
    fn app_protocol_comes_before_the_name_even_when_unknown() {
        check("tcp-web", Some("http"), 80, Spoken::Http);
        check("http", Some("kubernetes.io/h2c"), 80, Spoken::Http2);
        check("http", Some("example.com/own"), 80, Spoken::Undeclared);
    }
}
