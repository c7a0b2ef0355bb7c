//! Defaults of fields, and how what Weft does differs from Istio.

/// What there is to say of a field besides the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// Its path, as pages write it.
    pub(super) field: &'static str,
    /// What holds without it.
    pub(super) default: &'static str,
    /// How Weft differs from Istio.
    pub(super) differs: &'static str,
}

/// A field with a default.
const fn default(field: &'static str, default: &'static str) -> Note {
    Note { field, default, differs: "" }
}

/// A field that Weft treats otherwise than Istio.
const fn differs(field: &'static str, differs: &'static str) -> Note {
    Note { field, default: "", differs }
}

/// Both.
const fn note(field: &'static str, default: &'static str, differs: &'static str) -> Note {
    Note { field, default, differs }
}

/// The pages that have notes.
#[cfg(test)]
pub(super) const KINDS: &[&str] = &[
    "VirtualService",
    "DestinationRule",
    "Gateway",
    "ServiceEntry",
    "Sidecar",
    "Ingress",
    "MeshConfig",
];

/// The notes of a page.
pub(super) fn of(title: &str) -> &'static [Note] {
    match title {
        "VirtualService" => VIRTUAL_SERVICE,
        "DestinationRule" => DESTINATION_RULE,
        "Gateway" => GATEWAY,
        "ServiceEntry" => SERVICE_ENTRY,
        "Sidecar" => SIDECAR,
        "Ingress" => INGRESS,
        "MeshConfig" => MESH_CONFIG,
        _ => &[],
    }
}

/// Fields of which the table of fields cannot say it, since it depends on their values, or since
/// they are there in every installation and change nothing: by the beginnings of their paths.
const JUDGED: &[(&str, &str, &str)] = &[
    ("Gateway", "spec.servers[].tls.httpsRedirect", "yes"),
    ("Gateway", "spec.servers[].tls.mode", "`PASSTHROUGH` only; others close the server"),
    ("Gateway", "spec.servers[].tls.", "not yet: servers that end TLS are closed, with an error"),
    ("Gateway", "spec.servers[].defaultEndpoint", "no: requests go by VirtualServices"),
    ("DestinationRule", "spec.trafficPolicy.tls.mode", "`DISABLE` only"),
    ("DestinationRule", "spec.trafficPolicy.tls.", PLAINTEXT),
    ("Ingress", "spec.tls[].", "not yet: hosts are served on port 80 without TLS, with a warning"),
    ("Ingress", "spec.defaultBackend.resource", "not yet: these requests get 500"),
    ("IngressClass", "spec.parameters", "no: nothing reads them"),
    ("MeshConfig", "defaultConfig.tracing", NOTHING),
    ("MeshConfig", "defaultConfig.configPath", NOTHING),
    ("MeshConfig", "defaultConfig.binaryPath", NOTHING),
    ("MeshConfig", "defaultConfig.serviceCluster", NOTHING),
    ("MeshConfig", "defaultConfig.drainDuration", NOTHING),
    ("MeshConfig", "defaultConfig.controlPlaneAuthPolicy", NOTHING),
    ("MeshConfig", "defaultConfig.statNameLength", NOTHING),
    ("MeshConfig", "enableTracing", NOTHING),
    ("MeshConfig", "extensionProviders", NOTHING),
    ("MeshConfig", "defaultProviders", NOTHING),
];

/// What is said of settings that every installation has.
const NOTHING: &str = "not yet, and without a warning, since every installation sets it";
/// What is said of the TLS of destinations.
const PLAINTEXT: &str = "not yet: services are called in plaintext, with a warning";

/// Whether the field at `path` is honoured, where the table cannot say it.
pub(super) fn judged(title: &str, path: &str) -> Option<&'static str> {
    let mut all =
        JUDGED.iter().filter(|(page, start, _)| *page == title && path.starts_with(start));
    all.next().map(|(.., words)| *words)
}

/// What retries are without a word about them.
const RETRIES: &str =
    "`connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes`";

const VIRTUAL_SERVICE: &[Note] = &[
    default("spec.gateways[]", "`mesh`: the sidecars"),
    default("spec.exportTo[]", "MeshConfig's `defaultVirtualServiceExportTo`, else `*`"),
    default("spec.http[].match[].ignoreUriCase", "`false`"),
    default("spec.http[].match[].gateways[]", "all of `spec.gateways`"),
    default(
        "spec.http[].route[].destination.port.number",
        "the port that the client dialled; at a gateway the service's only port, else the Gateway's",
    ),
    default("spec.http[].route[].weight", "0; all requests where there is one destination"),
    default("spec.http[].redirect.redirectCode", "301"),
    default("spec.http[].redirect.derivePort", "`FROM_PROTOCOL_DEFAULT`"),
    differs(
        "spec.http[].rewrite.uri",
        "a path gets a leading slash; one that leads out of where it seems to be is answered 400",
    ),
    default("spec.http[].timeout", "no limit"),
    default("spec.http[].retries.attempts", "2"),
    default("spec.http[].retries.perTryTimeout", "the rule's `timeout`"),
    note(
        "spec.http[].retries.retryOn",
        RETRIES,
        "with `compatibility: istio-1.0` a try that exceeds `perTryTimeout` is tried again",
    ),
    default("spec.http[].retries.backoff", "25 ms, doubled, at most ten times as much"),
    default("spec.http[].fault.delay.percentage.value", "0: never"),
    default("spec.http[].fault.abort.percentage.value", "0: never"),
    default("spec.http[].mirrorPercentage.value", "100"),
    default("spec.http[].mirrors[].percentage.value", "100"),
    default("spec.http[].corsPolicy.allowCredentials", "`false`"),
    default("spec.http[].corsPolicy.unmatchedPreflights", "`FORWARD`"),
    note(
        "spec.http[].delegate.name",
        "",
        "a delegate that cannot be used closes the rule (500 with `invalid_delegate`); Istio goes \
         on to the next rule",
    ),
    default("spec.http[].delegate.namespace", "the object's own"),
    differs(
        "spec.http[].route[].headers.request.set",
        "fields that frame messages or count proxies are not for rules; a variable that cannot be \
         made closes the rule (500)",
    ),
];

