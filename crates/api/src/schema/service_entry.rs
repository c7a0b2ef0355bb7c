//! Fields of `networking.istio.io ServiceEntry` and `WorkloadEntry`.

use super::{
    API_VERSION, Field, Holds, KIND, LABELS, METADATA, PORT, STATUS, StandIn, TEXTS, U32, field,
    guarded, later,
};

pub(crate) const SERVICE_ENTRY: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

pub(crate) const WORKLOAD_ENTRY: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    // One that lost a label or a port would be behind other ports: it loses its address.
    field("spec", Holds::Closing(WORKLOAD, &[])),
    STATUS,
];

const SPEC: &[Field] = &[
    field("hosts", TEXTS),
    field("addresses", TEXTS),
    // A port that lost its protocol or its target would be another one: it loses its number.
    field("ports", Holds::List(&Holds::Closing(PORTS, &[]))),
    field("location", Holds::Word(&["MESH_EXTERNAL", "MESH_INTERNAL"])),
    guarded(
        "resolution",
        Holds::Word(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
        StandIn::NoResolution,
    ),
    // Without endpoints, names would be looked up: an endpoint that is broken has no address.
    guarded("endpoints", Holds::List(&Holds::Closing(ENDPOINT, &[])), StandIn::ClosedRule),
    guarded(
        "workloadSelector",
        Holds::Object(&[field("labels", LABELS)]),
        StandIn::NoLabelledWorkload,
    ),
    guarded("exportTo", TEXTS, StandIn::Nobody),
    later("subjectAltNames", TEXTS, "servers are called in plaintext, without a certificate"),
];

const PORTS: &[Field] = &[
    field("number", PORT),
    field("protocol", Holds::Text),
    field("name", Holds::Text),
    field("targetPort", PORT),
];

/// What happens to networks.
const ONE_NETWORK: &str = "every network is reached directly";

const ENDPOINT: &[Field] = &[
    field("address", Holds::Text),
    field("ports", Holds::Map(&PORT)),
    field("labels", LABELS),
    later("network", Holds::Text, ONE_NETWORK),
    field("locality", Holds::Text),
    field("weight", U32),
    later("serviceAccount", Holds::Text, "the endpoint is called in plaintext"),
];

const WORKLOAD: &[Field] = &[
    field("address", Holds::Text),
    field("ports", Holds::Map(&PORT)),
    field("labels", LABELS),
    later("network", Holds::Text, ONE_NETWORK),
    field("locality", Holds::Text),
    field("weight", U32),
    field("serviceAccount", Holds::Text),
];
