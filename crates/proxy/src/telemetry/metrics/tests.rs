//! What is counted is what is exposed, within the budget, and in Prometheus' format.

use std::sync::Arc;

use weft_decide::Flag;
use weft_process::admin::Body;
use weft_testkit::prometheus::{Sample, parse};

use super::{registry::BUDGET, *};

fn request(peer: &PeerId, status: u16) -> Request {
    Request {
        peer: Some(peer.clone()),
        reporter: Reporter::Source,
        status,
        flags: Flags::default(),
        grpc: Grpc::Plain,
        duration: Duration::from_millis(7),
        received: 0,
        sent: 100,
        messages: (0, 0),
    }
}

fn peer(name: &str) -> Peer {
    Peer {
        service: format!("{name}.default.svc.cluster.local"),
        service_name: name.to_owned(),
        service_namespace: "default".to_owned(),
        workload: Workload { name: format!("{name}-v1"), ..Workload::default() },
    }
}

async fn text(metrics: &Arc<Metrics>) -> String {
    let own = Workload { name: "shop".to_owned(), ..Workload::default() };
    let metrics = Arc::clone(metrics);
    let body = Body::streamed(|pieces| async move {
        let mut output = Output::new(pieces, Turns::default());
        expose(&metrics, &own, &mut output).await?;
        output.end().await
    });
    String::from_utf8(body.collect().await.unwrap().to_vec()).unwrap()
}

async fn exposed(metrics: &Arc<Metrics>) -> Vec<Sample> {
    parse(&text(metrics).await)
}

fn find(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut found = samples.iter().filter(|one| one.name == name && one.has(labels));
    let value = found.next().map(|one| one.value);
    assert!(found.next().is_none(), "several {name} with {labels:?}");
    value
}

fn workers(count: usize) -> (Arc<Metrics>, Vec<Registry>) {
    let metrics = Arc::<Metrics>::default();
    let registries = (0..count).map(|_| Registry::new(Arc::clone(&metrics))).collect();
    (metrics, registries)
}

#[tokio::test]
async fn messages_of_grpc_are_exposed_where_there_are_any() {
    let (metrics, mut workers) = workers(2);
    for worker in &mut workers {
        let hello = worker.peer(peer("hello"));
        worker.request(&request(&hello, 200));
    }
    assert!(!text(&metrics).await.contains("_messages_total"));
    for worker in &mut workers {
        let hello = worker.peer(peer("hello"));
        let grpc = Grpc::Status(Some(0));
        worker.request(&Request { grpc, messages: (1, 3), ..request(&hello, 200) });
    }
    let samples = exposed(&metrics).await;
    let labels = [("request_protocol", "grpc"), ("grpc_response_status", "0")];
    assert_eq!(find(&samples, "istio_request_messages_total", &labels), Some(2.0));
    assert_eq!(find(&samples, "istio_response_messages_total", &labels), Some(6.0));
}

