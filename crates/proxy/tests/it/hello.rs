//! Servers that are chosen by what a TLS client says first. Nothing is decrypted.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    thread,
};

use serde_json::{Value, json};

use crate::world::{Running, World, brief, get, lines, ok, server};

/// A server that says its name, and then back what it hears until the end.
pub fn named(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut heard = name.as_bytes().to_vec();
                let _ = stream.read_to_end(&mut heard);
                let _ = stream.write_all(&heard);
            });
        }
    });
    address
}

/// Bytes with their length before them.
fn two(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// The first message of a client that wants `name` and speaks `protocols` (RFC 8446,
/// section 4.1.2), in one record.
pub fn hello(name: &str, protocols: &[&str]) -> Vec<u8> {
    let mut extensions = Vec::new();
    if !name.is_empty() {
        let entry = [&[0][..], &two(name.as_bytes())].concat();
        extensions.extend([&[0, 0][..], &two(&two(&entry))].concat());
    }
    if !protocols.is_empty() {
        let one = |one: &&str| [&[u8::try_from(one.len()).unwrap()], one.as_bytes()].concat();
        let list: Vec<u8> = protocols.iter().flat_map(one).collect();
        extensions.extend([&[0, 16][..], &two(&two(&list))].concat());
    }
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &two(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &two(&message)].concat()
}

fn origin() -> Value {
    json!({ "object": "Gateway/default/test" })
}

/// A server for clients that the condition `hello` is about.
fn tls(backend: &str, hello: Value) -> Value {
    json!({
        "name": backend, "hello": hello, "protocol": "tcp", "origin": origin(),
        "tcp": [{ "backends": [[backend, 1]], "origin": origin() }],
    })
}

/// A listener with these servers; each name is a backend that says its name.
fn proxy(servers: &[Value], log: &str) -> (Running, tempfile::TempDir) {
    let plain = server(&[&ok("plain")]);
    let listener = json!({ "listener": {
        "name": "test", "bind": "127.0.0.1:0", "destination": "socket",
        "limits": { "head": "0.3s" }, "scope": { "servers": servers },
    } });
    let mut world = World::new().all_to("web").backend("web", &[plain.address]).resource(listener);
    for name in ["a", "b", "wild", "h2", "any"] {
        world = world.backend(name, &[named(name)]);
    }
    let (world, log) = world.log(log);
    (world.run(), log)
}

/// What a client that says `bytes`, in pieces of `length`, hears.
fn heard(proxy: &Running, bytes: &[u8], length: usize) -> Vec<u8> {
    let mut client = proxy.client();
    for piece in bytes.chunks(length) {
        client.0.write_all(piece).unwrap();
    }
    let _ = client.0.shutdown(Shutdown::Write);
    let mut heard = Vec::new();
    let _ = client.0.read_to_end(&mut heard);
    heard
}

fn web() -> Value {
    json!({ "name": "http", "protocol": "http", "routes": ["route0"], "origin": origin() })
}

#[test]
fn the_most_exact_server_is_chosen_and_gets_the_bytes_as_they_are() {
    let servers = [
        web(),
        tls("wild", json!({ "names": ["*.example"] })),
        tls("a", json!({ "names": ["a.example", "other.example"] })),
        tls("b", json!({ "names": ["*.b.example"] })),
        tls("h2", json!({ "names": ["*.example"], "protocols": ["h2"] })),
    ];
    let (proxy, _log) = proxy(&servers, "");
    for (name, protocols, expected) in [
        ("a.example", &[][..], "a"),
        ("A.example", &["h2"], "a"),
        ("other.example", &[], "a"),
        ("x.b.example", &[], "b"),
        ("b.example", &[], "wild"),
        ("b.example", &["http/1.1", "h2"], "h2"),
        ("b.example", &["http/1.1"], "wild"),
    ] {
        let says = [&hello(name, protocols)[..], b"\x17\x03\x03\0\x02xy"].concat();
        let whole = [expected.as_bytes(), &says].concat();
        for length in [1, says.len()] {
            assert_eq!(heard(&proxy, &says, length), whole, "{name} {protocols:?}");
        }
    }
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 plain", "without TLS");
}

#[test]
fn a_client_that_no_server_is_for_is_closed() {
    let servers = [tls("a", json!({ "names": ["a.example"] }))];
    let format = "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQUESTED_SERVER_NAME%";
    let (proxy, log) = proxy(&servers, format);
    let half = &hello("a.example", &[])[..20];
    for says in [&hello("b.example", &[])[..], &hello("", &[]), b"GET / HTTP/1.1\r\n\r\n", half] {
        assert_eq!(heard(&proxy, says, says.len()), b"", "{says:?}");
    }
    let none = "NR filter_chain_not_found";
    let expected = ["b.example", "-", "-", "-"].map(|name| format!("{none} {name}"));
    assert_eq!(lines(&log, 4), expected);
    let mut slow = proxy.client();
    slow.0.write_all(half).unwrap();
    assert_eq!(slow.rest(), "", "the rest takes too long");
}

#[test]
fn where_no_name_is_asked_for_every_tls_client_is_meant() {
    let (proxy, _log) = proxy(&[web(), tls("any", json!({}))], "");
    let says = hello("", &[]);
    assert_eq!(heard(&proxy, &says, says.len()), [b"any", &says[..]].concat());
    assert_eq!(brief(&proxy.ask(&get("x", "/"))), "200 plain");
}

/// A server whose connections go to different backends by what their clients say first.
fn by_target(targets: &[(&str, Value)]) -> Value {
    let target = |(backend, hello): &(&str, Value)| json!({ "hello": hello, "backends": [[backend, 1]], "origin": origin() });
    let targets: Vec<Value> = targets.iter().map(target).collect();
    json!({ "name": "all", "protocol": "tcp", "tcp": targets, "origin": origin() })
}

#[test]
fn targets_of_one_server_are_chosen_by_name_and_the_log_has_it() {
    let targets =
        [("wild", json!({ "names": ["*.example"] })), ("a", json!({ "names": ["a.example"] }))];
    let format = "%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %REQUESTED_SERVER_NAME%";
    let (proxy, log) = proxy(&[by_target(&targets)], format);
    for (name, expected) in [("a.example", "a"), ("B.example", "wild")] {
        let says = [&hello(name, &[])[..], b"\x17\x03\x03\0\x02xy"].concat();
        assert_eq!(heard(&proxy, &says, 1), [expected.as_bytes(), &says].concat(), "{name}");
    }
    for says in [&hello("c.org", &[])[..], &hello("", &[]), b"SSH-2.0-x\r\n"] {
        assert_eq!(heard(&proxy, says, says.len()), b"", "{says:?}");
    }
    let expected = [
        "- a a.example",
        "- wild b.example",
        "UH BlackHoleCluster c.org",
        "UH BlackHoleCluster -",
        "UH BlackHoleCluster -",
    ];
    assert_eq!(lines(&log, 5), expected);
}

/// What a browser says: values that mean nothing (RFC 8701) around a post-quantum key share, in
/// records of `length` bytes.
fn of_a_browser(name: &str, length: usize) -> Vec<u8> {
    let entry = [&[0][..], &two(name.as_bytes())].concat();
    let extension = |kind: u16, data: &[u8]| [&kind.to_be_bytes()[..], &two(data)].concat();
    let share = [&[0x11, 0xec][..], &two(&[9; 1216])].concat();
    let extensions = [
        extension(0x0a0a, &[]),
        extension(51, &two(&share)),
        extension(0, &two(&entry)),
        extension(0xfe0d, &[7; 300]),
        extension(0xdada, &[0]),
        extension(21, &[0; 200]),
    ];
    let suites = [0x8a, 0x8a, 0x13, 1, 0x13, 2];
    let extensions = two(&extensions.concat());
    let body =
        [&[3, 3][..], &[7; 32], &[32], &[5; 32], &two(&suites), &[1, 0], &extensions].concat();
    let message = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &message[1..], &body].concat();
    let record = |piece: &[u8]| [&[22, 3, 1][..], &two(piece)].concat();
    message.chunks(length).flat_map(record).collect()
}

