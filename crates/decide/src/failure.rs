//! Why a proxy answered a request itself, gave it up, or cut it: one variant for each
//! cause. Status, flag, details, body and blame follow from it, here and nowhere else.

use std::{borrow::Cow, sync::Arc};

use crate::reply::{Flag, Flags, Reply, Text};

/// Loop Detected (RFC 5842, section 7.2). No try is made again after it, since each proxy of a
/// circle would multiply the tries of the next.
pub(crate) const CIRCLE: u16 = 508;

/// The cause of a request's or connection's end, where that was not its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No host or rule matches.
    NoRoute,
    /// The rule names a backend that does not exist.
    NoBackend,
    /// No destination of the rule has a weight.
    NoWeight,
    /// The backend has no endpoint.
    NoEndpoint,
    /// The backend's addresses are the proxy's own machine or link, which it does not dial for
    /// others.
    OutOfReach,
    /// The backend is closed, for the reason given.
    BackendClosed(String),
    /// The control plane did not answer in time.
    ConfigUnavailable,
    /// The destination is outside of the mesh, which is closed.
    Outside,
    /// The connection has no destination.
    NoDestination,
    /// No server of the listener is for what the TLS client asks for, or the client does not
    /// speak TLS.
    NoServer,
    /// The request breaks the rules of HTTP, as the details say.
    BadRequest(&'static str),
    /// The request names no host.
    MissingHost,
    /// The request's head has more bytes than may be.
    HeadTooLarge,
    /// The request's head has more fields than may be; the details say in which version of HTTP.
    TooManyFields(&'static str),
    /// The client did not finish its request's head in time.
    LateHead,
    /// The client owed a part of its request for too long.
    RequestStalled,
    /// The path is ambiguous.
    BadPath,
    /// What a rule makes of the path is longer than a target may be, or is no target.
    BadRewrite,
    /// The body is encoded in another way than in chunks (RFC 9112, section 6.1).
    UnknownEncoding,
    /// The target asks for TLS, on a connection without.
    NotEncrypted,
    /// The request asks for a protocol that is not allowed.
    UpgradeRefused,
    /// The request is about the proxy, not about anything behind it (`OPTIONS *`).
    Asterisk,
    /// The request came through so many proxies that it goes in a circle.
    Circle,
    /// No answer came from the server.
    NoAnswer(NoAnswer),
    /// The server switches to another protocol without having been asked.
    UnaskedUpgrade,
    /// The exchange took longer than its rule allows.
    Timeout,
    /// The exchange took longer than the client waits, by its `grpc-timeout`.
    ClientDeadline,
    /// The answer ended early.
    AnswerBroke(Broke),
    /// No connection could be made for one that is relayed as it is.
    Unconnected,
    /// A connection that is relayed as it is would be one more than its backend may have.
    TooManyConnections,
    /// The rule's time was over while the answer was under way.
    AnswerTimeout,
    /// The client's time was over while the answer was under way.
    AnswerClientDeadline,
    /// The client left before the end of the exchange.
    ClientLeft,
}

/// A request without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// Why the last try failed.
    pub reset: Reset,
    /// It would have been repeated, but no try was left.
    pub spent: bool,
}

/// How a try ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// No connection could be made, for the reason given, in the words of access logs.
    Refused(String),
    /// No connection could be made in time.
    ConnectTimeout,
    /// The connection ended.
    Ended,
    /// The server refused the stream.
    RefusedStream,
    /// The server reset the stream.
    Remote,
    /// The answer was not HTTP.
    Malformed,
    /// The server took nothing of the request for too long.
    Stalled,
    /// The try took longer than its rule allows for one.
    Timeout,
    /// The backend has as many connections or requests as it may.
    Overflow,
}

/// How an answer that had begun ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broke {
    /// The connection ended.
    Ended,
    /// The server reset the stream.
    Remote,
    /// The rest of the answer was not HTTP.
    Malformed,
    /// The server sent nothing of what it owed.
    Stalled,
}

/// Who is to look into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client.
    Client,
    /// The objects that configure the mesh.
    Configuration,
    /// The control plane.
    ControlPlane,
    /// The server.
    Server,
}

