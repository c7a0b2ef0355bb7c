//! Resources of each kind, and of each form, that have every field and every variant.

use weft_config::{DirectoryChunk, Fingerprint, Resource};

/// The samples, as JSON.
const SAMPLES: &[&str] = &[
    r#"{"listener": {
        "name": "l", "bind": "0.0.0.0:80", "destination": "socket",
        "layers": ["proxyProtocol"],
        "scope": {"servers": [
            {
                "name": "s", "port": 80, "protocol": "http", "routes": ["r"], "edge": true,
                "tcp": [
                    {
                        "source": {"labels": [["app", "a"]], "namespace": "n"},
                        "backends": [["b", 1]],
                        "origin": {"object": "o", "rule": "r"}
                    },
                    {"backends": [["c", 1]], "origin": {"object": "o", "rule": "r"}}
                ],
                "origin": {"object": "o", "rule": "r"}
            },
            {"name": "t", "protocol": "tcp", "origin": {"object": "o", "rule": "r"}},
            {"name": "d", "protocol": "detect", "origin": {"object": "o", "rule": "r"}}
        ]}
    }}"#,
    r#"{"route": {
        "name": "r", "hosts": ["a.example"], "lists": ["l"],
        "rules": [
            {
                "name": "n",
                "conditions": {
                    "path": {"exact": "/"}, "ignorePathCase": true, "method": {"regex": "a"},
                    "scheme": {"prefix": "h"}, "authority": "present",
                    "headers": [["a", "present"], ["b", {"exact": "b"}]],
                    "withoutHeaders": [["b", "present"], ["c", {"prefix": "c"}]],
                    "query": [["c", "present"], ["d", {"regex": "d"}]],
                    "source": {"labels": [["app", "a"]], "namespace": "n"}
                },
                "action": {"forward": [{"backend": "b", "weight": 1}]},
                "timeout": "1s",
                "retries": {
                    "attempts": 1, "perTryTimeout": "1s",
                    "on": [
                        "connect-failure", "refused-stream", "reset", "reset-before-request",
                        "gateway-error", "5xx", "retriable4xx", "retriable-status-codes",
                        "cancelled", "deadline-exceeded", "internal", "resource-exhausted",
                        "unavailable", "per-try-timeout"
                    ],
                    "statuses": [503],
                    "backoff": "1s", "avoidTried": true, "idempotentOnly": true
                },
                "origin": {"object": "o", "rule": "r"}
            },
            {
                "conditions": {},
                "action": {"respond": {"status": 200, "body": "b", "details": "d"}},
                "origin": {"object": "o", "rule": "r"}
            },
            {"conditions": {}, "action": "passthrough", "origin": {"object": "o", "rule": "r"}}
        ],
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"route": {
        "name": "a", "hosts": ["b.example"],
        "rules": [
            {
                "conditions": {},
                "action": {"forward": [
                    {"backend": "b", "weight": 1, "changes": {"path": {"matched": "/"}}}
                ]},
                "changes": {
                    "path": {"whole": "/"}, "authority": "a",
                    "request": {"add": [["a", "b"]], "set": [["c", "d"]], "remove": ["e"]},
                    "response": {"add": [["a", "b"]], "set": [["c", "d"]], "remove": ["e"]}
                },
                "cors": {
                    "origins": [{"exact": "*"}, {"prefix": "a"}, {"regex": "b"}, "present"],
                    "methods": ["GET"], "fields": ["a"], "exposed": ["b"], "maxAge": 1,
                    "credentials": true, "answersOthers": true
                },
                "fault": {
                    "delay": {"share": 1, "time": "1s"},
                    "abort": {"share": 1, "with": {"http": 503}}
                },
                "mirrors": [{"backend": "b", "share": 1}],
                "origin": {"object": "o", "rule": "r"}
            },
            {
                "conditions": {},
                "action": {"redirect": {
                    "status": 301, "scheme": "https", "authority": "a", "port": 1,
                    "path": {"pattern": {"pattern": "a", "with": "b"}}
                }},
                "fault": {"abort": {"share": 1, "with": {"grpc": 14}}},
                "origin": {"object": "o", "rule": "r"}
            }
        ],
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"ruleList": {
        "name": "l",
        "rules": [
            {"conditions": {}, "action": "passthrough", "origin": {"object": "o", "rule": "r"}}
        ]
    }}"#,
    r#"{"listener": {
        "name": "k", "bind": "0.0.0.0:15001", "destination": "kernel", "scope": "directory"
    }}"#,
    r#"{"backend": {
        "name": "b", "service": "s", "serviceName": ["n", "m"], "port": 80,
        "subset": {"name": "v1", "labels": [["a", "b"]]},
        "discovery": {"dns": {"host": "h", "port": 80}}, "upstream": "http1",
        "loadBalancer": "random", "connectTimeout": "1s", "closed": "c",
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "e", "port": 80, "discovery": {"endpoints": "e"}, "upstream": "http2",
        "loadBalancer": "roundRobin", "connectTimeout": "1s",
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "h", "port": 80, "discovery": {"endpoints": "e"}, "upstream": "http2",
        "loadBalancer": {"hash": {"cookie": {
            "name": "c", "path": "/", "ttl": "1s", "attributes": [["a", "b"]]
        }}}, "connectTimeout": "1s", "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "hh", "port": 80, "discovery": {"endpoints": "e"}, "upstream": "http2",
        "loadBalancer": {"hash": {"header": "x"}}, "connectTimeout": "1s",
        "outliers": {"errors": 5, "gatewayErrors": 1, "localFailures": 1, "interval": "1s",
            "baseEjectionTime": "1s", "maxEjectionPercent": 10, "minHealthPercent": 1},
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "p", "port": 80, "discovery": {"endpoints": "e"}, "upstream": "http2",
        "loadBalancer": "random", "connectTimeout": "1s",
        "connectionPool": {
            "maxConnections": 1, "maxPending": 1, "maxRequests": 1, "maxRetries": 1,
            "retryBudget": {"percent": 20.5, "least": 3},
            "maxRequestsPerConnection": 1, "maxStreams": 1,
            "idle": "1s", "relayIdle": "1s", "maxDuration": "1s",
            "tcpKeepAlive": {"probes": 1, "time": "1s", "interval": "1s"},
            "ping": {"interval": "1s", "answer": "1s"}
        },
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "w", "port": 80, "discovery": {"endpoints": "e"}, "upstream": "http2",
        "loadBalancer": "random", "connectTimeout": "1s",
        "warmup": {"duration": "1s", "percent": 10.5, "aggression": 1.5},
        "locality": {
            "distribute": [{"from": "a/*", "to": [["a", 100]]}],
            "tiers": true,
            "failover": [{"from": "a", "to": "b"}], "priority": ["a", "b=c"]
        },
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "hq", "port": 80, "discovery": {"endpoints": "e"}, "upstream": "http2",
        "loadBalancer": {"hash": {"query": "x"}}, "connectTimeout": "1s",
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "hs", "port": 80, "discovery": {"endpoints": "e"}, "upstream": "http2",
        "loadBalancer": {"hash": "sourceIp"}, "connectTimeout": "1s",
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "f", "port": 80, "discovery": {"fixed": "10.0.0.1:80"},
        "upstream": "sameAsClient", "loadBalancer": "leastRequest", "connectTimeout": "1s",
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "o", "port": 80, "discovery": "original", "upstream": "http1",
        "loadBalancer": "random", "connectTimeout": "1s", "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "n", "port": 80, "discovery": "nowhere", "upstream": "http1",
        "loadBalancer": "random", "connectTimeout": "1s", "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "nn", "port": 80, "discovery": {"names": {
            "names": [{"host": "h", "port": 80, "weight": 3}, {"host": "i", "port": 81}],
            "firstOnly": true
        }}, "upstream": "http1", "loadBalancer": "random", "connectTimeout": "1s",
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "nr", "port": 80, "discovery": {"requested": {"port": 80}}, "upstream": "http1",
        "loadBalancer": "random", "connectTimeout": "1s", "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"chunkList": {"name": "e", "chunks": ["e/0"]}}"#,
    r#"{"endpoints": {"name": "e", "endpoints": [{
        "address": "10.0.0.1:80", "labels": [["a", "b"]], "locality": "l", "weight": 3,
        "workload": {
            "name": "w", "namespace": "n", "app": "a", "version": "v", "canonicalName": "c",
            "canonicalRevision": "r", "cluster": "k", "account": "s"
        }
    }]}}"#,
    r#"{"settings": {
        "workload": {"name": "w", "namespace": "n"}, "labels": [["app", "a"]],
        "locality": "l", "outside": "refuse", "upgrades": ["websocket", "other"],
        "accessLog": {"path": "/dev/stdout", "format": {"text": "t"}}
    }}"#,
    r#"{"settings": {
        "workload": {"name": "w", "namespace": "n"}, "outside": "allow",
        "accessLog": {"path": "/dev/stdout", "format": {"json": [["a", "b"]]}}
    }}"#,
    r#"{"answer": {
        "interest": "a.example:80", "entry": {"route": "r"}, "needs": ["route/r"],
        "covers": {"pattern": "*.example"}
    }}"#,
    r#"{"answer": {
        "interest": "10.0.0.1:80",
        "entry": {"server": {
            "name": "s", "port": 80, "protocol": "tcp", "routes": ["r"], "edge": true,
            "hello": {"names": ["a.example"], "protocols": ["h2"]},
            "tcp": [
                {
                    "source": {"labels": [["app", "a"]], "namespace": "n"},
                    "backends": [["b", 1]],
                    "origin": {"object": "o", "rule": "r"}
                },
                {"backends": [["c", 1]], "origin": {"object": "o", "rule": "r"}}
            ],
            "origin": {"object": "o", "rule": "r"}
        }}
    }}"#,
    r#"{"answer": {"interest": "self", "entry": "own"}}"#,
    r#"{"answer": {"interest": "directory/own", "entry": "directory"}}"#,
    r#"{"answer": {"interest": "b.example:80", "entry": "outside"}}"#,
    r#"{"answer": {"interest": "tls/c.example:443", "entry": {"server": {
        "name": "c", "protocol": "tcp", "tcp": [
            {"hello": {"names": ["c.example"]}, "destinations": ["10.0.0.0/8"],
             "backends": [["b", 1]], "origin": {"object": "o"}},
            {"backends": [], "outside": true, "origin": {"object": "o"}}],
        "origin": {"object": "o"}}}}}"#,
];

/// The samples.
pub fn all() -> Vec<Resource> {
    let read = |text: &&str| match weft_config::decode(text.as_bytes()) {
        Ok(resource) => resource,
        Err(error) => panic!("{error}: {text}"),
    };
    let mut all: Vec<Resource> = SAMPLES.iter().map(read).collect();
    let address = "10.0.0.1:80".parse().expect("an address");
    all.push(Resource::Directory(DirectoryChunk {
        name: "c".to_owned(),
        hosts: [Fingerprint::of_host("a.example", 80)].into_iter().collect(),
        addresses: [Fingerprint::of_address(address)].into_iter().collect(),
        http_ports: [80].into(),
        tls_ports: [443].into(),
        range_sizes: [8].into(),
    }));
    all
}
