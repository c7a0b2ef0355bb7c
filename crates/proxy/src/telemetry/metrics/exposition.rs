//! Sums what the workers counted, and writes it in Prometheus' text format.
//!
//! The text is made piece by piece, so that however much there is, little of it is in
//! memory, and other tasks of the thread have their turn in between. Nothing is locked while a
//! text is made, handed over or pauses; [`Turns`] is while the next in line waits for its turn.

use std::sync::Arc;

use tokio::{
    sync::Mutex,
    time::{Duration, Instant, sleep, sleep_until},
};
use weft_config::Workload;
use weft_process::{
    admin::{Gone, Pieces},
    metrics::{Exposition, Histogram, Kind, labels},
};

use super::{
    BOUNDS, Grpc, Metrics, Peer, Reporter,
    counters::{ConnectionsTotal, RequestsTotal, SizesTotal},
    registry::{ConnectionSeries, RequestSeries},
};

/// A piece is handed over at this size.
const PIECE: usize = 32 * 1024;
/// How long a turn is. A pause of the same length follows, so that scrapes that come all the
/// time do not take a whole core from the workers.
const TURN: Duration = Duration::from_millis(1);

/// Makes large texts of one process take turns, in the order in which they ask for one. A text
/// that is given up leaves the line, and takes no turn.
///
/// Each text needs a task of its own: one that is not polled would hold up the others.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<Last>>);

/// The last turn that was taken.
#[derive(Debug, Default)]
struct Last {
    /// When the pause after it is over.
    until: Option<Instant>,
}

impl Turns {
    /// Waits for a turn, after a pause.
    async fn begin(&self, pause: Duration) {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let mut last = self.0.lock().await;
        let now = Instant::now();
        let begin = last.until.map_or(now, |until| until.max(now));
        if begin > now {
            sleep_until(begin).await;
        }
        last.until = Some(begin + 2 * TURN);
    }
}

/// A text that is handed over in pieces.
#[derive(Debug)]
pub struct Output {
    text: Exposition,
    pieces: Pieces,
    turns: Turns,
    /// The work that was done in this text's turn, once it has had one.
    worked: Option<Duration>,
}

impl Output {
    /// Output to `pieces`.
    pub fn new(pieces: Pieces, turns: Turns) -> Self {
        Self { text: Exposition::default(), pieces, turns, worked: None }
    }

    /// Has `make` add to the text when it is this text's turn; hands over what there is, if
    /// that is enough.
    pub async fn write(&mut self, make: impl FnOnce(&mut Exposition)) -> Result<(), Gone> {
        if self.worked.is_none_or(|worked| worked >= TURN) {
            self.turns.begin(self.worked.take().unwrap_or_default()).await;
        }
        let began = Instant::now();
        make(&mut self.text);
        *self.worked.get_or_insert_default() += began.elapsed();
        match self.text.len() >= PIECE {
            true => self.pieces.send(self.text.take()).await,
            false => Ok(()),
        }
    }

    /// Says that the text is complete.
    pub async fn end(mut self) -> Result<(), Gone> {
        self.pieces.send(self.text.take()).await?;
        self.pieces.end().await
    }
}

/// Writes all of `metrics`, reported by `own`.
pub async fn expose(metrics: &Metrics, own: &Workload, to: &mut Output) -> Result<(), Gone> {
    let requests = metrics.requests();
    let help = "HTTP and gRPC requests that were answered or given up.";
    to.write(|text| text.family("istio_requests_total", Kind::Counter, help)).await?;
    for series in &requests {
        to.write(|text| {
            let labels = request_labels(series, own);
            text.count("istio_requests_total", &labels, series.total().count);
        })
        .await?;
    }
    // What is summed is a thousandth of a millisecond.
    type Choose = fn(&RequestsTotal) -> (&SizesTotal, f64);
    let histograms: [(&str, &str, Choose); 3] = [
        (
            "istio_request_duration_milliseconds",
            "Milliseconds from the head of a request to the end of its response.",
            |total| (&total.durations, 1000.0),
        ),
        ("istio_request_bytes", "Size of a request body in bytes.", |total| (&total.received, 1.0)),
        ("istio_response_bytes", "Size of a response body in bytes.", |total| (&total.sent, 1.0)),
    ];
    for (name, help, choose) in histograms {
        to.write(|text| text.family(name, Kind::Histogram, help)).await?;
        for series in &requests {
            to.write(|text| {
                let (labels, total) = (request_labels(series, own), series.total());
                let (sizes, unit) = choose(&total);
                let (counts, sum) = (&sizes.counts[..], sizes.sum as f64 / unit);
                text.histogram(name, &labels, &Histogram { bounds: &BOUNDS, counts, sum });
            })
            .await?;
        }
    }
    messages(&requests, own, to).await?;
    connections(&metrics.connections(), own, to).await
}

async fn messages(requests: &[RequestSeries], own: &Workload, to: &mut Output) -> Result<(), Gone> {
    let counters = [
        ("istio_request_messages_total", "gRPC messages received in requests."),
        ("istio_response_messages_total", "gRPC messages sent in responses."),
    ];
    for (at, (name, help)) in counters.into_iter().enumerate() {
        let counts = requests.iter().map(|series| (series, series.total().messages[at]));
        let counted = counts.filter(|(_, count)| *count > 0);
        for (number, (series, count)) in counted.enumerate() {
            to.write(|text| {
                if number == 0 {
                    text.family(name, Kind::Counter, help);
                }
                text.count(name, &request_labels(series, own), count);
            })
            .await?;
        }
    }
    Ok(())
}

