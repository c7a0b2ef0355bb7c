//! Endpoints that fail are left out, as both ends see it.

use std::{io::Write, net::SocketAddr};

use serde_json::{Value, json};

use crate::world::{World, backend, brief, get, lines, ok, server};

const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%";
const BROKEN: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno";

/// A world whose only backend leaves out endpoints as `changed` says.
fn leaving_out(changed: Value, addresses: &[SocketAddr]) -> World {
    let mut outliers = json!({
        "errors": 3, "gatewayErrors": 0, "interval": "10s", "baseEjectionTime": "60s",
        "maxEjectionPercent": 100, "minHealthPercent": 0,
    });
    outliers.as_object_mut().unwrap().extend(changed.as_object().cloned().unwrap());
    let mut one = backend("one", json!({ "endpoints": "there" }));
    one["outliers"] = outliers;
    World::new().backend("there", addresses).resource(json!({ "backend": one })).all_to("one")
}

#[test]
fn an_endpoint_that_answers_with_errors_gets_no_more_requests() {
    let (broken, well) = (server(&[BROKEN]), server(&[&ok("hi")]));
    let proxy = leaving_out(json!({}), &[broken.address, well.address]).start();
    let answers: Vec<_> = (0..40).map(|_| brief(&proxy.client().ask(&get("x", "/")))).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "500 no").count(), 3, "{answers:?}");
    assert_eq!((broken.heard().len(), well.heard().len()), (3, 37));
}

#[test]
fn when_the_last_endpoint_is_left_out_there_is_none() {
    let broken = server(&[BROKEN]);
    let (world, log) = leaving_out(json!({}), &[broken.address]).log(LOG);
    let proxy = world.start();
    for _ in 0..3 {
        assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "500 no");
    }
    for _ in 0..2 {
        assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "503 no healthy upstream");
    }
    assert_eq!(broken.heard().len(), 3);
    assert_eq!(lines(&log, 5)[3], "503 UH no_healthy_upstream");
    let broken = server(&[BROKEN]);
    let proxy = leaving_out(json!({ "minHealthPercent": 50 }), &[broken.address]).start();
    for _ in 0..5 {
        assert_eq!(brief(&proxy.client().ask(&get("x", "/"))), "500 no");
    }
}

#[test]
fn an_endpoint_that_refuses_connections_gets_no_more_requests() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (refusing, well) = (gone.local_addr().unwrap(), server(&[&ok("hi")]));
    drop(gone);
    let split = json!({ "errors": 0, "localFailures": 2 });
    let proxy = leaving_out(split, &[refusing, well.address]).start();
    let answers: Vec<_> = (0..20).map(|_| brief(&proxy.client().ask(&get("x", "/")))).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "200 hi").count(), 18, "{answers:?}");
}

#[test]
fn connections_are_relayed_to_endpoints_that_take_them() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (refusing, well) = (gone.local_addr().unwrap(), server(&[&ok("hi")]));
    drop(gone);
    let origin = json!({ "object": "VirtualService/default/test" });
    let proxy = leaving_out(json!({ "errors": 2 }), &[refusing, well.address])
        .server("protocol", json!("tcp"))
        .server("tcp", json!([{ "backends": [["one", 1]], "origin": origin }]))
        .start();
    let relayed = |_| {
        let mut client = proxy.client();
        // What was closed already takes nothing.
        let _ = client.0.write_all(get("x", "/").as_bytes());
        client.hear().ends_with("hi")
    };
    assert_eq!((0..20).map(relayed).filter(|is_relayed| *is_relayed).count(), 18);
}
