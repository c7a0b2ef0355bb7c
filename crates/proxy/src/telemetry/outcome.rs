//! What became of one exchange, recorded exactly once.
//!
//! It is filled along the way and written when it is dropped, so an exchange
//! whose client left, and whose future just ends, is recorded too.

use std::{
    borrow::Cow,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue, Version, request::Parts};
use weft_decide::{Failure, Flags, Reply};

use crate::{
    connection::{direction::Direction, downstream::Downstream},
    http::{error::Cause, grpc, headers::FORWARDED_FOR, request_body::Source},
    telemetry::{
        access_log::buffer::Log,
        access_log::{Captured, Facts, Head, Upstream, capture},
        metrics::{Grpc, PeerId, Request},
    },
};

/// What became of one exchange, so far.
pub struct Outcome {
    downstream: Rc<Downstream>,
    log: Option<Rc<Log>>,
    began: Instant,
    start: SystemTime,
    head: Option<Head>,
    request_headers: Captured,
    response_headers: Captured,
    client: SocketAddr,
    source: Option<Rc<Source>>,
    kind: Kind,
    end: End,
    /// The status; 0 until there is one.
    pub status: u16,
    /// Flags of the access log.
    pub flags: Flags,
    /// Why the answer is what it is.
    pub details: Cow<'static, str>,
    /// Why the server could not be reached.
    pub transport_failure: Option<String>,
    /// Bytes of the request, where no body counts them.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// How long the server took until its head.
    pub service_time: Option<Duration>,
    /// The endpoint of the last try.
    pub host: Option<SocketAddr>,
    /// The proxy's end of the connection to it.
    pub local: Option<SocketAddr>,
    /// The name of the backend.
    pub backend: Option<Arc<str>>,
    /// The rule's name.
    pub route: Option<Arc<str>>,
    /// Who it was exchanged with, for metrics.
    pub peer: Option<PeerId>,
    grpc: Grpc,
    messages: grpc::Messages,
}

/// What kind of exchange it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request and its answer.
    Request,
    /// A connection that is relayed as it is.
    Connection,
}

/// Who says how long an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOf {
    /// Its rule.
    Rule,
    /// The client, by `grpc-timeout`.
    Client,
}

impl LimitOf {
    /// The time was over before an answer began.
    pub fn before_answer(self) -> Failure {
        match self {
            Self::Rule => Failure::Timeout,
            Self::Client => Failure::ClientDeadline,
        }
    }

    /// The time was over while the answer was under way.
    pub fn within_answer(self) -> Failure {
        match self {
            Self::Rule => Failure::AnswerTimeout,
            Self::Client => Failure::AnswerClientDeadline,
        }
    }
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client is still owed something.
    Open,
    /// All is said.
    Complete,
}

impl Outcome {
    /// The exchange of the request with these parts begins.
    pub fn begin(
        downstream: &Rc<Downstream>,
        parts: &Parts,
        authority: Option<HeaderValue>,
        source: Option<Rc<Source>>,
    ) -> Box<Self> {
        let mut outcome = Self::blank(downstream, Kind::Request);
        if let Some(log) = &outcome.log {
            outcome.request_headers = capture(&log.format.request_headers, &parts.headers);
            outcome.head = Some(Head {
                method: parts.method.clone(),
                target: parts.uri.clone(),
                version: parts.version,
                authority,
            });
            outcome.client = downstream.client_of(&parts.headers);
        }
        if grpc::is_grpc(&parts.headers) {
            outcome.grpc = Grpc::Status(None);
            if let Some(source) = &source {
                source.count_messages();
            }
        }
        outcome.source = source;
        outcome
    }

    /// Something begins of which no request was read.
    pub fn blank(downstream: &Rc<Downstream>, kind: Kind) -> Box<Self> {
        downstream.idle_timer.begin();
        Box::new(Self {
            log: downstream.worker.access_log.log(),
            downstream: Rc::clone(downstream),
            began: Instant::now(),
            start: SystemTime::now(),
            head: None,
            request_headers: Captured::new(),
            response_headers: Captured::new(),
            client: downstream.client,
            source: None,
            kind,
            end: End::Open,
            status: 0,
            flags: Flags::default(),
            details: Cow::Borrowed(""),
            transport_failure: None,
            received: 0,
            sent: 0,
            service_time: None,
            host: None,
            local: None,
            backend: None,
            route: None,
            peer: None,
            grpc: Grpc::Plain,
            messages: grpc::Messages::default(),
        })
    }

    /// How long it takes so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Whether the client speaks gRPC.
    pub fn is_grpc(&self) -> bool {
        self.grpc != Grpc::Plain
    }