#[tokio::test]
async fn workers_are_summed_and_words_are_istios() {
    let (metrics, mut workers) = workers(2);
    for worker in &mut workers {
        let hello = worker.peer(peer("hello"));
        worker.request(&request(&hello, 200));
    }
    let nobody = Request { peer: None, ..request(&workers[1].peer(peer("x")), 404) };
    workers[1].request(&Request { flags: Flags::of(Flag::NoRoute), ..nobody });
    let samples = exposed(&metrics).await;
    let hello = [("destination_workload", "hello-v1")];
    let all = samples.iter().find(|one| one.name == "istio_requests_total" && one.has(&hello));
    let all = all.unwrap();
    assert_eq!(all.value, 2.0);
    assert!(all.has(&[
        ("reporter", "source"),
        ("source_workload", "shop"),
        ("source_workload_namespace", "unknown"),
        ("destination_service", "hello.default.svc.cluster.local"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ]));
    // All of Istio's labels but the one that is empty here.
    assert_eq!(all.labels.len(), 24, "{:?}", all.labels);
    let lost = [("destination_service", "unknown"), ("response_code", "404")];
    let lost = [&lost[..], &[("response_flags", "NR")]].concat();
    assert_eq!(find(&samples, "istio_requests_total", &lost), Some(1.0));
    let bucket = |le| {
        let labels = [hello[0], ("le", le)];
        find(&samples, "istio_request_duration_milliseconds_bucket", &labels)
    };
    assert_eq!((bucket("5"), bucket("10"), bucket("3600000")), (None, Some(2.0), Some(2.0)));
    let sum = |name: &str| find(&samples, &format!("{name}_sum"), &hello);
    assert_eq!(sum("istio_request_duration_milliseconds"), Some(14.0));
    assert_eq!(sum("istio_response_bytes"), Some(200.0));
}

#[tokio::test]
async fn connections_are_counted_when_they_begin_and_end() {
    let (metrics, mut workers) = workers(1);
    let redis = workers[0].peer(peer("redis"));
    workers[0].opened(Some(&redis), Reporter::Destination);
    workers[0].opened(Some(&redis), Reporter::Destination);
    workers[0].closed(Some(&redis), Reporter::Destination, (10, 20));
    let samples = exposed(&metrics).await;
    let labels = [("reporter", "destination"), ("request_protocol", "tcp")];
    let labels = [&labels[..], &[("destination_workload", "shop")]].concat();
    for (what, expected) in [
        ("connections_opened", 2.0),
        ("connections_closed", 1.0),
        ("received_bytes", 10.0),
        ("sent_bytes", 20.0),
    ] {
        assert_eq!(find(&samples, &format!("istio_tcp_{what}_total"), &labels), Some(expected));
    }
}

fn count(samples: &[Sample]) -> f64 {
    samples.iter().filter(|one| one.name == "istio_requests_total").map(|one| one.value).sum()
}

fn series(samples: &[Sample]) -> usize {
    samples.iter().filter(|one| one.name == "istio_requests_total").count()
}

#[tokio::test]
async fn one_hostile_peer_neither_grows_without_bound_nor_takes_the_budget() {
    let (metrics, mut workers) = workers(1);
    let worker = &mut workers[0];
    let evil = worker.peer(peer("evil"));
    for number in 0..=u16::MAX {
        worker.request(&request(&evil, number));
        let grpc = Grpc::Status(Some(number));
        worker.request(&Request { grpc, ..request(&evil, 200 + number % 400) });
    }
    let good = worker.peer(peer("good"));
    worker.request(&request(&good, 200));
    let samples = exposed(&metrics).await;
    assert!(series(&samples) < 150, "{}", series(&samples));
    assert_eq!(count(&samples), 2.0 * 65_536.0 + 1.0);
    let good = [("destination_service_name", "good")];
    assert_eq!(find(&samples, "istio_requests_total", &good), Some(1.0));
}

#[tokio::test]
async fn beyond_the_budget_the_peer_is_overflow_and_nothing_is_lost() {
    let (metrics, mut workers) = workers(3);
    for number in 0..3 * BUDGET {
        let worker = &mut workers[number % 3];
        let peer = worker.peer(peer(&number.to_string()));
        worker.request(&request(&peer, 503));
        worker.opened(Some(&peer), Reporter::Source);
    }
    let samples = exposed(&metrics).await;
    assert_eq!(count(&samples), 3.0 * BUDGET as f64);
    assert!(series(&samples) <= BUDGET + 10, "{}", series(&samples));
    let labels = [("destination_service", "overflow"), ("response_code", "5xx")];
    assert!(find(&samples, "istio_requests_total", &labels).unwrap() > BUDGET as f64);
    let opened = samples.iter().filter(|one| one.name == "istio_tcp_connections_opened_total");
    assert_eq!(opened.map(|one| one.value).sum::<f64>(), 3.0 * BUDGET as f64);
}

#[tokio::test]
async fn what_is_idle_for_an_hour_makes_room_and_what_is_used_stays() {
    let (metrics, mut workers) = workers(2);
    let ids: Vec<PeerId> = (0..2).map(|number| workers[number].peer(peer("both"))).collect();
    let old = workers[0].peer(peer("old"));
    workers[0].request(&request(&old, 200));
    workers[0].request(&request(&ids[0], 200));
    workers[0].opened(Some(&old), Reporter::Source);
    drop(old);
    for _ in 0..130 {
        workers[1].request(&request(&ids[1], 200));
        workers.iter_mut().for_each(Registry::sweep);
    }
    let samples = exposed(&metrics).await;
    // What a worker no longer counts is still part of a series that others count.
    assert_eq!(count(&samples), 131.0);
    assert_eq!(series(&samples), 1);
    let opened = find(&samples, "istio_tcp_connections_opened_total", &[]);
    assert_eq!(opened, Some(1.0), "a connection that is open is not idle");
    let old = workers[0].peer(peer("old"));
    workers[0].request(&request(&old, 200));
    assert_eq!(series(&exposed(&metrics).await), 2);
}

#[tokio::test]
async fn a_scrape_at_the_budget_is_made_in_small_pieces_and_says_no_more_than_it_must() {
    let (metrics, mut workers) = workers(1);
    for number in 0..BUDGET {
        let peer = workers[0].peer(peer(&number.to_string()));
        workers[0].request(&request(&peer, 200));
    }
    let body = Body::streamed(|pieces| async move {
        let mut output = Output::new(pieces, Turns::default());
        expose(&metrics, &Workload::default(), &mut output).await?;
        output.end().await
    });
    let (mut largest, mut all, mut body) = (0, 0, std::pin::pin!(body));
    while let Some(frame) =
        std::future::poll_fn(|context| hyper::body::Body::poll_frame(body.as_mut(), context)).await
    {
        let length = frame.unwrap().into_data().unwrap().len();
        (largest, all) = (length.max(largest), all + length);
    }
    // Two pieces wait, one is made, one is sent.
    assert!(largest < 128 * 1024, "{largest}");
    let each = all / BUDGET;
    assert!(each < 50_000, "{each} bytes for a label set");
}
