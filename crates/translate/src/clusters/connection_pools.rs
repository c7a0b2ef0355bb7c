//! What DestinationRules say about connections, and about how many there may be.

use std::time::Duration;

use weft_api::{
    destination_rule::{HttpSettings, RetryBudget, TcpKeepalive, TcpSettings},
    span,
};
use weft_config::{self as config, ConnectionPool, Ping, TcpKeepAlive, Upstream};

use super::destination_rules::Effective;
use crate::model::mesh_config::Mesh;

/// How long the answer to a PING may take where nothing is said.
const PING_ANSWER: Duration = Duration::from_secs(20);

impl Effective<'_> {
    /// What holds for connections and requests, where that is more than for all.
    pub(crate) fn connections(&self, mesh: &Mesh) -> Option<Box<ConnectionPool>> {
        let pool = of_http(self.http(), of_tcp(self.tcp(), ConnectionPool::default()));
        let pool = ConnectionPool {
            retry_budget: self.retry_budget.map(budget),
            tcp_keep_alive: or_else(pool.tcp_keep_alive, mesh.config.tcp_keepalive.as_ref()),
            ..pool
        };
        (pool != ConnectionPool::default()).then(|| Box::new(pool))
    }

    /// How long a connection may take to be made, where it says so.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        spanning(self.tcp()?.connect_timeout.as_ref()).filter(|timeout| !timeout.is_zero())
    }

    /// How a service is spoken to whose port says `declared`.
    pub(crate) fn upstream(&self, declared: Upstream, mesh: &Mesh) -> Upstream {
        let http = self.http();
        if http.is_some_and(|http| http.use_client_protocol == Some(true)) {
            return Upstream::SameAsClient;
        }
        let said = http.and_then(|http| http.h2_upgrade_policy.as_deref());
        let said = said.filter(|said| *said != "DEFAULT").unwrap_or(&mesh.config.h2_upgrade_policy);
        match (declared, said) {
            (Upstream::Http1, "UPGRADE") => Upstream::Http2,
            _ => declared,
        }
    }

    fn tcp(&self) -> Option<&TcpSettings> {
        self.connection_pool?.tcp.as_ref()
    }

    fn http(&self) -> Option<&HttpSettings> {
        self.connection_pool?.http.as_ref()
    }
}

fn of_tcp(tcp: Option<&TcpSettings>, pool: ConnectionPool) -> ConnectionPool {
    let Some(tcp) = tcp else { return pool };
    let idle = spanning(tcp.idle_timeout.as_ref());
    ConnectionPool {
        max_connections: limit(tcp.max_connections),
        // As in Istio, connections of HTTP go by it as well.
        idle,
        relay_idle: idle,
        max_duration: spanning(tcp.max_connection_duration.as_ref()),
        tcp_keep_alive: tcp.tcp_keepalive.as_ref().map(keep_alive),
        ..pool
    }
}

fn of_http(http: Option<&HttpSettings>, pool: ConnectionPool) -> ConnectionPool {
    let Some(http) = http else { return pool };
    ConnectionPool {
        max_pending: limit(http.http1_max_pending_requests),
        max_requests: limit(http.http2_max_requests),
        max_retries: limit(http.max_retries),
        max_requests_per_connection: limit(http.max_requests_per_connection),
        max_streams: limit(http.max_concurrent_streams),
        idle: spanning(http.idle_timeout.as_ref()).or(pool.idle),
        ping: http.http2_keep_alive.as_ref().and_then(ping),
        ..pool
    }
}

fn keep_alive(said: &TcpKeepalive) -> TcpKeepAlive {
    TcpKeepAlive {
        probes: said.probes.filter(|probes| *probes > 0),
        time: spanning(said.time.as_ref()),
        interval: spanning(said.interval.as_ref()),
    }
}

/// What a rule says of probes, and what the mesh's settings do where it says nothing.
fn or_else(own: Option<TcpKeepAlive>, mesh: Option<&TcpKeepalive>) -> Option<TcpKeepAlive> {
    let Some(mesh) = mesh.map(keep_alive) else { return own };
    let own = own.unwrap_or_default();
    Some(TcpKeepAlive {
        probes: own.probes.or(mesh.probes),
        time: own.time.or(mesh.time),
        interval: own.interval.or(mesh.interval),
    })
}

fn ping(said: &serde_json::Value) -> Option<Ping> {
    let time = |name: &str| {
        let text = said.get(name)?.as_str()?;
        span::parse(text).ok().filter(|time| !time.is_zero())
    };
    Some(Ping { interval: time("interval")?, answer: time("timeout").unwrap_or(PING_ANSWER) })
}

fn budget(said: &RetryBudget) -> config::RetryBudget {
    let percent = said.percent.filter(|percent| percent.is_finite());
    config::RetryBudget {
        percent: percent.unwrap_or(20.0).clamp(0.0, 100.0),
        least: said.min_retry_concurrency.unwrap_or(3),
    }
}

/// A number that limits something: as in Istio, zero does not.
fn limit(said: Option<i32>) -> Option<u32> {
    said.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}

fn spanning(text: Option<&String>) -> Option<Duration> {
    text.and_then(|text| span::parse(text).ok())
}
