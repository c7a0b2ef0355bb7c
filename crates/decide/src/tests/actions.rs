//! What rules do besides choosing a backend.

use http::HeaderMap;
use weft_balance::Rng;

use super::world::{self, World};
use crate::{Answers, Step};

/// A world with one rule; `rule` is as in [`World::parse`].
fn one_rule(rule: &str) -> World {
    World::parse(&format!(
        "listener out servers
           server web 80 http web
         route web web
           {rule}
         backend v1 e
         backend v2 e
         chunks e c
         chunk c 10.0.0.1:80"
    ))
}

/// The request as it is sent on: `METHOD HOST PATH`, and its fields in order of names; or the
/// reply: status, flags, details, and its fields.
fn sent(rule: &str, request: &str) -> String {
    let world = one_rule(rule);
    let (scope, arrived) = world::arrived(&world.table, request);
    let answers = Answers::default();
    match world.table.decide(&scope, &arrived, &answers, (&mut Rng::new(1), &mut ())) {
        Step::Done(routed) => match routed.request(arrived) {
            Ok((head, authority)) => {
                let host = authority.unwrap();
                let line = format!("{} {} {}", head.method, host.to_str().unwrap(), head.uri);
                line + &fields(&head.headers)
            }
            Err(reply) => replied(&reply),
        },
        Step::Reply(reply) => replied(&reply),
        Step::Ask(question) => panic!("{question}"),
    }
}

fn replied(reply: &crate::Reply) -> String {
    let status = reply.status.unwrap();
    let mut headers = HeaderMap::new();
    reply.write_head(&mut headers, status);
    format!("{status} {} {}{}", reply.flags, reply.details, fields(&headers))
}

fn fields(headers: &HeaderMap) -> String {
    let mut lines: Vec<_> = headers
        .iter()
        .filter(|(name, _)| *name != http::header::HOST)
        .map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    lines.concat()
}

/// The answer of a server with `status` and one field, as the client gets it.
fn answered(rule: &str, request: &str, status: u16) -> String {
    let world = one_rule(rule);
    let (scope, arrived) = world::arrived(&world.table, request);
    let decided =
        world.table.decide(&scope, &arrived, &Answers::default(), (&mut Rng::new(1), &mut ()));
    let Step::Done(routed) = decided else { panic!("{decided:?}") };
    let mut headers = HeaderMap::new();
    headers.insert("x-from", "server".parse().unwrap());
    if let Some(changes) = routed.answer() {
        changes.apply(&mut headers, status);
    }
    fields(&headers).trim().to_owned()
}

#[test]
fn fields_are_taken_out_then_set_then_added() {
    let rule = r#"-> v1 with {"changes": {"request": {"remove": ["x-gone", "x-set"],
        "add": [["x-both", "two"], ["x-set", "more"]], "set": [["x-set", "one"]]}}}"#
        .replace('\n', " ");
    let got = sent(&rule, "GET web / x-gone:1 x-both:1 x-set:0");
    assert_eq!(got, "GET web / x-both=1 x-both=two x-set=more x-set=one");
}

#[test]
fn variables_stand_for_what_the_request_says() {
    let set = |value: &str| {
        format!(r#"-> v1 with {{"changes": {{"request": {{"set": [["x-v", "{value}"]]}}}}}}"#)
    };
    for (value, expected) in [
        ("%REQ(:method)% %REQ(:path)%", " x-in=i x-v=GET /a?b"),
        ("a%REQ(X-In)%b", " x-in=i x-v=aib"),
        ("a%REQ(x-none)%b", " x-in=i x-v=ab"),
        ("%REQ(x-none)%", " x-in=i"),
        ("%PROTOCOL%%%", " x-in=i x-v=HTTP/1.1%"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", " x-in=i x-v=10.1.1.1"),
        ("%DOWNSTREAM_LOCAL_PORT%", " x-in=i x-v=80"),
        ("%REQ(:authority)%", " x-in=i x-v=web"),
        ("", " x-in=i"),
    ] {
        assert_eq!(sent(&set(value), "GET web /a?b x-in:i"), format!("GET web /a?b{expected}"));
    }
}

#[test]
fn a_target_changes_before_its_rule_does() {
    let rule = r#"-> v1 with {"changes": {"authority": "rule:81", "response":
        {"set": [["x-by", "rule"]]}},
        "action": {"forward": [{"backend": "v1", "weight": 1, "changes": {"authority": "target",
        "request": {"add": [["x-target", "1"]]},
        "response": {"set": [["x-by", "target"]], "remove": ["x-from"]}}}]}}"#
        .replace('\n', " ");
    let got = sent(&rule, "GET web /");
    assert_eq!(got, "GET rule:81 / x-envoy-original-host=web x-target=1");
    assert_eq!(answered(&rule, "GET web /", 200), "x-by=rule");
}

