//! Fields of the kinds that hold settings, and of those that set the cluster up.

use super::{
    ANYTHINGS, API_VERSION, Field, Holds, I32, KIND, LABELS, METADATA, STATUS, TEXTS, field,
};

pub(crate) const NAMESPACE: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field("spec", Holds::Object(&[field("finalizers", TEXTS)])),
    STATUS,
];

pub(crate) const CONFIG_MAP: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field("data", LABELS),
    field("binaryData", LABELS),
    field("immutable", Holds::Flag),
];

pub(crate) const SECRET: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field("type", Holds::Text),
    field("data", LABELS),
    field("stringData", LABELS),
    field("immutable", Holds::Flag),
];

pub(crate) const SERVICE_ACCOUNT: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field("secrets", ANYTHINGS),
    field("imagePullSecrets", ANYTHINGS),
    field("automountServiceAccountToken", Holds::Flag),
];

pub(crate) const CUSTOM_RESOURCE_DEFINITION: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field(
        "spec",
        Holds::Object(&[
            field("group", Holds::Text),
            field("names", Holds::Anything),
            field("scope", Holds::Word(&["Namespaced", "Cluster"])),
            field("versions", ANYTHINGS),
            field("conversion", Holds::Anything),
            field("preserveUnknownFields", Holds::Flag),
        ]),
    ),
    STATUS,
];

pub(crate) const WEBHOOK_CONFIGURATION: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field(
        "webhooks",
        Holds::List(&Holds::Object(&[
            field("name", Holds::Text),
            field("clientConfig", Holds::Anything),
            field("rules", ANYTHINGS),
            field("failurePolicy", Holds::Word(&["Fail", "Ignore"])),
            field("matchPolicy", Holds::Word(&["Exact", "Equivalent"])),
            field("namespaceSelector", Holds::Anything),
            field("objectSelector", Holds::Anything),
            field("sideEffects", Holds::Text),
            field("timeoutSeconds", I32),
            field("admissionReviewVersions", TEXTS),
            field("reinvocationPolicy", Holds::Word(&["Never", "IfNeeded"])),
            field("matchConditions", ANYTHINGS),
        ])),
    ),
];
