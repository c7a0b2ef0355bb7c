//! Fields of `networking.istio.io Gateway`.

use super::{
    API_VERSION, Field, Holds, KIND, LABELS, METADATA, PORT, STATUS, TEXTS, U32, field, later,
};

pub(super) const GATEWAY: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

const SPEC: &[Field] =
    &[field("selector", LABELS), field("servers", Holds::List(&Holds::Object(SERVER)))];

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
    later("bind", Holds::Text, "the server listens on every address"),
    field("hosts", TEXTS),
    later("tls", TLS, "the server is not opened"),
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
