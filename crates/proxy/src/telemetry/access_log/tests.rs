//! Lines as recorded for the same facts.

use super::*;
use weft_config::LogFormat;

pub fn facts<'a>(head: Option<&'a Head>, request: &'a Captured, none: &'a Captured) -> Facts<'a> {
    Facts {
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        duration: Duration::from_micros(4_900),
        request: head,
        version: head.map(|head| head.version),
        request_headers: request,
        response_headers: none,
        status: 200,
        flags: &"",
        details: Some("via_upstream"),
        connection_details: None,
        transport_failure: None,
        received: 0,
        sent: 17,
        service_time: Some(Duration::from_millis(3)),
        upstream: Upstream {
            host: Some("10.1.1.1:8080".parse().unwrap()),
            backend: Some("outbound|80||dock.harbor.svc.cluster.local"),
            local: Some("10.1.9.1:5000".parse().unwrap()),
        },
        destination: "10.96.1.1:80".parse().unwrap(),
        client: "127.66.0.1:4000".parse().unwrap(),
        peer: "127.66.0.1:4000".parse().unwrap(),
        route: Some("default"),
        server_name: None,
        grpc_status: None,
    }
}

fn head(target: &str) -> Head {
    Head {
        method: Method::GET,
        target: target.parse().unwrap(),
        version: Version::HTTP_11,
        authority: Some(HeaderValue::from_static("dock")),
    }
}

