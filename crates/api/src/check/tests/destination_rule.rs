//! What is said of policies in destination rules.

use serde_json::{Value, json};

use super::{check_object, mesh};

#[test]
fn a_hash_has_one_key_that_can_be_in_a_request() {
    let check = |hash: Value, expected: &str| {
        let policy = json!({"loadBalancer": {"consistentHash": hash}});
        let rule = json!({"host": "cart", "trafficPolicy": policy});
        let place = "spec.trafficPolicy.loadBalancer.consistentHash";
        check_object(&mesh("DestinationRule", rule), &expected.replace("HASH", place));
    };
    for (fine, size) in [
        (json!({"httpHeaderName": ":authority"}), json!({"ringHash": {"minimumRingSize": 9}})),
        (json!({"httpCookie": {"name": "c", "ttl": "0s"}}), json!({"maglev": {"tableSize": 7}})),
        (json!({"useSourceIp": true}), json!({"minimumRingSize": 9})),
    ] {
        check(fine.clone(), "");
        let mut both = fine;
        both.as_object_mut().unwrap().extend(size.as_object().cloned().unwrap());
        check(both, "");
    }
    check(
        json!({"httpHeaderName": "a", "useSourceIp": true}),
        "warning HASH: httpHeaderName and useSourceIp are given; only httpHeaderName counts",
    );
    check(
        json!({"useSourceIp": false, "maglev": {"tableSize": 8}}),
        "warning HASH: no key is given, so requests go to any endpoint; set `httpHeaderName`, \
         `httpCookie`, `useSourceIp` or `httpQueryParameterName`\n\
         error HASH.maglev.tableSize: 8 is not a prime number",
    );
    check(
        json!({"httpHeaderName": "a b"}),
        "error HASH.httpHeaderName: `a b` is not the name of a header",
    );
    check(
        json!({"httpQueryParameterName": ""}),
        "error HASH.httpQueryParameterName: the parameter has no name",
    );
    check(
        json!({"httpCookie": {"name": "", "path": "/; Domain=a"}}),
        "error HASH.httpCookie: a path or attribute of a cookie has only letters that a field may \
         have, and no `;`\n\
         error HASH.httpCookie.name: `` is not the name of a header",
    );
}

#[test]
fn settings_of_a_port_name_it_once() {
    let settings = json!([
        {"port": {"number": 80}, "tls": {"mode": "SIMPLE"}, "connectionPool": {"tcp": {}}},
        {"port": {"number": 80}},
        {"loadBalancer": {"simple": "RANDOM"}, "outlierDetection": {"maxEjectionPercent": 101}},
    ]);
    let policy = json!({"portLevelSettings": settings});
    check_object(
        &mesh("DestinationRule", json!({"host": "cart", "trafficPolicy": policy})),
        "warning spec.trafficPolicy.portLevelSettings[0].tls: not honoured yet: the service is called \
         in plaintext\n\
         warning spec.trafficPolicy.portLevelSettings[1].port.number: port 80 has settings above; the \
         first ones count\n\
         error spec.trafficPolicy.portLevelSettings[2].outlierDetection.maxEjectionPercent: 101 is \
         not between 0 and 100\n\
         error spec.trafficPolicy.portLevelSettings[2].port: the settings are for no port; name its \
         number",
    );
}

#[test]
fn limits_are_numbers_above_zero() {
    let policy = json!({
        "connectionPool": {
            "tcp": {"maxConnections": -1, "idleTimeout": "0s", "connectTimeout": "0s"},
            "http": {
                "http1MaxPendingRequests": 0, "http2MaxRequests": 10, "maxRetries": "x",
                "useClientProtocol": true, "h2UpgradePolicy": "UPGRADE",
            },
        },
        "retryBudget": {"percent": 101, "budgetInterval": "1s"},
        "portLevelSettings": [{"port": {"number": 80}, "connectionPool": {}}],
    });
    check_object(
        &mesh("DestinationRule", json!({"host": "cart", "trafficPolicy": policy})),
        "warning spec.trafficPolicy.connectionPool.http.h2UpgradePolicy: `useClientProtocol` counts, \
         so clients of HTTP/1.1 are not upgraded\n\
         warning spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests: 0 is no limit; leave \
         the field out, or set 1\n\
         error spec.trafficPolicy.connectionPool.http.maxRetries: the text `x` stands where a whole \
         number belongs\n\
         error spec.trafficPolicy.connectionPool.tcp.connectTimeout: `0s` is too short; the least is \
         `1ms`\n\
         error spec.trafficPolicy.connectionPool.tcp.maxConnections: the number is less than 0\n\
         error spec.trafficPolicy.portLevelSettings[0].connectionPool: neither `tcp` nor `http` is \
         given\n\
         warning spec.trafficPolicy.retryBudget.budgetInterval: not honoured yet: the requests that \
         are under way count\n\
         error spec.trafficPolicy.retryBudget.percent: 101 is not between 0 and 100",
    );
}