    /// The proxy answers itself.
    pub fn replied(&mut self, reply: &Reply, sent: u64) {
        self.status = reply.status.unwrap_or(503);
        self.flags = reply.flags;
        self.details = reply.details.clone();
        self.sent = sent;
        if reply.rule.is_some() {
            self.route.clone_from(&reply.rule);
        }
        if reply.backend.is_some() {
            self.backend.clone_from(&reply.backend);
        }
        // A client that left gets no answer.
        if self.is_grpc() && self.status != 0 {
            self.status = 200;
            self.grpc = Grpc::Status(Some(reply.grpc_status().into()));
        }
    }

    /// The server answers with this head, which the client is about to get.
    pub fn answered(&mut self, status: u16, headers: &HeaderMap) {
        self.status = status;
        self.details = Cow::Borrowed("via_upstream");
        if let Some(log) = &self.log {
            self.response_headers = capture(&log.format.response_headers, headers);
        }
        if self.is_grpc() {
            self.grpc = Grpc::Status(grpc::status(headers));
        }
    }

    /// The gRPC status that came at the end.
    pub fn grpc_ended(&mut self, status: Option<u16>) {
        if self.is_grpc() && status.is_some() {
            self.grpc = Grpc::Status(status);
        }
    }

    /// A piece of the answer's body passes.
    pub fn passes(&mut self, data: &[u8]) {
        self.sent += data.len() as u64;
        if self.is_grpc() {
            self.messages.see(data);
        }
    }

    /// All is said, and the client has it or soon will.
    pub fn complete(&mut self) {
        self.end = End::Complete;
    }

    /// The exchange ended by `failure` after its answer had begun, or without one.
    pub fn failed(&mut self, failure: &Failure) {
        self.flags = failure.flags().iter().fold(self.flags, Flags::and);
        self.details = failure.details();
        self.complete();
    }

    /// The client's request broke off for `cause` after the answer had begun.
    pub fn request_broke_off(&mut self, cause: Cause) {
        let version = self.head.as_ref().map_or(Version::HTTP_11, |head| head.version);
        self.failed(&cause.of_request(version));
    }

    /// An upgraded or relayed connection ended after so many bytes.
    pub fn relayed(&mut self, received: u64, sent: u64) {
        (self.received, self.sent) = (received, sent);
        self.complete();
    }

    fn write(&mut self) {
        if self.end == End::Open && self.kind == Kind::Request {
            self.failed(&Failure::ClientLeft);
        }
        if let Some(source) = &self.source {
            self.received += source.received();
        }
        let worker = &self.downstream.worker;
        let duration = self.elapsed();
        self.downstream.idle_timer.end(self.began + duration);
        if self.kind == Kind::Request {
            worker.registry.borrow_mut().request(&Request {
                peer: self.peer.clone(),
                reporter: self.downstream.direction().reporter(),
                status: self.status,
                flags: self.flags,
                grpc: self.grpc,
                duration,
                received: self.received,
                sent: self.sent,
                messages: (
                    self.source.as_ref().map_or(0, |source| source.messages()),
                    self.messages.count(),
                ),
            });
        }
        let Some(log) = &self.log else { return };
        let version = match (&self.head, self.kind) {
            (Some(head), _) => Some(head.version),
            // A head that was not whole, or that the codec of HTTP/1 refused.
            (None, Kind::Request) => Some(Version::HTTP_11),
            (None, Kind::Connection) => None,
        };
        let facts = Facts {
            start: self.start,
            duration,
            request: self.head.as_ref(),
            version,
            request_headers: &self.request_headers,
            response_headers: &self.response_headers,
            status: self.status,
            flags: &self.flags,
            details: Some(&self.details),
            connection_details: None,
            transport_failure: self.transport_failure.as_deref(),
            received: self.received,
            sent: self.sent,
            service_time: self.service_time,
            upstream: Upstream {
                host: self.host,
                backend: self.backend.as_deref(),
                local: self.local,
            },
            destination: self.downstream.destination,
            client: self.client,
            peer: self.downstream.client,
            route: self.route.as_deref(),
            server_name: self.downstream.server_name.as_deref(),
            grpc_status: match self.grpc {
                Grpc::Status(status) => status,
                Grpc::Plain => None,
            },
        };
        log.write(&facts);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.write();
        if let Some(source) = &self.source {
            source.exchange_ends();
        }
    }
}

impl Downstream {
    /// The client as access logs name it: inside the mesh, the last of the
    /// addresses that the request says it came through, if it says so.
    fn client_of(&self, headers: &HeaderMap) -> SocketAddr {
        let forwarded = || {
            let value = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
            let last = value.rsplit(',').next()?.trim();
            Some(SocketAddr::new(last.parse().ok()?, 0))
        };
        match self.direction() {
            Direction::Edge => self.client,
            Direction::Outbound | Direction::Inbound => forwarded().unwrap_or(self.client),
        }
    }
}
