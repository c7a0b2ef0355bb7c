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
        "warning spec.trafficPolicy.portLevelSettings[0].connectionPool: not honoured yet: \
         connections and requests are not limited\n\
         warning spec.trafficPolicy.portLevelSettings[0].tls: not honoured yet: the service is called \
         in plaintext\n\
         warning spec.trafficPolicy.portLevelSettings[1].port.number: port 80 has settings above; the \
         first ones count\n\
         error spec.trafficPolicy.portLevelSettings[2].outlierDetection.maxEjectionPercent: 101 is \
         not between 0 and 100\n\
         error spec.trafficPolicy.portLevelSettings[2].port: the settings are for no port; name its \
         number",
    );
}
