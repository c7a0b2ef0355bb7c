//! Fields of Ingresses and their classes.

use super::{
    API_VERSION, Field, Holds, KIND, METADATA, PORT, STATUS, StandIn, TEXTS, field, guarded,
};

pub(crate) const INGRESS: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

const SPEC: &[Field] = &[
    field("ingressClassName", Holds::Text),
    field("defaultBackend", BACKEND),
    field("rules", Holds::List(&Holds::Object(RULE))),
    // Served without TLS as well, as in Istio; told apart from what is not honoured by `check`.
    field("tls", Holds::List(&Holds::Object(TLS))),
];

const RULE: &[Field] = &[
    // A rule without a host is for every host.
    guarded("host", Holds::Text, StandIn::NoHost),
    field(
        "http",
        // A path that lost its backend takes its requests, and has no destination for them.
        Holds::Object(&[field("paths", Holds::List(&Holds::Closing(PATH, &["path", "pathType"])))]),
    ),
];

const PATH: &[Field] = &[
    field("path", Holds::Text),
    field("pathType", Holds::Word(&["Exact", "Prefix", "ImplementationSpecific"])),
    field("backend", BACKEND),
];

const BACKEND: Holds = Holds::Object(&[
    field(
        "service",
        Holds::Object(&[
            field("name", Holds::Text),
            field("port", Holds::Object(&[field("number", PORT), field("name", Holds::Text)])),
        ]),
    ),
    field("resource", Holds::Anything),
]);

const TLS: &[Field] = &[field("hosts", TEXTS), field("secretName", Holds::Text)];

pub(crate) const INGRESS_CLASS: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field(
        "spec",
        Holds::Object(&[field("controller", Holds::Text), field("parameters", Holds::Anything)]),
    ),
];
