//! Fields of Pods and of what makes Pods.
//!
//! Complete in names; what the mesh does not read is not looked into.

use super::{
    ANYTHINGS, API_VERSION, Field, Holds, I32, I64, KIND, LABELS, METADATA, PORT, PORT_OR_NAME,
    STATUS, TEXTS, U32, field,
};

pub(crate) const POD: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field("spec", Holds::Object(POD_SPEC)),
    field("status", POD_STATUS),
];

const POD_STATUS: Holds = Holds::Partly(&[
    field("phase", Holds::Text),
    field("podIP", Holds::Text),
    field(
        "conditions",
        Holds::List(&Holds::Partly(&[field("type", Holds::Text), field("status", Holds::Text)])),
    ),
]);

pub(crate) const DEPLOYMENT: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field(
        "spec",
        Holds::Object(&[
            field("replicas", COUNT),
            field("selector", SELECTOR),
            field("template", TEMPLATE),
            field("strategy", STRATEGY),
            field("minReadySeconds", COUNT),
            field("revisionHistoryLimit", COUNT),
            field("progressDeadlineSeconds", COUNT),
            field("paused", Holds::Flag),
            field("rollbackTo", Holds::Anything),
        ]),
    ),
    STATUS,
];

pub(crate) const REPLICA_SET: &[Field] = &[
    API_VERSION,
    KIND,
    field("metadata", METADATA),
    field(
        "spec",
        Holds::Object(&[
            field("replicas", COUNT),
            field("selector", SELECTOR),
            field("template", TEMPLATE),
            field("minReadySeconds", COUNT),
        ]),
    ),
    STATUS,
];

/// How many, or for how long.
const COUNT: Holds = Holds::Whole(0, i32::MAX as i64);

/// How many, or which share as in `25%`.
const COUNT_OR_SHARE: Holds = Holds::WholeOrText(0, i32::MAX as i64);

const SELECTOR: Holds = Holds::Object(&[
    field("matchLabels", LABELS),
    field(
        "matchExpressions",
        Holds::List(&Holds::Object(&[
            field("key", Holds::Text),
            field("operator", Holds::Word(&["In", "NotIn", "Exists", "DoesNotExist"])),
            field("values", TEXTS),
        ])),
    ),
]);

const STRATEGY: Holds = Holds::Object(&[
    field("type", Holds::Word(&["RollingUpdate", "Recreate"])),
    field(
        "rollingUpdate",
        Holds::Object(&[
            field("maxSurge", COUNT_OR_SHARE),
            field("maxUnavailable", COUNT_OR_SHARE),
        ]),
    ),
]);

const TEMPLATE: Holds =
    Holds::Object(&[field("metadata", METADATA), field("spec", Holds::Object(POD_SPEC))]);

const POD_SPEC: &[Field] = &[
    field("containers", Holds::List(&Holds::Object(CONTAINER))),
    field("initContainers", Holds::List(&Holds::Object(CONTAINER))),
    field("ephemeralContainers", ANYTHINGS),
    field("volumes", ANYTHINGS),
    field("serviceAccountName", Holds::Text),
    field("serviceAccount", Holds::Text),
    field("automountServiceAccountToken", Holds::Flag),
    field("restartPolicy", Holds::Word(&["Always", "OnFailure", "Never"])),
    field("terminationGracePeriodSeconds", I64),
    field("activeDeadlineSeconds", I64),
    field("dnsPolicy", Holds::Text),
    field("dnsConfig", Holds::Anything),
    field("nodeSelector", LABELS),
    field("nodeName", Holds::Text),
    field("hostNetwork", Holds::Flag),
    field("hostPID", Holds::Flag),
    field("hostIPC", Holds::Flag),
    field("hostUsers", Holds::Flag),
    field("hostAliases", ANYTHINGS),
    field("hostname", Holds::Text),
    field("hostnameOverride", Holds::Text),
    field("subdomain", Holds::Text),
    field("setHostnameAsFQDN", Holds::Flag),
    field("shareProcessNamespace", Holds::Flag),
    field("securityContext", Holds::Anything),
    field("imagePullSecrets", ANYTHINGS),
    field("affinity", Holds::Anything),
    field("schedulerName", Holds::Text),
    field("schedulingGates", ANYTHINGS),
    field("tolerations", ANYTHINGS),
    field("topologySpreadConstraints", ANYTHINGS),
    field("priorityClassName", Holds::Text),
    field("priority", I32),
    field("preemptionPolicy", Holds::Text),
    field("readinessGates", ANYTHINGS),
    field("runtimeClassName", Holds::Text),
    field("enableServiceLinks", Holds::Flag),
    field("overhead", Holds::Map(&Holds::Quantity)),
    field("os", Holds::Anything),
    field("resourceClaims", ANYTHINGS),
    field("resources", RESOURCES),
    field("workloadRef", Holds::Anything),
];

