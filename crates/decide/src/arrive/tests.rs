//! Heads as text: what came, what goes on.

mod property;

use http::{HeaderName, Request, Uri};

use super::*;

/// A head from its text: a request line, then a field a line.
fn parse(text: &str) -> Parts {
    let mut lines = text.lines().map(str::trim);
    let line: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let mut head = Request::new(()).into_parts().0;
    head.method = line[0].parse().unwrap();
    head.uri = match line[1].starts_with('?') {
        // As HTTP/2 may have it.
        true => Uri::from(PathAndQuery::try_from(line[1]).unwrap()),
        false => line[1].parse().unwrap(),
    };
    head.version = match line[2] {
        "HTTP/2" => Version::HTTP_2,
        "HTTP/1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        head.headers.append(HeaderName::try_from(name).unwrap(), value.trim().parse().unwrap());
    }
    head
}

fn print(arrived: &Arrived) -> Vec<String> {
    let head = arrived.head();
    let target = head.uri.to_string();
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    [format!("{} {target}", head.method)].into_iter().chain(fields).collect()
}

fn arrival(direction: Direction) -> Arrival {
    let destination = "10.0.0.7:8080".parse().unwrap();
    let next = match direction {
        Direction::Inbound => NextHop::Application,
        Direction::Outbound | Direction::Edge => NextHop::Elsewhere,
    };
    Arrival { client: None, destination, direction, next, scheme: Scheme::Http }
}

fn read(direction: Direction, text: &str) -> Arrived {
    Arrived::read(parse(text), arrival(direction))
}

#[track_caller]
fn check(direction: Direction, request: &str, expected: &[&str]) {
    let mut arrived = read(direction, request);
    arrived.announce(|| HeaderValue::from_static("10.0.0.9"), || *ID);
    assert!(arrived.refused().is_none(), "{:?}", arrived.refused());
    assert_eq!(print(&arrived)[1..], *expected);
}

/// The status and details that a request is refused with.
#[track_caller]
fn refused(direction: Direction, request: &str, expected: &str) {
    let arrived = read(direction, request);
    let told = arrived.refused().map_or("served".to_owned(), |reply| {
        format!("{} {} {}", reply.status.unwrap(), reply.flags, reply.details)
    });
    assert_eq!(told, expected, "{request}");
}

const ID: &[u8; 36] = b"00000000-0000-4000-8000-000000000000";
const ID_LINE: &str = "x-request-id: 00000000-0000-4000-8000-000000000000";

#[test]
fn what_belongs_to_one_connection_is_left_out_and_order_is_kept() {
    check(
        Direction::Outbound,
        "GET / HTTP/1.1\nhost: dock\na: 1\nconnection: close, x-hop\nx-hop: 1\nkeep-alive: 5\n\
         b: 2\nte: trailers",
        &["host: dock", "a: 1", "b: 2", "te: trailers", "x-forwarded-proto: http", ID_LINE],
    );
}

#[test]
fn connection_cannot_name_what_others_rely_on() {
    check(
        Direction::Outbound,
        "GET / HTTP/1.1\nhost: dock\nconnection: x-forwarded-for, authorization, host\n\
         x-forwarded-for: 1.1.1.1\nauthorization: x",
        &[
            "host: dock",
            "x-forwarded-for: 1.1.1.1",
            "authorization: x",
            "x-forwarded-proto: http",
            ID_LINE,
        ],
    );
}

#[test]
fn an_upgrade_is_asked_for_unless_it_is_to_http2() {
    let rest = ["x-forwarded-proto: http", ID_LINE];
    check(
        Direction::Outbound,
        "GET / HTTP/1.1\nhost: a\nconnection: keep-alive, Upgrade\nupgrade: websocket",
        &["host: a", "connection: Upgrade", "upgrade: websocket", rest[0], rest[1]],
    );
    for fields in [
        "HTTP/1.1\nhost: a\nconnection: Upgrade, HTTP2-Settings\nupgrade: h2c\nhttp2-settings: AAM",
        "HTTP/1.1\nhost: a\nupgrade: websocket",
        "HTTP/1.0\nhost: a\nconnection: upgrade\nupgrade: websocket",
    ] {
        check(Direction::Outbound, &format!("GET / {fields}"), &["host: a", rest[0], rest[1]]);
    }
}

