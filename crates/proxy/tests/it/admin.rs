//! The ports of the proxy while others are slow, hostile or gone.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weft_process::log::Levels;
use weft_proxy::{Options, Proxy, Source, Stream};
use weft_testkit::prometheus;

use crate::world::{Client, Running, World, get, lines, ok, server};

/// The body of an answer whose pieces are chunks.
fn chunks(answer: &str) -> String {
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}

fn scrape(proxy: &Running) -> Vec<prometheus::Sample> {
    prometheus::parse(&chunks(&proxy.get("merged", "/stats/prometheus")))
}

#[test]
fn a_scrape_is_valid_and_counts_hostile_answers_by_their_class() {
    let answers = ["299 Odd", "599 Odd", "999 Odd", "200 OK"];
    let answers = answers.map(|status| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
    let server = server(&answers.each_ref().map(String::as_str));
    let (world, log) = World::new()
        .server("edge", serde_json::json!(true))
        .backend("a\"b", &[server.address])
        .all_to("a\"b")
        .log("%RESPONSE_CODE%");
    let proxy = world.start();
    let mut client = proxy.client();
    for _ in answers {
        client.ask(&get("x.example", "/"));
    }
    assert_eq!(lines(&log, 4), ["299", "599", "999", "200"]);
    let samples = scrape(&proxy);
    let requests: Vec<_> =
        samples.iter().filter(|one| one.name == "istio_requests_total").collect();
    let codes: Vec<&str> = requests.iter().map(|one| &*one.labels["response_code"]).collect();
    assert_eq!(codes, ["200", "2xx", "5xx", "invalid"]);
    assert!(requests.iter().all(|one| one.has(&[("destination_service_name", "a\"b")])));
}

#[test]
fn an_application_cannot_spoil_the_proxys_metrics() {
    let own = "# TYPE app_up gauge\napp_up 1\n";
    for (body, there) in [
        (ok(own), true),
        // The last line without its end.
        (ok(own.trim_end()), true),
        (
            ok("# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 5\n"),
            false,
        ),
        // Half a line, and then nothing more.
        (
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{own}app_half{{a=\"b then close"
            ),
            true,
        ),
        ("HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\nbad".to_owned(), false),
        ("close".to_owned(), false),
    ] {
        let application = server(&[&body]);
        let mut world = World::new();
        world.options.application.metrics = Some(format!("http://{}/metrics", application.address));
        let text = chunks(&world.start().get("merged", "/stats/prometheus"));
        assert_eq!(text.contains("app_up 1\n"), there, "{body:?}");
        let samples = prometheus::parse(&text);
        assert!(samples.iter().any(|one| one.name == "weft_connections"), "{body:?}");
    }
}

#[test]
fn answers_that_nobody_reads_are_not_made() {
    let application = server(&[&ok("app_up 1\n")]);
    let mut world = World::new();
    world.options.application.metrics = Some(format!("http://{}/metrics", application.address));
    let proxy = world.start();
    let head = |end| format!("HEAD /stats/prometheus HTTP/1.1\r\nhost: x\r\n{end}\r\n");
    let mut client = Client::to(proxy.at("merged"));
    let mut writer = client.0.try_clone().unwrap();
    let all = head("").repeat(20_000) + &head("connection: close\r\n");
    let writing = thread::spawn(move || writer.write_all(all.as_bytes()).unwrap());
    assert_eq!(client.rest().matches("HTTP/1.1 200 ").count(), 20_001);
    writing.join().unwrap();
    assert_eq!(application.heard(), [""; 0], "for HEAD");
    for _ in 0..500 {
        Client::to(proxy.at("merged")).say("GET /stats/prometheus HTTP/1.1\r\nhost: x\r\n\r\n");
    }
    let began = Instant::now();
    assert!(chunks(&proxy.get("merged", "/stats/prometheus")).contains("app_up 1\n"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn ports_answer_while_the_control_plane_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = Stream {
        address: silent.local_addr().unwrap().to_string(),
        name: None,
        ca_pem: None,
        token: None,
        node: "test".to_owned(),
        state: None,
    };
    let options = Options { source: Source::Stream(stream), ..World::new().options };
    let proxy = Proxy::start(options, Levels::detached()).unwrap();
    while !proxy.addresses().contains_key("merged") {
        thread::yield_now();
    }
    // The stream is being opened: this side waits for the silent server now.
    let _connection = silent.accept().unwrap();
    let running = Running { addresses: proxy.addresses(), proxy: Some(proxy) };
    let began = Instant::now();
    for _ in 0..5 {
        assert!(!scrape(&running).is_empty());
        assert!(running.get("admin", "/config_dump").contains("\"resources\": ["));
        assert!(running.get("admin", "/backends").contains('['));
    }
    assert!(running.get("readiness", "/healthz/ready").starts_with("HTTP/1.1 503 "));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// As many descriptors as this process may have: clients are in it as well.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn probes_and_scrapes_pass_while_others_hang_on_the_same_ports() {
    raise_limit();
    let mut world = World::new();
    world.options.ports.metrics = world.options.ports.merged;
    let proxy = world.start();
    for (port, path) in [
        ("readiness", "/healthz/ready"),
        ("merged", "/stats/prometheus"),
        ("metrics", "/stats/prometheus"),
    ] {
        let slow = format!("GET {path} HTTP/1.1\r\nhost:");
        let greedy = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(3);
        for text in ["", &slow, &greedy] {
            let hanging: Vec<Client> = (0..1000)
                .map(|_| {
                    let mut client = Client::to(proxy.at(port));
                    client.say(text);
                    client
                })
                .collect();
            let answer = proxy.get(port, path);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{port} {text:?}: {answer}");
            drop(hanging);
        }
    }
}

#[test]
fn what_others_may_not_ask_is_refused_on_every_port() {
    let mut world = World::new();
    // As in a pod: from everywhere, where this machine has an address that others know.
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    world.options.ports.merged = Some(any);
    world.options.ports.metrics = Some(any);
    world.options.ports.readiness = Some(any);
    world.options.ports.admin = Some(any);
    let proxy = world.start();
    for port in ["admin", "metrics", "merged", "readiness"] {
        for path in ["/quitquitquit", "/drain_listeners", "/logging?level=trace", "/healthz/ready"]
        {
            for method in ["POST", "PUT", "DELETE"] {
                // A connection that a sidecar makes for another machine comes from here.
                let address = SocketAddr::from(([127, 0, 0, 1], proxy.at(port).port()));
                let mut client = Client::from([127, 0, 0, 6], address);
                let request =
                    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
                let answer = client.ask(&request);
                assert!(answer.starts_with("HTTP/1.1 403 "), "{port} {method} {path}: {answer}");
            }
        }
    }
    assert!(proxy.get("readiness", "/healthz/ready").starts_with("HTTP/1.1 200 "));
}
