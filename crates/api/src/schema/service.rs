//! Fields of Services and EndpointSlices.

use super::{
    API_VERSION, Field, Holds, KIND, LABELS, METADATA, PORT, PORT_OR_NAME, STATUS, StandIn, TEXTS,
    U32, field, guarded,
};

pub(crate) const SERVICE: &[Field] =
    &[API_VERSION, KIND, field("metadata", METADATA), field("spec", Holds::Object(SPEC)), STATUS];

const PROTOCOL: Holds = Holds::Word(&["TCP", "UDP", "SCTP"]);

const SPEC: &[Field] = &[
    field("type", Holds::Word(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])),
    guarded("selector", LABELS, StandIn::NoWorkload),
    field(
        "ports",
        // A port that lost its protocol or its name would be another one: it loses its number.
        Holds::List(&Holds::Closing(
            &[
                field("name", Holds::Text),
                field("port", PORT),
                field("protocol", PROTOCOL),
                field("targetPort", PORT_OR_NAME),
                field("nodePort", U32),
                field("appProtocol", Holds::Text),
            ],
            &[],
        )),
    ),
    field("clusterIP", Holds::Text),
    field("clusterIPs", TEXTS),
    field("externalName", Holds::Text),
    field("externalIPs", TEXTS),
    field("loadBalancerIP", Holds::Text),
    field("loadBalancerSourceRanges", TEXTS),
    field("loadBalancerClass", Holds::Text),
    field("allocateLoadBalancerNodePorts", Holds::Flag),
    field("publishNotReadyAddresses", Holds::Flag),
    field("sessionAffinity", Holds::Text),
    field("sessionAffinityConfig", Holds::Anything),
    field("externalTrafficPolicy", Holds::Text),
    field("internalTrafficPolicy", Holds::Text),
    field("healthCheckNodePort", U32),
    field("ipFamilies", TEXTS),
    field("ipFamilyPolicy", Holds::Text),
    field("trafficDistribution", Holds::Text),
];

const TARGET: Holds = Holds::Partly(&[
    field("kind", Holds::Text),
    field("namespace", Holds::Text),
    field("name", Holds::Text),
]);

pub(crate) const ENDPOINT_SLICE: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field("addressType", Holds::Word(&["IPv4", "IPv6", "FQDN"])),
    field(
        "endpoints",
        // An endpoint that lost its state would be a ready one: it loses its address.
        Holds::List(&Holds::Closing(
            &[
                field("addresses", TEXTS),
                field(
                    "conditions",
                    Holds::Object(&[
                        field("ready", Holds::Flag),
                        field("serving", Holds::Flag),
                        field("terminating", Holds::Flag),
                    ]),
                ),
                field("hostname", Holds::Text),
                field("targetRef", TARGET),
                field("deprecatedTopology", LABELS),
                field("nodeName", Holds::Text),
                field("zone", Holds::Text),
                field("hints", Holds::Anything),
            ],
            &[],
        )),
    ),
    field(
        "ports",
        Holds::List(&Holds::Closing(
            &[
                field("name", Holds::Text),
                field("port", PORT),
                field("protocol", PROTOCOL),
                field("appProtocol", Holds::Text),
            ],
            &[],
        )),
    ),
];