const DESTINATION_RULE: &[Note] = &[
    default("spec.exportTo[]", "MeshConfig's `defaultDestinationRuleExportTo`, else `*`"),
    differs(
        "spec.host",
        "with `compatibility: istio-1.0` a rule counts in whichever namespace it is stored",
    ),
    default("spec.trafficPolicy.loadBalancer.simple", "`LEAST_REQUEST`"),
    default("spec.trafficPolicy.connectionPool.tcp.maxConnections", "no limit, as with 0"),
    note(
        "spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests",
        "no limit; 16,384 where `maxConnections` is set",
        "all workers of a proxy count together, exactly",
    ),
    note(
        "spec.trafficPolicy.connectionPool.http.http2MaxRequests",
        "no limit, as with 0",
        "all workers of a proxy count together, exactly",
    ),
    differs(
        "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize",
        "changes nothing: endpoints are chosen without a ring, more evenly than by one of any size",
    ),
    differs(
        "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
        "changes nothing: endpoints are chosen without a table",
    ),
    differs(
        "spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize",
        "changes nothing: endpoints are chosen without a ring",
    ),
    default("spec.trafficPolicy.outlierDetection.consecutive5xxErrors", "5"),
    default("spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors", "0: not counted"),
    default("spec.trafficPolicy.outlierDetection.interval", "10 s"),
    note(
        "spec.trafficPolicy.outlierDetection.baseEjectionTime",
        "30 s",
        "an endpoint is used again when its time is over, not at the next `interval` after it",
    ),
    default("spec.trafficPolicy.outlierDetection.maxEjectionPercent", "10"),
    default("spec.trafficPolicy.outlierDetection.minHealthPercent", "0"),
    default("spec.trafficPolicy.tls.mode", "plaintext, until there are identities"),
];

const GATEWAY: &[Note] = &[
    note(
        "spec.servers[].bind",
        "every address",
        "narrows where the server's hosts are served, and takes nothing from servers without it",
    ),
    note(
        "spec.servers[].tls.httpsRedirect",
        "`false`",
        "a host that another Gateway serves on the port is not redirected",
    ),
];

const SERVICE_ENTRY: &[Note] = &[
    default("spec.location", "`MESH_EXTERNAL`"),
    default("spec.resolution", "`NONE`: where the client dialled"),
    default("spec.ports[].targetPort", "the number"),
    default("spec.endpoints[].ports.NAME", "the port's target"),
    default("spec.exportTo[]", "MeshConfig's `defaultServiceExportTo`, else `*`"),
];

const SIDECAR: &[Note] = &[
    default("spec.egress[].hosts[]", "all that is exported to the namespace"),
    default(
        "spec.outboundTrafficPolicy.mode",
        "`REGISTRY_ONLY`; MeshConfig's where there is no policy",
    ),
    default("spec.ingress[].defaultEndpoint", "the application's own port"),
];

const INGRESS: &[Note] = &[
    default(
        "spec.ingressClassName",
        "none, and the mesh's gateway does not serve it; the annotation \
         `kubernetes.io/ingress.class: istio` counts first",
    ),
    differs(
        "spec.defaultBackend.service.name",
        "is served, also for the hosts of the rules; Istio ignores it",
    ),
    differs(
        "spec.rules[].http.paths[].path",
        "of Ingresses of several namespaces for one host, the older one's paths come first, and \
         those that take every path last",
    ),
];

const MESH_CONFIG: &[Note] = &[
    default("trustDomain", "`cluster.local`"),
    default("rootNamespace", "the control plane's namespace"),
    default("outboundTrafficPolicy.mode", "`ALLOW_ANY`"),
    default("connectTimeout", "10 s"),
    default("defaultHttpRetryPolicy", "2 attempts, as in a VirtualService without `retries`"),
    default("defaultServiceExportTo[]", "`*`"),
    default("defaultVirtualServiceExportTo[]", "`*`"),
    default("defaultDestinationRuleExportTo[]", "`*`"),
    differs(
        "compatibility",
        "Weft's own: `istio-1.0` follows that release where it differs from today's; `weft up` \
         sets it",
    ),
];
