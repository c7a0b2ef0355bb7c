//! Fields of `networking.istio.io VirtualService`.

use super::{
    API_VERSION, Field, Holds, I32, KIND, LABELS, METADATA, PORT, STATUS, StandIn, TEXTS, U32,
    closing, field, guarded, later,
};

pub(crate) const VIRTUAL_SERVICE: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

const SPEC: &[Field] = &[
    field("hosts", TEXTS),
    // Where the rules are for is not known: their requests are refused wherever they may be.
    guarded("gateways", TEXTS, StandIn::Closed),
    guarded("http", Holds::List(&Holds::Closing(HTTP, CONDITIONS)), StandIn::ClosedRule),
    guarded("tls", Holds::List(&Holds::Closing(TLS, CONDITIONS)), StandIn::ClosedRule),
    guarded("tcp", Holds::List(&Holds::Closing(TCP, CONDITIONS)), StandIn::ClosedRule),
    // For whom the rules are is not known: nobody must be served as if there were none.
    guarded("exportTo", TEXTS, StandIn::ClosedEverywhere),
];

/// What is left of a rule of which a piece is broken: it takes the requests that it names, and
/// has no destination for them.
const CONDITIONS: &[&str] = &["name", "match"];

const HTTP: &[Field] = &[
    field("name", Holds::Text),
    field("match", Holds::List(&Holds::Object(HTTP_MATCH))),
    field("route", Holds::List(&Holds::Object(HTTP_DESTINATION))),
    field("redirect", Holds::Object(REDIRECT)),
    field("directResponse", Holds::Object(DIRECT_RESPONSE)),
    field("delegate", Holds::Object(DELEGATE)),
    field("rewrite", Holds::Object(REWRITE)),
    field("timeout", Holds::Span),
    field("retries", Holds::Object(RETRIES)),
    field("fault", Holds::Object(FAULT)),
    field("mirror", DESTINATION),
    field("mirrors", Holds::List(&Holds::Object(MIRROR))),
    field("mirrorPercentage", PERCENT),
    field("mirrorPercent", U32),
    field("corsPolicy", Holds::Object(CORS)),
    field("headers", HEADERS),
];

const HTTP_MATCH: &[Field] = &[
    field("name", Holds::Text),
    field("uri", STRING_MATCH),
    field("scheme", STRING_MATCH),
    field("method", STRING_MATCH),
    field("authority", STRING_MATCH),
    field("headers", Holds::Map(&STRING_MATCH)),
    field("withoutHeaders", Holds::Map(&STRING_MATCH)),
    field("queryParams", Holds::Map(&STRING_MATCH)),
    field("port", PORT),
    field("sourceLabels", LABELS),
    field("sourceNamespace", Holds::Text),
    field("gateways", TEXTS),
    field("ignoreUriCase", Holds::Flag),
    later("statPrefix", Holds::Text, "the rule has no metrics of its own"),
];

const STRING_MATCH: Holds = Holds::Object(&[
    field("exact", Holds::Text),
    field("prefix", Holds::Text),
    field("regex", Holds::Text),
]);

const HTTP_DESTINATION: &[Field] =
    &[field("destination", DESTINATION), field("weight", I32), field("headers", HEADERS)];

const DESTINATION: Holds = Holds::Object(&[
    field("host", Holds::Text),
    field("subset", Holds::Text),
    field("port", Holds::Object(&[field("number", PORT)])),
]);

const REDIRECT: &[Field] = &[
    field("uri", Holds::Text),
    field("prefixRewrite", Holds::Text),
    field("authority", Holds::Text),
    field("port", U32),
    field("derivePort", Holds::Word(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])),
    field("scheme", Holds::Text),
    field("redirectCode", U32),
    field("uriRegexRewrite", REGEX_REWRITE),
];

const REGEX_REWRITE: Holds =
    Holds::Object(&[field("match", Holds::Text), field("rewrite", Holds::Text)]);

const DIRECT_RESPONSE: &[Field] = &[
    field("status", U32),
    field("body", Holds::Object(&[field("string", Holds::Text), field("bytes", Holds::Text)])),
];

const DELEGATE: &[Field] = &[field("name", Holds::Text), field("namespace", Holds::Text)];

const REWRITE: &[Field] = &[
    field("uri", Holds::Text),
    field("authority", Holds::Text),
    field("uriRegexRewrite", REGEX_REWRITE),
];

const RETRIES: &[Field] = &[
    field("attempts", I32),
    field("perTryTimeout", Holds::Span),
    field("retryOn", Holds::Text),
    later("retryRemoteLocalities", Holds::Flag, "every zone may be tried"),
    field("retryIgnorePreviousHosts", Holds::Flag),
    field("backoff", Holds::Span),
];

const PERCENT: Holds = Holds::Object(&[field("value", Holds::Number)]);

const FAULT: &[Field] = &[
    field(
        "delay",
        Holds::Object(&[
            field("percent", I32),
            field("fixedDelay", Holds::Span),
            later("exponentialDelay", Holds::Span, "requests are not held up"),
            field("percentage", PERCENT),
        ]),
    ),
    field(
        "abort",
        Holds::Object(&[
            field("httpStatus", I32),
            field("grpcStatus", Holds::Text),
            later("http2Error", Holds::Text, "requests are not answered by the fault"),
            field("percentage", PERCENT),
        ]),
    ),
];

const MIRROR: &[Field] = &[field("destination", DESTINATION), field("percentage", PERCENT)];

const CORS: &[Field] = &[
    field("allowOrigin", TEXTS),
    field("allowOrigins", Holds::List(&STRING_MATCH)),
    field("allowMethods", TEXTS),
    field("allowHeaders", TEXTS),
    field("exposeHeaders", TEXTS),
    field("maxAge", Holds::ShortSpan),
    field("allowCredentials", Holds::Flag),
    field("unmatchedPreflights", Holds::Word(&["UNSPECIFIED", "FORWARD", "IGNORE"])),
];

const HEADERS: Holds =
    Holds::Object(&[field("request", HEADER_CHANGES), field("response", HEADER_CHANGES)]);

const HEADER_CHANGES: Holds =
    Holds::Object(&[field("set", LABELS), field("add", LABELS), field("remove", TEXTS)]);

const TLS: &[Field] = &[
    field(
        "match",
        Holds::List(&Holds::Object(&[
            field("sniHosts", TEXTS),
            field("destinationSubnets", TEXTS),
            field("port", PORT),
            field("sourceLabels", LABELS),
            field("gateways", TEXTS),
            field("sourceNamespace", Holds::Text),
        ])),
    ),
    field("route", Holds::List(&Holds::Object(ROUTE_DESTINATION))),
];

/// What happens to a rule with a condition on TCP connections that is not honoured.
const NOT_KNOWN: &str = "connections that the rule may be for are closed";

const TCP: &[Field] = &[
    field(
        "match",
        Holds::List(&Holds::Object(&[
            field("port", PORT),
            field("destinationSubnets", TEXTS),
            field("sourceLabels", LABELS),
            field("gateways", TEXTS),
            field("sourceNamespace", Holds::Text),
            closing("sourceSubnet", Holds::Text, NOT_KNOWN),
        ])),
    ),
    field("route", Holds::List(&Holds::Object(ROUTE_DESTINATION))),
];

const ROUTE_DESTINATION: &[Field] = &[field("destination", DESTINATION), field("weight", I32)];