/// A line of `format` for GET /a?x=1 with `headers`.
#[track_caller]
fn check(format: LogFormat, headers: &[(&'static str, &str)], expected: &str) {
    let format = Format::compile(&format);
    let map = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect();
    let mut response = http::HeaderMap::new();
    response.insert("x-envoy-upstream-service-time", HeaderValue::from_static("3"));
    let request = capture(&format.request_headers, &map);
    let response = capture(&format.response_headers, &response);
    let head = head("/a?x=1");
    let mut line = Vec::new();
    format.write(&facts(Some(&head), &request, &response), &mut Clock::default(), &mut line);
    assert_eq!(String::from_utf8_lossy(&line), expected);
}

#[test]
fn the_default_text_is_istios() {
    check(
        LogFormat::Text(String::new()),
        &[("x-request-id", "id"), ("user-agent", "a \"b\" c")],
        "[2023-11-14T22:13:20.123Z] \"GET /a?x=1 HTTP/1.1\" 200 - via_upstream - \"-\" 0 17 4 3 \
         \"-\" \"a \\x22b\\x22 c\" \"id\" \"dock\" \"10.1.1.1:8080\" \
         outbound|80||dock.harbor.svc.cluster.local 10.1.9.1:5000 10.96.1.1:80 127.66.0.1:4000 \
         - default\n",
    );
}

#[test]
fn the_default_json_is_istios() {
    check(
        LogFormat::Json(Vec::new()),
        &[("x-request-id", "a\"b")],
        "{\"authority\":\"dock\",\"bytes_received\":0,\"bytes_sent\":17,\
         \"connection_termination_details\":null,\"downstream_local_address\":\"10.96.1.1:80\",\
         \"downstream_remote_address\":\"127.66.0.1:4000\",\"duration\":4,\"method\":\"GET\",\
         \"path\":\"/a?x=1\",\"protocol\":\"HTTP/1.1\",\"request_id\":\"a\\\"b\",\
         \"requested_server_name\":null,\"response_code\":200,\
         \"response_code_details\":\"via_upstream\",\"response_flags\":\"-\",\
         \"route_name\":\"default\",\"start_time\":\"2023-11-14T22:13:20.123Z\",\
         \"upstream_cluster\":\"outbound|80||dock.harbor.svc.cluster.local\",\
         \"upstream_host\":\"10.1.1.1:8080\",\"upstream_local_address\":\"10.1.9.1:5000\",\
         \"upstream_service_time\":\"3\",\"upstream_transport_failure_reason\":null,\
         \"user_agent\":null,\"x_forwarded_for\":null}\n",
    );
}

#[test]
fn own_formats_may_cut_choose_and_mix() {
    let text = |text: &str| LogFormat::Text(text.to_owned());
    check(text("%REQ(X-A?:PATH):4% 100%%"), &[], "/a?x 100%\n");
    check(text("%REQ(X-A?:PATH)%"), &[("x-a", "first")], "first\n");
    check(text("%START_TIME(%Y/%m)% %RESPONSE_CODE%\n"), &[], "2023/11 200\n");
    check(text("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%NO_SUCH%"), &[], "127.66.0.1|-\n");
    let json = LogFormat::Json(vec![
        ("b".into(), "%RESPONSE_CODE% ok".into()),
        ("a".into(), "%RESPONSE_CODE%".into()),
    ]);
    check(json, &[], "{\"b\":\"200 ok\",\"a\":200}\n");
}

#[test]
fn an_unknown_operator_is_reported_by_name() {
    let format = Format::compile(&LogFormat::Text("%NO_SUCH(x)% %PROTOCOL%".into()));
    assert_eq!(format.unknown, ["NO_SUCH(x)"]);
}

#[test]
fn bytes_that_could_forge_a_line_are_escaped() {
    let value = HeaderValue::from_bytes(b"a\tb\xff").unwrap();
    let captured = Captured::from_iter([Some(value)]);
    for (format, expected) in [
        (LogFormat::Text("%REQ(X)%".into()), "a\\x09b\\xff\n"),
        (LogFormat::Json(vec![("x".into(), "%REQ(X)%".into())]), "{\"x\":\"a\\tb\u{fffd}\"}\n"),
    ] {
        let head = head("/");
        let mut line = Vec::new();
        let facts = facts(Some(&head), &captured, &captured);
        Format::compile(&format).write(&facts, &mut Clock::default(), &mut line);
        assert_eq!(String::from_utf8_lossy(&line), expected);
    }
}

#[test]
fn what_is_not_http_has_dashes_for_http() {
    let none = Captured::new();
    let mut facts = facts(None, &none, &none);
    (facts.status, facts.details, facts.route) = (0, None, None);
    let mut line = Vec::new();
    let format = LogFormat::Text(
        "\"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
        %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%"
            .into(),
    );
    Format::compile(&format).write(&facts, &mut Clock::default(), &mut line);
    assert_eq!(String::from_utf8_lossy(&line), "\"- - -\" 0 - - -\n");
}

#[test]
fn a_value_ends_neither_its_field_nor_its_line() {
    let text = |text: &str| LogFormat::Text(text.to_owned());
    let agent = "x\" 200 - \"\\";
    check(text("\"%REQ(USER-AGENT)%\""), &[("user-agent", agent)], "\"x\\x22 200 - \\x22\\x5c\"\n");
    let escaped = "{\"a\":\"x\\\" 200 - \\\"\\\\\"}\n";
    let json = LogFormat::Json(vec![("a".into(), "%REQ(USER-AGENT)%".into())]);
    check(json, &[("user-agent", agent)], escaped);
    let right_to_left = HeaderValue::from_bytes("a\u{202e}\u{2028}b".as_bytes()).unwrap();
    let captured = Captured::from_iter([Some(right_to_left)]);
    let (head, mut line) = (head("/"), Vec::new());
    let format = Format::compile(&text("%REQ(X)%"));
    format.write(&facts(Some(&head), &captured, &captured), &mut Clock::default(), &mut line);
    assert_eq!(String::from_utf8_lossy(&line), "a\\x202e\\x2028b\n");
}

#[test]
fn a_clients_word_for_its_path_is_not_the_path() {
    let text = |text: &str| LogFormat::Text(text.to_owned());
    let headers = [("x-envoy-original-path", "/admin\" 200")];
    check(text("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"), &headers, "/a?x=1\n");
    check(text("%REQ(X-ENVOY-ORIGINAL-PATH)%"), &headers, "-\n");
}

#[test]
fn all_values_of_a_repeated_field_are_logged() {
    let names = [HeaderName::from_static("x-a")];
    let mut headers = http::HeaderMap::new();
    assert_eq!(capture(&names, &headers)[0], None);
    for value in ["a", "b", ""] {
        headers.append("x-a", HeaderValue::from_static(value));
    }
    assert_eq!(capture(&names, &headers)[0], Some(HeaderValue::from_static("a,b,")));
}