const CONTAINER: &[Field] = &[
    field("name", Holds::Text),
    field("image", Holds::Text),
    field("imagePullPolicy", Holds::Word(&["Always", "IfNotPresent", "Never"])),
    field("command", TEXTS),
    field("args", TEXTS),
    field("workingDir", Holds::Text),
    field(
        "ports",
        Holds::List(&Holds::Object(&[
            field("name", Holds::Text),
            field("containerPort", PORT),
            field("protocol", Holds::Word(&["TCP", "UDP", "SCTP"])),
            field("hostPort", U32),
            field("hostIP", Holds::Text),
        ])),
    ),
    field(
        "env",
        Holds::List(&Holds::Object(&[
            field("name", Holds::Text),
            field("value", Holds::Text),
            field("valueFrom", Holds::Anything),
        ])),
    ),
    field("envFrom", ANYTHINGS),
    field("resources", RESOURCES),
    field("resizePolicy", ANYTHINGS),
    field("restartPolicy", Holds::Word(&["Always", "OnFailure", "Never"])),
    field("restartPolicyRules", ANYTHINGS),
    field(
        "volumeMounts",
        Holds::List(&Holds::Object(&[
            field("name", Holds::Text),
            field("mountPath", Holds::Text),
            field("subPath", Holds::Text),
            field("subPathExpr", Holds::Text),
            field("readOnly", Holds::Flag),
            field("recursiveReadOnly", Holds::Text),
            field("mountPropagation", Holds::Text),
        ])),
    ),
    field("volumeDevices", ANYTHINGS),
    field("livenessProbe", PROBE),
    field("readinessProbe", PROBE),
    field("startupProbe", PROBE),
    field("lifecycle", Holds::Anything),
    field("terminationMessagePath", Holds::Text),
    field("terminationMessagePolicy", Holds::Text),
    field("securityContext", Holds::Anything),
    field("stdin", Holds::Flag),
    field("stdinOnce", Holds::Flag),
    field("tty", Holds::Flag),
];

const RESOURCES: Holds = Holds::Object(&[
    field("requests", Holds::Map(&Holds::Quantity)),
    field("limits", Holds::Map(&Holds::Quantity)),
    field("claims", ANYTHINGS),
]);

const PROBE: Holds = Holds::Object(&[
    field("exec", Holds::Object(&[field("command", TEXTS)])),
    field(
        "httpGet",
        Holds::Object(&[
            field("path", Holds::Text),
            field("port", PORT_OR_NAME),
            field("host", Holds::Text),
            field("scheme", Holds::Word(&["HTTP", "HTTPS"])),
            field("httpHeaders", ANYTHINGS),
        ]),
    ),
    field("tcpSocket", Holds::Object(&[field("port", PORT_OR_NAME), field("host", Holds::Text)])),
    field("grpc", Holds::Object(&[field("port", PORT), field("service", Holds::Text)])),
    field("initialDelaySeconds", COUNT),
    field("timeoutSeconds", COUNT),
    field("periodSeconds", COUNT),
    field("successThreshold", COUNT),
    field("failureThreshold", COUNT),
    field("terminationGracePeriodSeconds", I64),
]);