impl Blame {
    /// As `explain` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Configuration => "configuration",
            Self::ControlPlane => "controlPlane",
            Self::Server => "server",
        }
    }
}

/// All that follows from a cause.
struct Facts {
    status: u16,
    flag: Option<Flag>,
    details: Cow<'static, str>,
    body: Text,
    blame: Blame,
}

impl Facts {
    fn new(blame: Blame, status: u16, flag: Option<Flag>, details: &'static str) -> Self {
        let (details, body) = (Cow::Borrowed(details), Text::Fixed(""));
        Self { status, flag, details, body, blame }
    }

    fn saying(self, body: &'static str) -> Self {
        Self { body: Text::Fixed(body), ..self }
    }
}

impl Failure {
    /// The answer that the client gets. Where the answer was under way already, this is
    /// what it would have got.
    pub fn reply(&self) -> Reply {
        let facts = self.facts();
        let (blame, reply) = (Some(facts.blame), Reply::new(facts.status, facts.details));
        let reply = Reply { body: facts.body, flags: self.flags(), blame, ..reply };
        match self {
            Self::NoServer => Reply { status: None, ..reply },
            // There is nothing to answer on; the names are those of access logs.
            Self::NoDestination => {
                Reply { status: None, backend: Some(Arc::from("BlackHoleCluster")), ..reply }
            }
            Self::Outside => Reply { rule: Some(Arc::from("block_all")), ..reply },
            _ => reply,
        }
    }

    /// The status of the answer, also where the connection is closed instead.
    pub fn status(&self) -> u16 {
        self.facts().status
    }

    /// The flags of access logs.
    pub fn flags(&self) -> Flags {
        let flag = self.facts().flag;
        match self {
            Self::NoAnswer(NoAnswer { spent: true, .. }) => flag
                .map_or(Flags::of(Flag::TriesSpent), |flag| Flags::of(Flag::TriesSpent).and(flag)),
            Self::Unconnected => Flags::of(Flag::Connect).and(Flag::TriesSpent),
            _ => flag.map(Flags::of).unwrap_or_default(),
        }
    }