#[test]
fn clients_do_not_steer_proxies() {
    check(
        Direction::Inbound,
        "GET / HTTP/1.1\nhost: a\nx-envoy-retry-on: 5xx\nx-envoy-decorator-operation: z\n\
         x-envoy-attempt-count: 1\nx-forwarded-client-cert: By=x\nx-forwarded-proto: https\n\
         x-request-id: mine",
        &["host: a", "x-envoy-attempt-count: 1", "x-forwarded-proto: https", "x-request-id: mine"],
    );
}

#[test]
fn headers_that_clients_outside_set_about_themselves_are_not_trusted() {
    check(
        Direction::Edge,
        "GET / HTTP/1.1\nhost: a\nx-forwarded-for: 1.2.3.4\nx-forwarded-proto: https\n\
         x-request-id: mine\nx-envoy-external-address: 6.6.6.6\nx-envoy-original-path: /o\n\
         forwarded: for=1.1.1.1",
        &[
            "host: a",
            "x-forwarded-for: 1.2.3.4,10.0.0.9",
            "x-forwarded-proto: http",
            ID_LINE,
            "forwarded: for=1.1.1.1",
            "x-envoy-external-address: 10.0.0.9",
        ],
    );
}

#[test]
fn cookies_are_joined_where_the_first_one_stood() {
    let rest = ["x-forwarded-proto: http", ID_LINE];
    for version in ["HTTP/1.1", "HTTP/2"] {
        let request =
            format!("GET / {version}\nhost: a\ncookie: a=1\nb: 2\ncookie: b=2\ncookie: c=3; d=4");
        check(
            Direction::Outbound,
            &request,
            &["host: a", "cookie: a=1; b=2; c=3; d=4", "b: 2", rest[0], rest[1]],
        );
    }
}

/// The target and `Host` that a server of HTTP/1 gets.
#[track_caller]
fn target(request: &str, expected: &str) {
    let arrived = read(Direction::Outbound, request);
    assert!(arrived.refused().is_none(), "{request}: {:?}", arrived.refused());
    let head = arrived.head();
    let host = head.headers.get(header::HOST).map_or("-", |host| host.to_str().unwrap());
    let authority = arrived.authority().unwrap().to_str().unwrap();
    assert_eq!(format!("{} {host} {authority}", head.uri), expected, "{request}");
    let seen = arrived.request();
    assert_eq!(seen.path_and_query, head.uri.to_string(), "{request}");
    assert_eq!(seen.authority, authority, "{request}");
}

#[test]
fn there_is_one_target_and_one_host_whatever_form_they_came_in() {
    target("GET /a HTTP/1.1\nhost: dock:80", "/a dock:80 dock:80");
    target("GET http://svc?x=1 HTTP/1.1\nhost: other", "/?x=1 svc svc");
    target("GET http://svc HTTP/1.1\nhost: other", "/ svc svc");
    target("GET HTTP://SVC/a/../b HTTP/1.1\nhost: svc", "/b SVC SVC");
    target("GET https://svc/a HTTP/1.1", "/a svc svc");
    target("GET / HTTP/1.0", "/ 10.0.0.7:8080 10.0.0.7:8080");
    target("GET http://svc/ HTTP/1.0", "/ svc svc");
    target("GET http://dock/ HTTP/2", "/ - dock");
    target("GET http://dock/ HTTP/2\nhost: other", "/ dock dock");
    target("GET / HTTP/2\nhost: dock", "/ dock dock");
    target("GET //a HTTP/1.1\nhost: dock", "//a dock dock");
}

