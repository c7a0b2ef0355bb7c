//! What rules do to requests and answers, as both ends see it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    frames::{END_HEADERS, END_STREAM, HEADERS, Peer, block, frame},
    world::{World, backend, brief, get, lines, ok, rule, server},
};

const LOG: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";

/// A rule that sends to `backend`, with these fields besides.
fn with(backend: &str, besides: Value) -> Value {
    let mut rule = rule(backend);
    let besides = besides.as_object().cloned().unwrap_or_default();
    rule.as_object_mut().unwrap().extend(besides);
    rule
}

#[test]
fn a_server_sees_the_request_that_the_rule_makes() {
    let changes = json!({"changes": {
        "path": {"whole": "/new"}, "authority": "inner.example:81",
        "request": {"remove": ["x-gone"], "add": [["x-both", "two"]], "set": [["x-set", "%REQ(:path)%"]]},
    }});
    let rules = json!([with("one", changes)]);
    let request = "GET /old?q HTTP/1.1\r\nhost: x\r\nx-gone: 1\r\nX-Both: one\r\nx-set: 0\r\n\r\n";
    let of_http1 = server(&[&ok("")]);
    let world = World::new().backend("one", &[of_http1.address]);
    let (world, log) = world.route(&["*"], rules.clone()).log(LOG);
    let proxy = world.start();
    assert!(proxy.client().ask(request).starts_with("HTTP/1.1 200"));
    let heard = of_http1.heard().remove(0);
    assert!(heard.starts_with("GET /new?q HTTP/1.1\r\nhost: inner.example:81\r\n"), "{heard}");
    for line in [
        "X-Both: one\r\nx-both: two\r\n",
        "\r\nx-set: /old?q\r\n",
        "\r\nx-envoy-original-path: /old?q\r\n",
        "\r\nx-envoy-original-host: x\r\n",
    ] {
        assert!(heard.contains(line), "{line} in {heard}");
    }
    assert!(!heard.contains("x-gone"), "{heard}");
    assert_eq!(lines(&log, 1), ["/old?q 200 - via_upstream"]);

    // A client of HTTP/2 has no field for its host.
    let again = server(&[&ok("")]);
    let mut one = backend("one", json!({"fixed": again.address}));
    one["upstream"] = json!("http1");
    let proxy = World::new().resource(json!({"backend": one})).route(&["*"], rules).start();
    let mut peer = Peer::greeted(proxy.at("test"));
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/old"), (":authority", "x")];
    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)));
    assert!(peer.until(HEADERS).is_some());
    let heard = again.heard().remove(0);
    assert!(heard.starts_with("GET /new HTTP/1.1\r\nhost: inner.example:81\r\n"), "{heard}");
    assert_eq!(heard.matches("host: ").count(), 2, "the host, and the one before: {heard}");
}

#[test]
fn a_client_sees_the_answer_that_the_rule_makes_of_a_servers_and_of_the_proxys() {
    let changes = json!({"changes": {"response": {
        "remove": ["x-power", "content-type", "x-envoy-upstream-service-time"], "set": [["x-by", "rule %RESPONSE_CODE%"]],
    }}});
    let answer =
    // A server cannot take out what the rule puts in.
        "HTTP/1.1 201 Created\r\nx-power: 9\r\nx-by: server\r\n\
                  connection: x-by\r\ncontent-length: 2\r\n\r\nhi";
    let server = server(&[answer]);
    let rules = json!([with("one", changes.clone())]);
    let gone = json!([with("nothing", changes.clone())]);
    let proxy = World::new()
        .backend("one", &[server.address])
        .backend("empty", &[])
        .route(&["x"], rules)
        .route(&["gone"], gone)
        .route(&["empty"], json!([with("empty", changes)]))
        .start();
    let got = proxy.client().ask(&get("x", "/"));
    assert!(got.contains("\r\nx-by: rule 201\r\n") && !got.contains("x-power"), "{got}");
    assert!(!got.contains("service-time"), "{got}");
    assert!(got.ends_with("\r\n\r\nhi"), "{got}");
    for host in ["gone", "empty"] {
        let got = proxy.client().ask(&get(host, "/"));
        assert!(got.contains("\r\nx-by: rule 503\r\n") && !got.contains("content-type"), "{got}");
    }
}

#[test]
fn a_proxy_answers_for_rules_that_say_what() {
    let respond = json!({"respond": {"status": 418, "body": "tea", "details": "direct_response"}});
    let redirect = json!({"redirect": {"status": 302, "scheme": "https", "path": {"whole": "/n"}}});
    let changes = json!({"response": {"set": [["content-type", "text/x-tea"]]}});
    let proxy = World::new()
        .route(&["tea"], json!([with("", json!({"action": respond, "changes": changes}))]))
        .route(&["away"], json!([with("", json!({"action": redirect}))]))
        .start();
    let mut client = proxy.client();
    let got = client.ask(&get("tea", "/"));
    assert_eq!(brief(&got), "418 tea");
    assert!(got.contains("\r\ncontent-type: text/x-tea\r\n"), "{got}");
    let got = client.ask(&get("away", "/a?q"));
    assert!(got.starts_with("HTTP/1.1 302 "), "{got}");
    assert!(got.contains("\r\nlocation: https://away/n?q\r\n"), "{got}");
    client.say("HEAD / HTTP/1.1\r\nhost: tea\r\nconnection: close\r\n\r\n");
    let got = client.rest();
    assert!(got.contains("\r\ncontent-length: 3\r\n") && got.ends_with("\r\n\r\n"), "{got}");
}

#[test]
fn a_delay_does_not_count_for_the_timeout_and_an_abort_is_not_tried_again() {
    let held = Duration::from_millis(1_200);
    let delay = json!({"share": 1_000_000, "time": "1.2s"});
    let abort = json!({"share": 1_000_000, "with": {"http": 503}});
    let retries = json!({
        "attempts": 2, "on": ["5xx"], "backoff": "0.025s", "avoidTried": true,
    });
    let server = server(&[&ok("late")]);
    let delayed = json!({"fault": {"delay": delay}, "timeout": "1s"});
    let both = json!({"fault": {"delay": delay, "abort": abort}, "retries": retries});
    let (world, log) = World::new()
        .backend("one", &[server.address])
        .backend("none", &[])
        .route(&["late"], json!([with("one", delayed.clone())]))
        .route(&["none"], json!([with("none", delayed)]))
        .route(&["both"], json!([with("one", both)]))
        .log(LOG);
    let proxy = world.start();
    for (host, expected) in [
        ("late", "200 late"),
        ("none", "503 no healthy upstream"),
        ("both", "503 fault filter abort"),
    ] {
        let began = Instant::now();
        let got = proxy.client().ask(&get(host, &format!("/{host}")));
        assert_eq!(brief(&got), expected);
        assert!(began.elapsed() >= held, "{host}");
    }
    assert_eq!(
        lines(&log, 3),
        [
            "/late 200 DI via_upstream",
            "/none 503 DI,UH no_healthy_upstream",
            "/both 503 DI,FI fault_filter_abort",
        ]
    );
}

#[test]
fn a_grpc_client_gets_an_abort_in_its_own_numbers() {
    let abort = json!({"share": 1_000_000, "with": {"grpc": 8}});
    let rule = with("one", json!({"fault": {"abort": abort}}));
    let proxy = World::new().route(&["*"], json!([rule])).start();
    let call = "POST /p.S/M HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n\r\n";
    let got = proxy.client().ask(call);
    assert!(got.starts_with("HTTP/1.1 200 ") && got.contains("\r\ngrpc-status: 8\r\n"), "{got}");
    assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "200 fault filter abort");
}
