//! Fields of `networking.istio.io DestinationRule`.

use super::{
    API_VERSION, Field, Holds, I32, I64, KIND, LABELS, METADATA, PORT, STATUS, StandIn, TEXTS, U32,
    field, guarded, later,
};

pub(crate) const DESTINATION_RULE: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

const SPEC: &[Field] = &[
    field("host", Holds::Text),
    field("trafficPolicy", Holds::Object(TRAFFIC_POLICY)),
    // A subset that lost a label would have more endpoints than it names: it loses its name, and
    // requests for it have no endpoint.
    field("subsets", Holds::List(&Holds::Closing(SUBSET, &[]))),
    guarded("exportTo", TEXTS, StandIn::Nobody),
    guarded(
        "workloadSelector",
        Holds::Object(&[field("matchLabels", LABELS)]),
        StandIn::NoSelectedWorkload,
    ),
];

const SUBSET: &[Field] = &[
    field("name", Holds::Text),
    field("labels", LABELS),
    field("trafficPolicy", Holds::Object(TRAFFIC_POLICY)),
];

const TRAFFIC_POLICY: &[Field] = &[
    field("loadBalancer", LOAD_BALANCER),
    field("connectionPool", CONNECTION_POOL),
    field("outlierDetection", OUTLIER_DETECTION),
    // Judged by its mode: plaintext is what happens, and may be what is asked for.
    field("tls", TLS),
    field("portLevelSettings", Holds::List(&Holds::Object(PORT_POLICY))),
    later("tunnel", TUNNEL, "connections go straight to the service"),
    later("proxyProtocol", PROXY_PROTOCOL, "no PROXY line is sent"),
    field("retryBudget", RETRY_BUDGET),
];

const PORT_POLICY: &[Field] = &[
    field("port", Holds::Object(&[field("number", PORT)])),
    field("loadBalancer", LOAD_BALANCER),
    field("connectionPool", CONNECTION_POOL),
    field("outlierDetection", OUTLIER_DETECTION),
    // Judged by its mode, as above.
    field("tls", TLS),
];

const LOAD_BALANCER: Holds = Holds::Object(&[
    field(
        "simple",
        Holds::Word(&[
            "UNSPECIFIED",
            "LEAST_CONN",
            "RANDOM",
            "PASSTHROUGH",
            "ROUND_ROBIN",
            "LEAST_REQUEST",
        ]),
    ),
    field("consistentHash", CONSISTENT_HASH),
    field("localityLbSetting", LOCALITY),
    later("zoneAwareLbSetting", ZONES, "every zone is used alike"),
    field("warmup", WARMUP),
    field("warmupDurationSecs", Holds::Span),
]);

const CONSISTENT_HASH: Holds = Holds::Object(&[
    field("httpHeaderName", Holds::Text),
    field(
        "httpCookie",
        Holds::Object(&[
            field("name", Holds::Text),
            field("path", Holds::Text),
            field("ttl", Holds::ShortSpan),
            field(
                "attributes",
                Holds::List(&Holds::Object(&[
                    field("name", Holds::Text),
                    field("value", Holds::Text),
                ])),
            ),
        ]),
    ),
    field("useSourceIp", Holds::Flag),
    field("httpQueryParameterName", Holds::Text),
    field("ringHash", Holds::Object(&[field("minimumRingSize", I64)])),
    field("maglev", Holds::Object(&[field("tableSize", I64)])),
    field("minimumRingSize", I64),
]);

const FAILOVER: Holds =
    Holds::List(&Holds::Object(&[field("from", Holds::Text), field("to", Holds::Text)]));

pub(super) const LOCALITY: Holds = Holds::Object(&[
    field(
        "distribute",
        Holds::List(&Holds::Object(&[field("from", Holds::Text), field("to", Holds::Map(&U32))])),
    ),
    field("failover", FAILOVER),
    field("failoverPriority", TEXTS),
    field("enabled", Holds::Flag),
]);

const ZONES: Holds = Holds::Object(&[
    field("enabled", Holds::Flag),
    field("failover", FAILOVER),
    field("failoverPriority", TEXTS),
    field("minClusterSize", I64),
]);

const WARMUP: Holds = Holds::Object(&[
    field("duration", Holds::Span),
    field("minimumPercent", Holds::Number),
    field("aggression", Holds::Number),
]);

pub(super) const KEEPALIVE: Holds = Holds::Object(&[
    field("probes", U32),
    field("time", Holds::Span),
    field("interval", Holds::Span),
]);

pub(super) const CONNECTION_POOL: Holds = Holds::Object(&[
    field(
        "tcp",
        Holds::Object(&[
            field("maxConnections", I32),
            field("connectTimeout", Holds::Span),
            field("tcpKeepalive", KEEPALIVE),
            field("maxConnectionDuration", Holds::Span),
            field("idleTimeout", Holds::ShortSpan),
        ]),
    ),
    field(
        "http",
        Holds::Object(&[
            field("http1MaxPendingRequests", I32),
            field("http2MaxRequests", I32),
            field("maxRequestsPerConnection", I32),
            field("maxRetries", I32),
            field("idleTimeout", Holds::Span),
            field("h2UpgradePolicy", Holds::Word(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"])),
            field("useClientProtocol", Holds::Flag),
            field("maxConcurrentStreams", I32),
            field("http2KeepAlive", Holds::Anything),
        ]),
    ),
]);

pub(super) const OUTLIER_DETECTION: Holds = Holds::Object(&[
    field("consecutiveErrors", I32),
    field("splitExternalLocalOriginErrors", Holds::Flag),
    field("consecutiveLocalOriginFailures", U32),
    field("consecutiveGatewayErrors", U32),
    field("consecutive5xxErrors", U32),
    field("interval", Holds::Span),
    field("baseEjectionTime", Holds::Span),
    field("maxEjectionPercent", I32),
    field("minHealthPercent", I32),
    later("outlierDetectionHttpErrorCodes", Holds::Anything, "answers of 500 and more are errors"),
]);

const TLS: Holds = Holds::Object(&[
    field("mode", Holds::Word(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])),
    field("clientCertificate", Holds::Text),
    field("privateKey", Holds::Text),
    field("caCertificates", Holds::Text),
    field("credentialName", Holds::Text),
    field("subjectAltNames", TEXTS),
    field("sni", Holds::Text),
    field("insecureSkipVerify", Holds::Flag),
    field("caCrl", Holds::Text),
]);

const TUNNEL: Holds = Holds::Object(&[
    field("protocol", Holds::Text),
    field("targetHost", Holds::Text),
    field("targetPort", U32),
]);

const PROXY_PROTOCOL: Holds = Holds::Object(&[field("version", Holds::Word(&["V1", "V2"]))]);

const RETRY_BUDGET: Holds = Holds::Object(&[
    field("percent", Holds::Number),
    field("minRetryConcurrency", U32),
    later("budgetInterval", Holds::Span, "the requests that are under way count"),
]);