    /// Response code details, which name the cause.
    pub fn details(&self) -> Cow<'static, str> {
        self.facts().details
    }

    /// Who is to look into it.
    pub fn blame(&self) -> Blame {
        self.facts().blame
    }

    fn facts(&self) -> Facts {
        use Blame::{Client, Configuration, ControlPlane, Server};
        let bad_request =
            |details| Facts::new(Client, 400, Some(Flag::Protocol), details).saying("Bad Request");
        let too_large = |details| Facts {
            status: 431,
            ..bad_request(details).saying("Request Header Fields Too Large")
        };
        match self {
            Self::NoRoute => Facts::new(Configuration, 404, Some(Flag::NoRoute), "route_not_found"),
            Self::NoBackend => {
                Facts::new(Configuration, 503, Some(Flag::NoBackend), "cluster_not_found")
            }
            Self::NoWeight => Facts::new(Configuration, 500, None, "no_weighted_backend"),
            Self::NoEndpoint => {
                Facts::new(Server, 503, Some(Flag::NoEndpoint), "no_healthy_upstream")
                    .saying("no healthy upstream")
            }
            Self::OutOfReach => {
                let flag = Some(Flag::NoEndpoint);
                Facts::new(Configuration, 503, flag, "upstream_address_not_allowed")
                    .saying("the destination's address is the proxy's own, loopback, or link-local")
            }
            Self::BackendClosed(details) => Facts {
                details: Cow::Owned(details.clone()),
                ..Facts::new(Configuration, 503, None, "")
            },
            Self::ConfigUnavailable => Facts::new(ControlPlane, 503, None, "config_unavailable")
                .saying("the mesh's configuration for this destination has not arrived"),
            Self::Outside => Facts::new(Configuration, 502, None, "direct_response"),
            Self::NoDestination => {
                Facts::new(Configuration, 503, Some(Flag::NoEndpoint), "no_healthy_upstream")
            }
            Self::NoServer => {
                Facts::new(Configuration, 503, Some(Flag::NoRoute), "filter_chain_not_found")
            }
            Self::BadRequest(details) => bad_request(details),
            Self::MissingHost => Facts::new(Client, 400, None, "missing_host_header"),
            Self::HeadTooLarge => too_large("http1.headers_too_large"),
            Self::TooManyFields(details) => too_large(details),
            Self::LateHead => Facts::new(Client, 408, None, "request_header_timeout")
                .saying("request header timeout"),
            Self::RequestStalled => {
                let flag = Some(Flag::StreamIdle);
                Facts::new(Client, 408, flag, "stream_idle_timeout").saying("stream timeout")
            }
            Self::BadRewrite => Facts::new(Configuration, 500, None, "rewritten_path_invalid")
                .saying("a rule makes a path of the request's that cannot be sent"),
            Self::BadPath => {
                Facts::new(Client, 400, None, "path_normalization_failed").saying("Bad Request")
            }
            Self::UnknownEncoding => Facts {
                status: 501,
                ..bad_request("http1.invalid_transfer_encoding").saying("Not Implemented")
            },
            Self::NotEncrypted => Facts::new(Client, 403, None, "scheme_mismatch"),
            Self::UpgradeRefused => Facts::new(Client, 403, None, "upgrade_failed"),
            Self::Asterisk => Facts::new(Client, 404, None, "absolute_path_rejected"),
            Self::Circle => Facts::new(Configuration, CIRCLE, None, "routed_in_a_circle")
                .saying("the request goes in a circle: a backend leads back to the mesh"),
            Self::NoAnswer(NoAnswer { reset, spent }) => reset.facts(*spent),
            Self::UnaskedUpgrade => Reset::Malformed.facts(false),
            Self::Timeout => Facts::new(Server, 504, Some(Flag::Timeout), "response_timeout")
                .saying("upstream request timeout"),
            Self::ClientDeadline => {
                Facts::new(Server, 504, Some(Flag::Duration), "max_duration_timeout")
                    .saying("downstream duration timeout")
            }
            Self::AnswerBroke(broke) => broke.facts(),
            Self::TooManyConnections => Facts::new(Server, 503, Some(Flag::Overflow), ""),
            Self::Unconnected => Facts::new(Server, 503, Some(Flag::Connect), ""),
            Self::AnswerTimeout => {
                Facts::new(Server, 504, Some(Flag::Timeout), "upstream_response_timeout")
            }
            Self::AnswerClientDeadline => {
                Facts::new(Server, 504, Some(Flag::Duration), "max_duration_timeout")
            }
            Self::ClientLeft => {
                Facts::new(Client, 0, Some(Flag::ClientLeft), "downstream_remote_disconnect")
            }
        }
    }
}

impl Broke {
    fn facts(self) -> Facts {
        let (flag, details) = match self {
            Self::Ended => {
                (Flag::Ended, "upstream_reset_after_response_started{connection_termination}")
            }
            Self::Remote => (Flag::Reset, "upstream_reset_after_response_started{remote_reset}"),
            Self::Malformed => {
                (Flag::UpstreamProtocol, "upstream_reset_after_response_started{protocol_error}")
            }
            Self::Stalled => (Flag::Ended, "upstream_stalled"),
        };
        Facts::new(Blame::Server, 502, Some(flag), details)
    }
}

