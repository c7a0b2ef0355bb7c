//! Retries, and the reply that a client gets after the last one.

use serde_json::{Value, json};

use crate::{
    peers::nobody,
    world::{World, brief, get, lines, ok, rule, server},
};

fn retrying(on: &[&str], attempts: u32) -> Value {
    let mut rule = rule("one");
    rule["retries"] = json!({ "attempts": attempts, "on": on, "backoff": "0.001s",
        "avoidTried": true });
    json!([rule])
}

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %ROUTE_NAME%";

const REFUSED: &str = "upstream_reset_before_response_started\
    {remote_connection_failure|delayed_connect_error:_Connection_refused} \
    \"delayed_connect_error:_Connection_refused\" default";

/// The answer and the log line of one request.
#[track_caller]
fn check(endpoints: &[std::net::SocketAddr], rules: Value, (answer, line): (&str, &str)) {
    let (world, log) = World::new().backend("one", endpoints).route(&["*"], rules).log(LOG);
    let proxy = world.start();
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), answer);
    assert_eq!(lines(&log, 1), [line]);
}

#[test]
fn a_refused_connection_is_told_and_logged() {
    let body = "503 upstream connect error or disconnect/reset before headers. reset reason: \
                remote connection failure";
    check(&[nobody()], json!([rule("one")]), (body, &format!("503 UF {REFUSED}")));
}

#[test]
fn the_last_of_several_refused_tries_says_so() {
    let body = "503 upstream connect error or disconnect/reset before headers. retried and the \
                latest reset reason: remote connection failure";
    let rules = retrying(&["connect-failure"], 2);
    check(&[nobody()], rules, (body, &format!("503 URX,UF {REFUSED}")));
}

#[test]
fn another_try_goes_to_another_endpoint() {
    let server = server(&[&ok("there")]);
    let rules = retrying(&["connect-failure"], 2);
    for _ in 0..2 {
        let endpoints = [server.address, nobody()];
        check(&endpoints, rules.clone(), ("200 there", "200 - via_upstream \"-\" default"));
    }
}

#[test]
fn nobody_there_is_no_healthy_upstream() {
    let line = "503 UH no_healthy_upstream \"-\" default";
    check(&[], json!([rule("one")]), ("503 no healthy upstream", line));
}

#[test]
fn a_rule_without_its_backend_is_an_empty_503() {
    let line = "503 NC cluster_not_found \"-\" default";
    check(&[], json!([rule("two")]), ("503 ", line));
}

#[test]
fn a_connection_that_ends_before_the_answer_is_not_tried_again_unless_asked() {
    let closes = server(&["close"]);
    let body = "503 upstream connect error or disconnect/reset before headers. reset reason: \
                connection termination";
    let line = "503 UC upstream_reset_before_response_started{connection_termination} \"-\" \
                default";
    check(&[closes.address], retrying(&["connect-failure"], 2), (body, line));
    assert_eq!(closes.heard().len(), 1);
    let recovers = server(&["close", &ok("now")]);
    let line = "200 - via_upstream \"-\" default";
    check(&[recovers.address], retrying(&["reset"], 2), ("200 now", line));
    assert_eq!(recovers.heard().len(), 2);
}

#[test]
fn an_answer_is_tried_again_only_when_asked() {
    let failing = "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno";
    let line = "503 - via_upstream \"-\" default";
    let once = server(&[failing]);
    check(&[once.address], retrying(&["connect-failure"], 2), ("503 no", line));
    let thrice = server(&[failing]);
    let line = "503 URX via_upstream \"-\" default";
    check(&[thrice.address], retrying(&["gateway-error"], 2), ("503 no", line));
    assert_eq!((once.heard().len(), thrice.heard().len()), (1, 3));
    assert!(thrice.heard()[2].starts_with("GET / HTTP/1.1\r\nhost: x\r\n"));
}

