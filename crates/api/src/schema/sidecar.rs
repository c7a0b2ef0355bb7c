//! Fields of `networking.istio.io Sidecar`.

use super::{
    API_VERSION, Field, Holds, KIND, LABELS, METADATA, PORT, STATUS, StandIn, TEXTS, field,
    guarded, later,
};

pub(crate) const SIDECAR: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

const SPEC: &[Field] = &[
    guarded(
        "workloadSelector",
        Holds::Object(&[field("labels", LABELS)]),
        StandIn::NoLabelledWorkload,
    ),
    // What lost its port serves nothing.
    guarded("ingress", Holds::List(&Holds::Closing(INGRESS, &[])), StandIn::ClosedRule),
    // Without an entry, or with one that lost its port, more would be seen.
    guarded("egress", Holds::List(&Holds::Object(EGRESS)), StandIn::NoEgress),
    guarded(
        "outboundTrafficPolicy",
        Holds::Object(&[
            field("mode", Holds::Word(&["REGISTRY_ONLY", "ALLOW_ANY"])),
            later(
                "egressProxy",
                Holds::Anything,
                "traffic to unknown hosts goes where its client sent it",
            ),
        ]),
        StandIn::NothingOutside,
    ),
    later("inboundConnectionPool", Holds::Anything, "connections and requests are not limited"),
];

/// A port of an entry.
const ENTRY_PORT: Holds = Holds::Object(&[
    field("number", PORT),
    field("protocol", Holds::Text),
    field("name", Holds::Text),
    later("targetPort", Holds::Anything, "`defaultEndpoint` decides"),
]);

/// What happens to addresses of listeners.
const CAPTURED: &str = "connections to the port are captured, whatever their address";

const MODE: Holds = Holds::Word(&["NONE", "IPTABLES", "DEFAULT"]);

const INGRESS: &[Field] = &[
    field("port", ENTRY_PORT),
    later("bind", Holds::Text, CAPTURED),
    later("captureMode", MODE, CAPTURED),
    field("defaultEndpoint", Holds::Text),
    later("tls", Holds::Anything, "connections are taken without TLS"),
    later("connectionPool", Holds::Anything, "connections and requests are not limited"),
];

const EGRESS: &[Field] = &[
    field("port", ENTRY_PORT),
    later("bind", Holds::Text, CAPTURED),
    later("captureMode", MODE, CAPTURED),
    field("hosts", TEXTS),
];