#[test]
fn targets_and_hosts_that_can_be_read_in_two_ways_are_refused() {
    let refused = |request: &str, expected: &str| refused(Direction::Outbound, request, expected);
    refused("GET / HTTP/1.1\nhost: a\nhost: a", "400 DPE several_host_fields");
    refused("GET / HTTP/1.1", "400 - missing_host_header");
    refused("GET svc:80 HTTP/1.1\nhost: other", "400 DPE http1.invalid_url");
    refused("GET svc HTTP/1.1\nhost: other", "400 DPE http1.invalid_url");
    refused("GET * HTTP/1.1\nhost: a", "400 DPE http1.invalid_url");
    refused("OPTIONS * HTTP/1.1\nhost: a", "404 - absolute_path_rejected");
    refused("GET ?x HTTP/2\nhost: a", "400 DPE http1.invalid_url");
    refused("GET ftp://a/ HTTP/1.1\nhost: a", "400 DPE http1.invalid_scheme");
    refused("GET /%00 HTTP/1.1\nhost: a", "400 - path_normalization_failed");
    refused("CONNECT a:80 HTTP/1.1\nhost: a:80", "404 NR route_not_found");
    refused("GET http://u@svc/ HTTP/1.1\nhost: svc", "400 DPE http.invalid_authority");
    for host in ["a/b", "a b", "u@a", "a..b", "*.b", "a,b.c"] {
        let request = format!("GET / HTTP/1.1\nhost: {host}");
        refused(&request, "400 DPE http.invalid_authority");
    }
}

#[test]
fn lengths_and_encodings_that_can_be_read_in_two_ways_are_refused() {
    let refused = |fields: &str, expected: &str| {
        let request = format!("POST / HTTP/1.1\nhost: a\n{fields}");
        refused(Direction::Outbound, &request, expected);
    };
    refused("content-length: 3", "served");
    refused("transfer-encoding: Chunked", "served");
    refused("content-length: 3\ncontent-length: 3", "400 DPE http1.codec_error");
    refused("content-length: 3\ntransfer-encoding: chunked", "400 DPE http1.codec_error");
    for length in ["", "+3", "-1", "0x3", "3,3", "3 3", "three"] {
        refused(&format!("content-length: {length}"), "400 DPE http1.codec_error");
    }
    for encoding in [
        "gzip, chunked",
        "identity",
        "chunked, chunked",
        "chunked\ntransfer-encoding: chunked",
        "gzip\ntransfer-encoding: chunked",
        "xchunked",
    ] {
        let fields = format!("transfer-encoding: {encoding}");
        refused(&fields, "501 DPE http1.invalid_transfer_encoding");
    }
}

#[test]
fn a_length_that_some_codec_cannot_read_is_refused_and_others_are_written_plainly() {
    let length = |digits: &str| {
        let request = format!("POST / HTTP/1.1\nhost: a\ncontent-length: {digits}");
        let arrived = read(Direction::Edge, &request);
        let sent = arrived.head().headers[header::CONTENT_LENGTH].to_str().unwrap().to_owned();
        arrived.refused().is_none().then_some(sent)
    };
    assert_eq!(length("0"), Some("0".to_owned()));
    assert_eq!(length("000"), Some("0".to_owned()));
    assert_eq!(length("0000000000000000003"), Some("3".to_owned()));
    assert_eq!(length("9999999999999999999"), Some("9999999999999999999".to_owned()));
    assert_eq!(length("00000000000000000003"), None);
    assert_eq!(length("18446744073709551612"), None);
}

#[test]
fn a_head_has_as_many_fields_in_either_version() {
    for (version, name) in [("HTTP/1.1", "http1"), ("HTTP/2", "http2")] {
        let with = |count: usize| {
            let fields: String = (2..=count).map(|at| format!("\nx-{at}: 1")).collect();
            // However many cookies there are, they are one field.
            format!("GET / {version}\nhost: a\ncookie: a=1\ncookie: b=2\ncookie: c=3{fields}")
        };
        refused(Direction::Outbound, &with(99), "served");
        refused(Direction::Outbound, &with(100), &format!("431 DPE {name}.too_many_headers"));
    }
}

#[test]
fn an_upgrade_is_not_asked_for_by_a_request_with_a_body() {
    for (fields, expected) in [
        ("", true),
        ("content-length: 0\n", true),
        ("content-length: 3\n", false),
        ("transfer-encoding: chunked\n", false),
    ] {
        let fields = format!("{fields}connection: upgrade\nupgrade: websocket");
        let arrived = read(Direction::Edge, &format!("POST / HTTP/1.1\nhost: a\n{fields}"));
        assert_eq!(arrived.asks_for_upgrade(), expected, "{fields}");
        assert_eq!(arrived.head().headers.contains_key("upgrade"), expected, "{fields}");
    }
}