async fn connections(
    connections: &[ConnectionSeries],
    own: &Workload,
    to: &mut Output,
) -> Result<(), Gone> {
    type Choose = fn(&ConnectionsTotal) -> u64;
    let counters: [(&str, &str, Choose); 4] = [
        (
            "istio_tcp_connections_opened_total",
            "TCP connections that the proxy began to relay.",
            |total| total.opened,
        ),
        (
            "istio_tcp_connections_closed_total",
            "Relayed TCP connections that have ended.",
            |total| total.closed,
        ),
        (
            "istio_tcp_received_bytes_total",
            "Bytes received from clients of relayed TCP connections.",
            |total| total.received,
        ),
        (
            "istio_tcp_sent_bytes_total",
            "Bytes sent to clients of relayed TCP connections.",
            |total| total.sent,
        ),
    ];
    for (name, help, choose) in counters {
        to.write(|text| text.family(name, Kind::Counter, help)).await?;
        for series in connections {
            to.write(|text| {
                let labels = labels(shared(series.kind, &series.peer, own, "tcp"));
                text.count(name, &labels, choose(&series.total()));
            })
            .await?;
        }
    }
    Ok(())
}

fn request_labels(series: &RequestSeries, own: &Workload) -> String {
    let (protocol, grpc) = match series.kind.grpc {
        Grpc::Plain => ("http", String::new()),
        Grpc::Status(status) => ("grpc", status.map(|it| it.to_string()).unwrap_or_default()),
    };
    let (code, flags) = (series.kind.status.to_string(), series.flags.to_string());
    let own_labels: [(&str, &str); 3] =
        [("response_code", &code), ("response_flags", &flags), ("grpc_response_status", &grpc)];
    labels(shared(series.kind.reporter, &series.peer, own, protocol).into_iter().chain(own_labels))
}

/// The labels that requests and connections have.
fn shared<'a>(
    reporter: Reporter,
    peer: &'a Peer,
    own: &'a Workload,
    protocol: &'a str,
) -> [(&'a str, &'a str); 22] {
    let unknown = const {
        &Workload {
            name: String::new(),
            namespace: String::new(),
            app: String::new(),
            version: String::new(),
            canonical_name: String::new(),
            canonical_revision: String::new(),
            cluster: String::new(),
            account: String::new(),
        }
    };
    let (reported_by, security, source, destination) = match reporter {
        Reporter::Source => ("source", "unknown", own, &peer.workload),
        Reporter::Destination => ("destination", "none", unknown, own),
    };
    [
        ("reporter", reported_by),
        ("source_workload", known(&source.name)),
        ("source_workload_namespace", known(&source.namespace)),
        ("source_canonical_service", known(&source.canonical_name)),
        ("source_canonical_revision", known(&source.canonical_revision)),
        ("source_principal", "unknown"),
        ("source_app", known(&source.app)),
        ("source_version", known(&source.version)),
        ("source_cluster", known(&source.cluster)),
        ("destination_workload", known(&destination.name)),
        ("destination_workload_namespace", known(&destination.namespace)),
        ("destination_canonical_service", known(&destination.canonical_name)),
        ("destination_canonical_revision", known(&destination.canonical_revision)),
        ("destination_principal", "unknown"),
        ("destination_app", known(&destination.app)),
        ("destination_version", known(&destination.version)),
        ("destination_cluster", known(&destination.cluster)),
        ("destination_service", known(&peer.service)),
        ("destination_service_name", known(&peer.service_name)),
        ("destination_service_namespace", known(&peer.service_namespace)),
        ("request_protocol", protocol),
        ("connection_security_policy", security),
    ]
}

fn known(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use weft_process::admin::Body;

    /// How many turns and pauses are over when `turns` gives the next one.
    async fn turn(turns: &Turns, began: Instant) -> u128 {
        turns.begin(Duration::ZERO).await;
        began.elapsed().as_nanos() / (2 * TURN).as_nanos()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_the_order_of_the_questions_and_half_of_the_time_is_a_pause() {
        let (began, turns) = (Instant::now(), Turns::default());
        let (one, two, three) =
            tokio::join!(turn(&turns, began), turn(&turns, began), turn(&turns, began));
        assert_eq!([one, two, three], [0, 1, 2]);
        sleep(20 * TURN).await;
        assert_eq!(turn(&turns, began).await, 12, "nobody waits for what is long over");
    }

    #[tokio::test(start_paused = true)]
    async fn texts_that_are_given_up_take_no_turns() {
        let (began, turns) = (Instant::now(), Turns::default());
        turns.begin(Duration::ZERO).await;
        let given_up: Vec<_> = (0..50_000)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.begin(Duration::ZERO).await })
            })
            .collect();
        tokio::task::yield_now().await;
        for one in &given_up {
            one.abort();
        }
        assert_eq!(turn(&turns, began).await, 1);
    }

    /// Writes `pieces` pieces, each of which takes a turn.
    async fn write(mut output: Output, pieces: usize) -> Result<(), Gone> {
        for _ in 0..pieces {
            output.worked = output.worked.map(|_| TURN);
            output.write(|text| text.family(&"x".repeat(PIECE), Kind::Gauge, "")).await?;
        }
        output.end().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_text_that_pauses_or_is_read_slowly_holds_up_no_other() {
        let turns = Turns::default();
        let text = |turns: &Turns| {
            let turns = turns.clone();
            Body::streamed(|pieces| write(Output::new(pieces, turns), 100))
        };
        let mut unread = text(&turns);
        unread.frame().await.unwrap().unwrap();
        let began = Instant::now();
        let read = text(&turns).collect().await.unwrap();
        assert!(read.len() > 100 * PIECE);
        let took = began.elapsed();
        assert!(took < 210 * TURN, "{took:?}, although the other is not read");
    }
}