#[test]
fn a_large_hello_is_read_however_it_is_cut() {
    let names = json!({ "names": ["a.example"] });
    let (proxy, _log) = proxy(&[by_target(&[("a", names)])], "");
    for record in [16_000, 517, 1] {
        let says = of_a_browser("a.example", record);
        for piece in [1400, 7] {
            let whole = [b"a", &says[..]].concat();
            assert!(heard(&proxy, &says, piece) == whole, "records {record}, pieces {piece}");
        }
    }
}

#[test]
fn hostile_beginnings_are_closed_and_the_next_client_is_served() {
    let targets = [("a", json!({ "names": ["a.example"] })), ("wild", json!({ "names": ["*"] }))];
    let (proxy, _log) = proxy(&[by_target(&targets)], "");
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[0; 20_000]].concat();
    let many_records = [22, 3, 1, 0, 1, 1].repeat(3_000);
    let mut cut = hello("a.example", &[]);
    cut[5 + 2] = 0xff;
    let alert = [21, 3, 1, 0, 2, 2, 40];
    // A name with a NUL, as some libraries have read it up to there.
    let nul = hello("a.example\0.evil", &[]);
    for says in [&endless[..], &many_records, &cut, &alert, &nul, &[22], &[]] {
        assert_eq!(heard(&proxy, says, 4096), b"", "{} bytes", says.len());
    }
    let mut silent = proxy.client();
    silent.0.write_all(&hello("a.example", &[])[..40]).unwrap();
    let fine = hello("a.example", &[]);
    assert_eq!(heard(&proxy, &fine, 3), [b"a", &fine[..]].concat());
    assert_eq!(silent.rest(), "", "the rest takes too long");
}
