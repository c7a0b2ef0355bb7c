//! One resource of each kind, and of each form, with every field set.

use weft_config::Resource;

/// The samples, as JSON.
const SAMPLES: &[&str] = &[
    r#"{"listener": {
        "name": "l", "bind": "0.0.0.0:80", "destination": "socket",
        "layers": ["proxyProtocol"],
        "scope": {"servers": [{
            "name": "s", "port": 80, "protocol": "http", "routes": ["r"], "edge": true,
            "tcp": {"backends": [["b", 1]], "origin": {"object": "o", "rule": "r"}},
            "origin": {"object": "o", "rule": "r"}
        }]}
    }}"#,
    r#"{"route": {
        "name": "r", "hosts": ["a.example"],
        "rules": [
            {
                "name": "n",
                "conditions": {
                    "path": {"exact": "/"}, "ignorePathCase": true, "method": {"regex": "a"},
                    "scheme": {"prefix": "h"}, "authority": "present",
                    "headers": [["a", "present"]], "withoutHeaders": [["b", "present"]],
                    "query": [["c", "present"]]
                },
                "action": {"forward": [{"backend": "b", "weight": 1}]},
                "timeout": "1s",
                "retries": {
                    "attempts": 1, "perTryTimeout": "1s", "on": ["reset"], "statuses": [503],
                    "backoff": "1s", "avoidTried": true, "idempotentOnly": true
                },
                "origin": {"object": "o", "rule": "r"}
            },
            {
                "conditions": {},
                "action": {"respond": {"status": 200, "body": "b", "details": "d"}},
                "origin": {"object": "o", "rule": "r"}
            }
        ],
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"backend": {
        "name": "b", "service": "s", "serviceName": ["n", "m"], "port": 80,
        "subset": {"name": "v1", "labels": [["a", "b"]]},
        "discovery": {"dns": {"host": "h", "port": 80}}, "upstream": "http1",
        "loadBalancer": "random", "connectTimeout": "1s", "closed": "c",
        "origin": {"object": "o", "rule": "r"}
    }}"#,
    r#"{"endpoints": {"name": "e", "endpoints": [{
        "address": "10.0.0.1:80", "labels": [["a", "b"]], "locality": "l",
        "workload": {
            "name": "w", "namespace": "n", "app": "a", "version": "v", "canonicalName": "c",
            "canonicalRevision": "r", "cluster": "k", "account": "s"
        }
    }]}}"#,
    r#"{"settings": {
        "workload": {"name": "w", "namespace": "n"}, "locality": "l", "outside": "refuse",
        "accessLog": {"path": "/dev/stdout", "format": {"text": "t"}}
    }}"#,
    r#"{"answer": {
        "interest": "a.example:80", "entry": {"route": "r"}, "needs": ["route/r"],
        "covers": {"pattern": "*.example"}
    }}"#,
];

/// The samples.
pub fn all() -> Vec<Resource> {
    let read = |text: &&str| weft_config::decode(text.as_bytes()).expect("a sample is valid");
    let mut all: Vec<Resource> = SAMPLES.iter().map(read).collect();
    all.push(Resource::Directory(weft_config::DirectoryChunk {
        name: "c".to_owned(),
        ..Default::default()
    }));
    all
}