#[test]
fn a_small_body_is_sent_again_and_a_large_one_is_not() {
    let failing = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
    for (size, tries) in [(1000, 2), (100_000, 1)] {
        let server = server(&[failing, &ok("")]);
        let proxy = World::new()
            .backend("one", &[server.address])
            .route(&["*"], retrying(&["5xx"], 2))
            .start();
        let body = "b".repeat(size);
        proxy.ask(&format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n{body}"));
        let heard = server.heard();
        assert_eq!(heard.len(), tries, "{size}");
        assert!(heard.iter().all(|one| one.ends_with(&body)), "{size}");
    }
}

#[test]
fn a_try_has_its_own_time() {
    let server = server(&["hang", &ok("in time")]);
    let mut rules = retrying(&["per-try-timeout"], 2);
    rules[0]["retries"]["perTryTimeout"] = json!("0.05s");
    check(&[server.address], rules, ("200 in time", "200 - via_upstream \"-\" default"));
}

#[test]
fn a_server_is_told_how_long_it_is_waited_for() {
    let told = |rules: Value| {
        let server = server(&[&ok("")]);
        let world = World::new().backend("one", &[server.address]).route(&["*"], rules);
        // What a client says of it is not believed.
        let own = "x-envoy-expected-rq-timeout-ms: 1";
        world.start().ask(&format!("GET / HTTP/1.1\r\nhost: x\r\n{own}\r\n\r\n"));
        let heard = server.heard().remove(0);
        let line = heard.lines().find(|line| line.starts_with("x-envoy-expected-rq-timeout-ms:"));
        line.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    let mut rules = retrying(&["5xx"], 1);
    assert_eq!(told(rules.clone()), None);
    rules[0]["retries"]["perTryTimeout"] = json!("20s");
    assert_eq!(told(rules.clone()), Some(20_000));
    rules[0]["timeout"] = json!("60s");
    assert_eq!(told(rules.clone()), Some(20_000), "a try has less time than all of them");
    rules[0]["timeout"] = json!("9s");
    assert!(
        told(rules).is_some_and(|told| (1..=9_000).contains(&told)),
        "what is left of the rule's"
    );
}

#[test]
fn a_connection_closed_while_it_was_idle_is_nobodys_failure() {
    let server = server(&[&(ok("one") + " then close"), &ok("two")]);
    let proxy = World::new().backend("one", &[server.address]).all_to("one").start();
    let mut client = proxy.client();
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 one");
    server.until_closed(1);
    assert_eq!(brief(&client.ask(&get("x", "/"))), "200 two");
    assert_eq!(server.connections(), 2);
}

#[test]
fn what_is_no_http_is_a_bad_gateway() {
    let server = server(&["\u{1}\u{2}garbage\r\n\r\n then close"]);
    let body = "502 upstream connect error or disconnect/reset before headers. reset reason: \
                protocol error";
    let line = "502 UPE upstream_reset_before_response_started{protocol_error} \"-\" default";
    check(&[server.address], json!([rule("one")]), (body, line));
}

#[test]
fn where_no_more_bodies_may_be_kept_requests_are_sent_once() {
    for (buffers, expected) in [(1 << 20, "200 now"), (0, "503 upstream connect error")] {
        let settings = json!({ "settings": {
            "workload": { "name": "tester", "namespace": "default" },
            "limits": { "buffers": buffers },
        } });
        let server = server(&["close", &ok("now")]);
        let world = World::new().backend("one", &[server.address]).resource(settings);
        let proxy = world.route(&["*"], retrying(&["reset"], 2)).start();
        let post = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";
        let answer = brief(&proxy.ask(post));
        assert!(answer.starts_with(expected), "{buffers} {answer}");
        // Nothing else is refused: a body passes, and what has none is sent again.
        assert_eq!(brief(&proxy.ask(post)), "200 now");
        assert!(server.heard().iter().all(|request| request.ends_with("\r\n\r\nbody")));
    }
}