impl Reset {
    /// The texts are Envoy's.
    fn facts(&self, spent: bool) -> Facts {
        let (status, reason, flag) = match self {
            Self::Timeout => {
                let details = "upstream_per_try_timeout";
                return Facts::new(Blame::Server, 504, Some(Flag::Timeout), details)
                    .saying("upstream request timeout");
            }
            Self::Stalled => {
                let (flag, details) = (Some(Flag::StreamIdle), "stream_idle_timeout");
                return Facts::new(Blame::Server, 504, flag, details).saying("stream timeout");
            }
            Self::Refused(_) => (503, "remote connection failure", Flag::Connect),
            Self::ConnectTimeout => (503, "connection timeout", Flag::Connect),
            Self::Ended => (503, "connection termination", Flag::Ended),
            Self::RefusedStream => (503, "remote refused stream reset", Flag::Reset),
            Self::Remote => (503, "remote reset", Flag::Reset),
            Self::Malformed => (502, "protocol error", Flag::UpstreamProtocol),
            Self::Overflow => (503, "overflow", Flag::Overflow),
        };
        let retried = match spent {
            true => "retried and the latest reset reason",
            false => "reset reason",
        };
        let body = format!(
            "upstream connect error or disconnect/reset before headers. {retried}: {reason}"
        );
        let detail = match self {
            Self::Refused(why) => format!("remote_connection_failure|{why}"),
            _ => reason.replace(' ', "_"),
        };
        Facts {
            details: format!("upstream_reset_before_response_started{{{detail}}}").into(),
            body: Text::Shared(body.into()),
            ..Facts::new(Blame::Server, status, Some(flag), "")
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[track_caller]
    fn check(failure: &Failure, expected: &str) {
        let Reply { status, flags, details, body, .. } = failure.reply();
        let status = status.unwrap_or_default();
        assert_eq!(format!("{status} {flags} {details} \"{body}\""), expected);
    }

    #[test]
    fn a_cause_gives_status_flag_details_and_body() {
        check(&Failure::NoRoute, "404 NR route_not_found \"\"");
        check(&Failure::NoBackend, "503 NC cluster_not_found \"\"");
        check(&Failure::NoEndpoint, "503 UH no_healthy_upstream \"no healthy upstream\"");
        check(&Failure::BackendClosed("tls_not_honoured".into()), "503 - tls_not_honoured \"\"");
        let host = Failure::BadRequest("several_host_fields");
        check(&host, "400 DPE several_host_fields \"Bad Request\"");
        let fields = "431 DPE http2.too_many_headers \"Request Header Fields Too Large\"";
        check(&Failure::TooManyFields("http2.too_many_headers"), fields);
        let encoding = "501 DPE http1.invalid_transfer_encoding \"Not Implemented\"";
        check(&Failure::UnknownEncoding, encoding);
        check(&Failure::Timeout, "504 UT response_timeout \"upstream request timeout\"");
        let circle = "508 - routed_in_a_circle \
                      \"the request goes in a circle: a backend leads back to the mesh\"";
        check(&Failure::Circle, circle);
        check(&Failure::NoDestination, "0 UH no_healthy_upstream \"\"");
        check(&Failure::NoServer, "0 NR filter_chain_not_found \"\"");
        check(&Failure::RequestStalled, "408 SI stream_idle_timeout \"stream timeout\"");
        assert_eq!(Failure::ClientLeft.flags().to_string(), "DC");
        assert_eq!(Failure::Unconnected.flags().to_string(), "UF,URX");
        assert_eq!(Failure::ConfigUnavailable.blame(), Blame::ControlPlane);
    }

    #[test]
    fn a_try_without_an_answer_says_how_it_ended() {
        let failed = |reset, spent| Failure::NoAnswer(NoAnswer { reset, spent });
        check(
            &failed(Reset::Refused("delayed_connect_error:_Connection_refused".into()), true),
            "503 URX,UF upstream_reset_before_response_started\
             {remote_connection_failure|delayed_connect_error:_Connection_refused} \
             \"upstream connect error or disconnect/reset before headers. \
             retried and the latest reset reason: remote connection failure\"",
        );
        check(
            &failed(Reset::RefusedStream, false),
            "503 UR upstream_reset_before_response_started{remote_refused_stream_reset} \
             \"upstream connect error or disconnect/reset before headers. \
             reset reason: remote refused stream reset\"",
        );
        let stalled = failed(Reset::Stalled, false);
        check(&stalled, "504 SI stream_idle_timeout \"stream timeout\"");
        let overflow = failed(Reset::Overflow, false);
        check(
            &overflow,
            "503 UO upstream_reset_before_response_started{overflow} \
             \"upstream connect error or disconnect/reset before headers. reset reason: overflow\"",
        );
        let mut head = HeaderMap::new();
        overflow.reply().write_head(&mut head, 503);
        assert_eq!(head["x-envoy-overloaded"], "true");
        let slow = failed(Reset::Timeout, true);
        check(&slow, "504 URX,UT upstream_per_try_timeout \"upstream request timeout\"");
    }
}