/// How many proxies the head announces to what is next, after a head with `fields`.
fn hops(arrival: Arrival, fields: &str) -> Option<String> {
    let mut arrived = Arrived::read(parse(&format!("GET / HTTP/1.1\nhost: a{fields}")), arrival);
    arrived.announce(|| HeaderValue::from_static("10.0.0.9"), || *ID);
    let told = arrived.head().headers.get("x-weft-hops");
    told.map(|hops| hops.to_str().unwrap().to_owned())
}

#[test]
fn proxies_on_the_way_are_counted_from_the_second_on_and_applications_see_none() {
    for direction in [Direction::Outbound, Direction::Edge] {
        let arrival = arrival(direction);
        assert_eq!(hops(arrival, ""), None);
        let second = hops(arrival, "\nx-envoy-attempt-count: 1");
        assert_eq!(second.as_deref(), Some("2"));
        let third = hops(arrival, "\nx-weft-hops: 2\nx-envoy-attempt-count: 1");
        assert_eq!(third.as_deref(), Some("3"));
    }
    let to_application = arrival(Direction::Inbound);
    assert_eq!(hops(to_application, "\nx-weft-hops: 2\nx-envoy-attempt-count: 1"), None);
    // One of the mesh that does not lead to its application may be the first on a circle.
    let inbound = Arrival { next: NextHop::Elsewhere, ..to_application };
    assert_eq!(hops(inbound, "").as_deref(), Some("1"));
    assert_eq!(hops(inbound, "\nx-weft-hops: 2").as_deref(), Some("3"));
}

#[test]
fn a_request_that_goes_in_a_circle_is_refused() {
    for direction in [Direction::Outbound, Direction::Inbound, Direction::Edge] {
        let request = |hops: &str| format!("GET / HTTP/1.1\nhost: a\nx-weft-hops: {hops}");
        refused(direction, &request("16"), "served");
        for hops in ["17", "99999999999", "-1", "x", "1\nx-weft-hops: 17"] {
            refused(direction, &request(hops), "508 - routed_in_a_circle");
        }
    }
}

#[test]
fn trailers_say_nothing_that_a_head_may_not_say() {
    let sorted = |direction| {
        let names = [
            "x-a",
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "x-envoy-retry-on",
            "x-envoy-original-path",
            "x-request-id",
            "grpc-status",
        ];
        let value = HeaderValue::from_static("1");
        let mut trailers: HeaderMap =
            names.map(|name| (HeaderName::from_static(name), value.clone())).into_iter().collect();
        fields::strip_trailers(&mut trailers, direction);
        trailers.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sorted(Direction::Edge), "x-a grpc-status");
    assert_eq!(sorted(Direction::Inbound), "x-a x-envoy-original-path grpc-status");
}

#[test]
fn a_target_with_tls_on_a_plain_connection_is_refused_at_the_edge_only() {
    for version in ["HTTP/1.1", "HTTP/2"] {
        let request = format!("GET https://a/ {version}\nhost: a");
        refused(Direction::Edge, &request, "403 - scheme_mismatch");
        refused(Direction::Outbound, &request, "served");
    }
}

#[test]
fn the_scheme_is_the_targets_or_what_the_first_proxy_saw_or_the_connections() {
    let scheme = |request: &str| {
        let arrived = read(Direction::Inbound, request);
        String::from_utf8(arrived.request().scheme().to_vec()).unwrap()
    };
    assert_eq!(scheme("GET / HTTP/1.1\nhost: a"), "http");
    assert_eq!(scheme("GET / HTTP/1.1\nhost: a\nx-forwarded-proto: https"), "https");
    assert_eq!(scheme("GET http://a/ HTTP/1.1\nhost: a\nx-forwarded-proto: https"), "http");
    assert_eq!(scheme("GET https://a/ HTTP/2"), "https");
}
