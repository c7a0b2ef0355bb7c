//! Fields of `networking.istio.io Gateway`.

use super::{
    API_VERSION, Field, Holds, KIND, LABELS, METADATA, PORT, STATUS, StandIn, TEXTS, U32, field,
    guarded, later,
};

pub(crate) const GATEWAY: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

const SPEC: &[Field] = &[
    guarded("selector", LABELS, StandIn::NoWorkload),
    // A server that lost a setting serves no host.
    field("servers", Holds::List(&Holds::Closing(SERVER, &["port", "name"]))),
];

const SERVER: &[Field] = &[
    field(
        "port",
        Holds::Object(&[
            field("number", PORT),
            field("protocol", Holds::Text),
            field("name", Holds::Text),
            later("targetPort", U32, "the port of the gateway's Service decides"),
        ]),
    ),
    field("bind", Holds::Text),
    field("hosts", TEXTS),
    // Judged by the protocol: a server with TLS is not opened, one without only redirects.
    field("tls", TLS),
    field("defaultEndpoint", Holds::Text),
    field("name", Holds::Text),
];

const VERSION: Holds = Holds::Word(&["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]);

const TLS: Holds = Holds::Object(&[
    field("httpsRedirect", Holds::Flag),
    field(
        "mode",
        Holds::Word(&[
            "PASSTHROUGH",
            "SIMPLE",
            "MUTUAL",
            "AUTO_PASSTHROUGH",
            "ISTIO_MUTUAL",
            "OPTIONAL_MUTUAL",
        ]),
    ),
    field("serverCertificate", Holds::Text),
    field("privateKey", Holds::Text),
    field("caCertificates", Holds::Text),
    field("caCrl", Holds::Text),
    field("credentialName", Holds::Text),
    field("credentialNames", TEXTS),
    field("caCertCredentialName", Holds::Text),
    field(
        "tlsCertificates",
        Holds::List(&Holds::Object(&[
            field("serverCertificate", Holds::Text),
            field("privateKey", Holds::Text),
            field("caCertificates", Holds::Text),
        ])),
    ),
    field("subjectAltNames", TEXTS),
    field("verifyCertificateSpki", TEXTS),
    field("verifyCertificateHash", TEXTS),
    field("minProtocolVersion", VERSION),
    field("maxProtocolVersion", VERSION),
    field("cipherSuites", TEXTS),
    field("insecureSkipVerify", Holds::Flag),
]);
