//! What must hold of any head that is not refused.

use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, prop_oneof},
    proptest,
    sample::select,
};

use super::*;

/// Pieces of hosts and targets, good and bad.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "a", "B", "dock", ".", "..", "/", "//", "/.;", "/..;x", "%2e", "%2F", "%00", "%25",
            "\\", "?", "#", "*", ":", ":80", "@", "[::1]", ",", ";", "|", "é", "-", "_",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,3}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    vec(piece(), 0..5).prop_map(|pieces| pieces.concat())
}

fn target() -> impl Strategy<Value = String> {
    let scheme = select(vec!["http://", "https://", "ftp://", "HTTP://"]);
    prop_oneof![
        text().prop_map(|text| format!("/{text}")),
        (scheme, text()).prop_map(|(scheme, text)| format!("{scheme}{text}")),
        text(),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = select(vec![
        "host",
        "host",
        "cookie",
        "cookie",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "keep-alive",
        "x-envoy-retry-on",
        "x-forwarded-proto",
        "x-a",
        "te",
    ]);
    let values = prop_oneof![
        text(),
        select(vec!["chunked", "gzip, chunked", "3", "upgrade, x-a", "websocket", "h2c", "a=1"])
            .prop_map(str::to_owned),
    ];
    vec((names.prop_map(str::to_owned), values), 0..7)
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Outbound), Just(Direction::Inbound), Just(Direction::Edge)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_head_that_is_served_has_one_reading(
        (method, target, fields) in (select(vec!["GET", "POST", "OPTIONS", "CONNECT"]), target(), fields()),
        version in select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]),
        direction in direction(),
    ) {
        let mut head = Request::new(()).into_parts().0;
        head.method = method.parse().unwrap();
        head.version = version;
        let Ok(uri) = target.parse() else { return Ok(()) };
        head.uri = uri;
        for (name, value) in fields {
            let Ok(value) = HeaderValue::try_from(value) else { continue };
            head.headers.append(HeaderName::try_from(name).unwrap(), value);
        }
        let arrived = Arrived::read(head, arrival(direction));
        if arrived.refused().is_some() {
            return Ok(());
        }
        let (head, seen) = (arrived.head(), arrived.request());
        assert!(head.uri.authority().is_none() && head.uri.scheme().is_none(), "{head:?}");
        let sent = head.uri.to_string();
        assert!(sent.starts_with('/'), "{sent}");
        assert_eq!(seen.path_and_query, sent);
        assert!(!seen.path().split('/').any(|part| matches!(part, "." | "..")), "{sent}");
        let hosts: Vec<_> = head.headers.get_all(header::HOST).iter().collect();
        match version {
            Version::HTTP_2 => assert!(hosts.iter().all(|host| **host == seen.authority)),
            _ => assert_eq!(hosts, [seen.authority]),
        }
        for name in [header::COOKIE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            assert!(head.headers.get_all(&name).iter().count() <= 1, "{name}");
        }
        // The next proxy reads the same.
        let mut next = head.clone();
        next.version = Version::HTTP_11;
        let host = HeaderValue::from_str(seen.authority).unwrap();
        next.headers.entry(header::HOST).or_insert(host);
        let headers = next.headers.clone();
        let again = Arrived::read(next, arrival(direction));
        assert!(again.refused().is_none(), "{:?}", again.refused());
        assert_eq!(again.head().uri, head.uri);
        assert_eq!(again.authority(), arrived.authority());
        assert_eq!(again.head().headers, headers);
    }
}