#[test]
fn answers_know_the_request_and_their_own_status() {
    let rule = r#"-> v1 with {"changes": {"response":
        {"add": [["x-v", "%RESPONSE_CODE% %REQ(x-in)% %PROTOCOL%"]]}}}"#
        .replace('\n', " ");
    assert_eq!(answered(&rule, "GET web / x-in:i", 404), "x-from=server x-v=404 i HTTP/1.1");
    let gone = rule.replace("-> v1", "-> nothing");
    assert_eq!(sent(&gone, "GET web /"), "503 NC cluster_not_found x-v=503  HTTP/1.1");
}

#[test]
fn paths_are_changed_where_the_condition_says() {
    let changed = |condition: &str, change: &str, path: &str| {
        let rule = format!(r#"{condition} -> v1 with {{"changes": {{"path": {change}}}}}"#);
        let got = sent(&rule, &format!("GET web {path}"));
        let got = got.strip_prefix("GET web ").map(str::to_owned).unwrap_or(got);
        got.replace(&format!(" x-envoy-original-path={path}"), "")
    };
    let z = r#"{"matched": "/z"}"#;
    assert_eq!(changed("path^=/a", z, "/a/b?c=/a"), "/z/b?c=/a");
    assert_eq!(changed("path=/a", z, "/a?x"), "/z?x");
    assert_eq!(changed("path~/a.*", z, "/a/b"), "/z");
    assert_eq!(changed("", z, "/a/b"), "/za/b");
    assert_eq!(changed("path^=/a", r#"{"matched": "z"}"#, "/a/b"), "/z/b");
    assert_eq!(changed("path^=/a", r#"{"matched": "/"}"#, "/a/b"), "//b");
    assert_eq!(changed("", r#"{"whole": "/w"}"#, "/a?x"), "/w?x");
    let pattern = r#"{"pattern": {"pattern": "/([^/]+)", "with": "/x\\1\\0"}}"#;
    assert_eq!(changed("", pattern, "/a/b?/c"), "/xa/a/xb/b?/c");
}

#[test]
fn a_path_that_would_climb_out_or_grow_without_end_is_refused() {
    let rule = r#"path^=/a -> v1 with {"changes": {"path": {"matched": "/z/"}}}"#;
    let got = sent(rule, "GET web /a../secret");
    assert_eq!(got, "400 - path_normalization_failed content-type=text/plain");
    let long = "y".repeat(5_000);
    // A part that is said often within one match, and a pattern that looks at all that is left.
    let often =
        r#"-> v1 with {"changes": {"path": {"pattern": {"pattern": ".*", "with": "OFTEN"}}}}"#;
    let often = often.replace("OFTEN", &r"\\0".repeat(5_000));
    let long_path = format!("/{}", "x".repeat(2_000));
    let got = sent(&often, &format!("GET web {long_path}"));
    assert_eq!(got, "500 - rewritten_path_invalid content-type=text/plain");
    let slow = r#"-> v1 with {"changes": {"path": {"pattern": {"pattern": "/v[0-9](/.*json)?", "with": "/"}}}}"#;
    let got = sent(slow, &format!("GET web {}", "/v1".repeat(10_000)));
    assert_eq!(got, "500 - rewritten_path_invalid content-type=text/plain");
    let rule = format!(
        r#"-> v1 with {{"changes": {{"path": {{"pattern": {{"pattern": "x", "with": "{long}"}}}}}}}}"#
    );
    let got = sent(&rule, &format!("GET web /{}", "x".repeat(20)));
    assert_eq!(got, "500 - rewritten_path_invalid content-type=text/plain");
}

#[test]
fn a_head_does_not_grow_beyond_what_one_may_have() {
    let many = r#"-> v1 with {"changes": {"request": {"set": [["x-v", "MANY"]]}}}"#
        .replace("MANY", &"%REQ(x-in)%".repeat(16));
    let request = format!("GET web / x-in:{}", "i".repeat(10_000));
    let got = sent(&many, &request);
    assert_eq!(got, "431 DPE http1.headers_too_large content-type=text/plain");
    // An answer goes on, without the value and without what it would have replaced.
    let answer = many.replace("request", "response").replace("x-v", "x-from");
    assert_eq!(answered(&answer, &request, 200).len(), "x-from=".len() + (60 << 10));
    let both = answer.replace("[[", r#"[["x-first", "1"], ["#);
    assert_eq!(answered(&both, &request, 200), "x-first=1");
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    let redirect = |more: &str, request: &str| {
        let rule =
            format!(r#"path^=/a -> v1 with {{"action": {{"redirect": {{"status": 301{more}}}}}}}"#);
        let got = sent(&rule, request);
        got.strip_prefix("301 - direct_response location=").map(str::to_owned).unwrap_or(got)
    };
    assert_eq!(redirect("", "GET web:80 /a?b"), "http://web:80/a?b");
    assert_eq!(redirect(r#", "scheme": "https""#, "GET web:80 /a"), "https://web/a");
    assert_eq!(redirect(r#", "scheme": "https""#, "GET web:8080 /a"), "https://web:8080/a");
    assert_eq!(redirect(r#", "port": 99"#, "GET web:80 /a"), "http://web:99/a");
    assert_eq!(redirect(r#", "port": 80"#, "GET web:99 /a"), "http://web/a");
    let both = r#", "scheme": "https", "port": 80"#;
    assert_eq!(redirect(both, "GET web /a"), "https://web:80/a");
    assert_eq!(redirect(r#", "authority": "o.example:9""#, "GET web /a"), "http://o.example:9/a");
    let both = r#", "authority": "o.example:9", "port": 8"#;
    assert_eq!(redirect(both, "GET web /a"), "http://o.example:8/a");
    let path = |path: &str| format!(r#", "path": {path}"#);
    assert_eq!(redirect(&path(r#"{"whole": "/n"}"#), "GET web /a?b"), "http://web/n?b");
    assert_eq!(redirect(&path(r#"{"whole": "/n?c"}"#), "GET web /a?b"), "http://web/n?c");
    let elsewhere = path(r#"{"whole": ".evil.example/?x"}"#);
    assert_eq!(redirect(&elsewhere, "GET web /a"), "http://web/.evil.example/?x");
    assert_eq!(redirect(&path(r#"{"matched": "/n"}"#), "GET web /a/c?b"), "http://web/n/c?b");
}

#[test]
fn browsers_are_answered_and_told() {
    let rule =
        r#"-> v1 with {"cors": {"origins": [{"exact": "http://a"}, {"regex": "http://.*[.]b"}],
        "methods": ["GET", "PUT"], "fields": ["*"], "exposed": ["x-seen"], "maxAge": 60,
        "credentials": true}, "changes": {"response": {"set":
        [["access-control-allow-origin", "mine"]]}}}"#
            .replace('\n', " ");
    let told = "access-control-allow-credentials=true access-control-allow-origin=http://a \
                access-control-expose-headers=x-seen x-from=server";
    assert_eq!(answered(&rule, "GET web / origin:http://a", 200), told);
    let other = "access-control-allow-origin=mine x-from=server";
    assert_eq!(answered(&rule, "GET web / origin:http://ab", 200), other);
    let preflight = |origin: &str| {
        format!(
            "OPTIONS web / access-control-request-method:GET access-control-request-headers:x-y {origin}"
        )
    };
    let got = sent(&rule, &preflight("origin:http://x.b"));
    let expected = "200 - cors_response access-control-allow-credentials=true \
                    access-control-allow-headers=x-y access-control-allow-methods=GET,PUT \
                    access-control-allow-origin=http://x.b access-control-expose-headers=x-seen \
                    access-control-max-age=60";
    assert_eq!(got, expected);
    let others = preflight("origin:http://c");
    assert!(sent(&rule, &others).starts_with("OPTIONS web /"));
    let closed = rule.replace("\"maxAge\"", "\"answersOthers\": true, \"maxAge\"");
    assert_eq!(sent(&closed, &others), "200 - cors_response");
    // Without a method it is no preflight request.
    assert!(sent(&closed, "OPTIONS web / origin:http://a").starts_with("OPTIONS web /"));
}

#[test]
fn faults_befall_their_share() {
    let abort = |share: u32| {
        format!(
            r#"-> v1 with {{"fault": {{"abort": {{"share": {share}, "with": {{"http": 503}}}},
            "delay": {{"share": {share}, "time": "0.5s"}}}}}}"#
        )
        .replace('\n', " ")
    };
    let whole = one_rule(&abort(1_000_000));
    let mut rng = Rng::new(1);
    let Step::Reply(reply) = world::step(&whole.table, "GET web /", &mut rng, &mut ()) else {
        panic!("a fault")
    };
    assert_eq!((reply.status, &*reply.body), (Some(503), "fault filter abort"));
    assert_eq!(
        (reply.flags.to_string(), reply.delay().unwrap().as_millis()),
        ("DI,FI".into(), 500)
    );
    let some = one_rule(&abort(250_000));
    let (mut aborted, mut delayed) = (0, 0);
    for _ in 0..4_000 {
        match world::step(&some.table, "GET web /", &mut rng, &mut ()) {
            Step::Reply(reply) => {
                aborted += 1;
                delayed += usize::from(reply.delay().is_some());
            }
            Step::Done(routed) => delayed += usize::from(routed.delay().is_some()),
            Step::Ask(question) => panic!("{question}"),
        }
    }
    assert!(
        (900..1_100).contains(&aborted) && (900..1_100).contains(&delayed),
        "{aborted} {delayed}"
    );
}

#[test]
fn a_record_is_told_of_faults_that_befall_some_and_goes_on() {
    let rule = r#"-> v1 with {"fault": {"abort": {"share": 500000, "with": {"grpc": 14}}}}"#;
    let world = one_rule(rule);
    for seed in 0..20 {
        let mut notes = Vec::new();
        let step = world::step(&world.table, "GET web /", &mut Rng::new(seed), &mut notes);
        assert!(matches!(step, Step::Done(_)));
        let said = |note: &crate::Note| {
            note.why == "50 % of the requests are answered with gRPC status 14 by the fault"
        };
        assert!(notes.iter().any(said), "{notes:?}");
    }
}

/// Where copies of a request go.
fn copies(world: &World, request: &str, rng: &mut Rng) -> Vec<String> {
    let Step::Done(routed) = world::step(&world.table, request, rng, &mut ()) else {
        panic!("it is sent on")
    };
    routed.mirrors().iter().map(|backend| backend.name.to_string()).collect()
}

#[test]
fn copies_are_made_of_their_share() {
    let world = one_rule(
        r#"-> v1 with {"mirrors": [{"backend": "v2", "share": 1000000},
        {"backend": "v1", "share": 250000}, {"backend": "gone", "share": 1000000},
        {"backend": "v1", "share": 0}]}"#
            .replace('\n', " ")
            .as_str(),
    );
    let mut rng = Rng::new(1);
    let drawn: Vec<_> = (0..4_000).map(|_| copies(&world, "GET web /", &mut rng)).collect();
    assert!(drawn.iter().all(|copies| copies[0] == "v2" && copies.len() <= 2));
    let some = drawn.iter().filter(|copies| copies.len() == 2 && copies[1] == "v1").count();
    assert!((900..1_100).contains(&some), "{some}");
    // A record hears of all of them.
    let mut notes = Vec::new();
    let _ = world::step(&world.table, "GET web /", &mut rng, &mut notes);
    for said in [
        "copies of 100 % of the requests go to v2",
        "copies of 25 % of the requests go to v1",
        "no copies go to gone, which does not exist or is closed",
    ] {
        assert!(notes.iter().any(|note: &crate::Note| note.why == said), "{said} in {notes:?}");
    }
}

#[test]
fn upgrades_and_copies_are_not_copied() {
    let world = one_rule(r#"-> v1 with {"mirrors": [{"backend": "v2", "share": 1000000}]}"#);
    let mut rng = Rng::new(1);
    for (request, is_copied) in [
        ("GET web /", true),
        ("GET web / x-envoy-attempt-count:1", true),
        ("GET web / x-weft-hops:2", false),
        ("GET web / connection:upgrade upgrade:websocket", false),
    ] {
        assert_eq!(copies(&world, request, &mut rng).len(), usize::from(is_copied), "{request}");
    }
    let mut headers = HeaderMap::new();
    crate::arrive::fields::mark_copy(&mut headers);
    assert_eq!(headers["x-weft-hops"], "2");
    headers.insert("x-weft-hops", "7".parse().unwrap());
    crate::arrive::fields::mark_copy(&mut headers);
    assert_eq!(headers["x-weft-hops"], "7");
}
