//! Numbers, names and types of the fields of Kubernetes' messages.
//!
//! One line per message. `*` marks a list, `!` a value that counts even when it
//! is nothing (a pointer in Kubernetes' own source, such as `replicas: 0`).

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds<'t> {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// True or false.
    Flag,
    /// Texts by name.
    Texts,
    /// Bytes by name.
    Blobs,
    /// A moment.
    Time,
    /// A number or a text.
    NumberOrText,
    /// Bytes that are read elsewhere or say nothing.
    Raw,
    /// Another message.
    Message(&'t str),
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub struct Field<'t> {
    /// Its number on the wire.
    pub number: u64,
    /// Its name in JSON.
    pub name: &'t str,
    /// What it holds.
    pub holds: Holds<'t>,
    /// Whether it may be repeated.
    pub is_list: bool,
    /// Whether an empty value counts.
    pub is_kept: bool,
}

/// The fields of a message.
pub fn find(kind: &str) -> Option<Vec<Field<'static>>> {
    TABLE.lines().find_map(|line| {
        let (name, fields) = line.split_once(':')?;
        (name == kind).then(|| fields.split(',').filter_map(|text| field(text.trim())).collect())
    })
}

/// Every field of every message.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = Field<'static>> {
    let fields = TABLE
        .lines()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, fields)| fields.split(','));
    fields
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| field(text).expect("every entry of the table can be read"))
}

fn field(text: &'static str) -> Option<Field<'static>> {
    let mut words = text.split(' ');
    let (number, name, kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (kind, is_list) = kind.strip_suffix('*').map_or((kind, false), |kind| (kind, true));
    let (kind, is_kept) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
    let holds = match kind {
        "text" => Holds::Text,
        "number" => Holds::Number,
        "flag" => Holds::Flag,
        "texts" => Holds::Texts,
        "blobs" => Holds::Blobs,
        "time" => Holds::Time,
        "either" => Holds::NumberOrText,
        "raw" => Holds::Raw,
        kind => Holds::Message(kind),
    };
    Some(Field { number, name, holds, is_list, is_kept })
}

const TABLE: &str = "\
Unknown: 1 typeMeta TypeMeta, 2 raw raw, 3 contentEncoding raw, 4 contentType raw
TypeMeta: 1 apiVersion text, 2 kind text
Time: 1 seconds number, 2 nanos number
IntOrString: 1 type number, 2 intVal number, 3 strVal text
ObjectMeta: 1 name text, 2 generateName text, 3 namespace text, 4 selfLink text, 5 uid text, 6 resourceVersion text, 7 generation number, 8 creationTimestamp time, 9 deletionTimestamp time, 10 deletionGracePeriodSeconds number!, 11 labels texts, 12 annotations texts, 13 ownerReferences OwnerReference*, 14 finalizers text*
OwnerReference: 1 kind text, 3 name text, 4 uid text, 5 apiVersion text, 6 controller flag!, 7 blockOwnerDeletion flag!
LabelSelector: 1 matchLabels texts, 2 matchExpressions LabelSelectorRequirement*
LabelSelectorRequirement: 1 key text, 2 operator text, 3 values text*
DeleteOptions: 1 gracePeriodSeconds number!, 2 preconditions Preconditions, 3 orphanDependents flag!, 4 propagationPolicy text, 5 dryRun text*
Preconditions: 1 uid text, 2 resourceVersion text
Namespace: 1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus
NamespaceSpec: 1 finalizers text*
NamespaceStatus: 1 phase text
ConfigMap: 1 metadata ObjectMeta, 2 data texts, 3 binaryData blobs, 4 immutable flag!
Secret: 1 metadata ObjectMeta, 2 data blobs, 3 type text, 4 stringData texts, 5 immutable flag!
ServiceAccount: 1 metadata ObjectMeta, 2 secrets ObjectReference*, 3 imagePullSecrets Named*, 4 automountServiceAccountToken flag!
ObjectReference: 1 kind text, 2 namespace text, 3 name text, 4 uid text, 5 apiVersion text, 6 resourceVersion text, 7 fieldPath text
Named: 1 name text
Service: 1 metadata ObjectMeta, 2 spec ServiceSpec, 3 status ServiceStatus
ServiceSpec: 1 ports ServicePort*, 2 selector texts, 3 clusterIP text, 4 type text, 5 externalIPs text*, 7 sessionAffinity text, 8 loadBalancerIP text, 9 loadBalancerSourceRanges text*, 10 externalName text, 11 externalTrafficPolicy text, 12 healthCheckNodePort number, 13 publishNotReadyAddresses flag, 17 ipFamilyPolicy text, 18 clusterIPs text*, 19 ipFamilies text*, 20 allocateLoadBalancerNodePorts flag!, 21 loadBalancerClass text, 22 internalTrafficPolicy text, 23 trafficDistribution text
ServicePort: 1 name text, 2 protocol text, 3 port number, 4 targetPort either, 5 nodePort number, 6 appProtocol text
ServiceStatus: 1 loadBalancer LoadBalancerStatus
LoadBalancerStatus: 1 ingress LoadBalancerIngress*
LoadBalancerIngress: 1 ip text, 2 hostname text
Deployment: 1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status DeploymentStatus
DeploymentSpec: 1 replicas number!, 2 selector LabelSelector, 3 template PodTemplateSpec, 4 strategy DeploymentStrategy, 5 minReadySeconds number, 6 revisionHistoryLimit number!, 7 paused flag, 9 progressDeadlineSeconds number!
DeploymentStrategy: 1 type text, 2 rollingUpdate RollingUpdateDeployment
RollingUpdateDeployment: 1 maxUnavailable either, 2 maxSurge either
DeploymentStatus: 1 observedGeneration number, 2 replicas number, 3 updatedReplicas number, 4 availableReplicas number, 5 unavailableReplicas number, 7 readyReplicas number
PodTemplateSpec: 1 metadata ObjectMeta, 2 spec PodSpec
PodSpec: 1 volumes Volume*, 2 containers Container*, 3 restartPolicy text, 4 terminationGracePeriodSeconds number!, 5 activeDeadlineSeconds number!, 6 dnsPolicy text, 7 nodeSelector texts, 8 serviceAccountName text, 9 serviceAccount text, 10 nodeName text, 11 hostNetwork flag, 12 hostPID flag, 13 hostIPC flag, 15 imagePullSecrets Named*, 16 hostname text, 17 subdomain text, 19 schedulerName text, 20 initContainers Container*, 21 automountServiceAccountToken flag!, 24 priorityClassName text, 29 runtimeClassName text, 30 enableServiceLinks flag!, 31 preemptionPolicy text
Volume: 1 name text
Container: 1 name text, 2 image text, 3 command text*, 4 args text*, 5 workingDir text, 6 ports ContainerPort*, 7 env EnvVar*, 8 resources Resources, 13 terminationMessagePath text, 14 imagePullPolicy text, 16 stdin flag, 17 stdinOnce flag, 18 tty flag, 20 terminationMessagePolicy text
ContainerPort: 1 name text, 2 hostPort number, 3 containerPort number, 4 protocol text, 5 hostIP text
EnvVar: 1 name text, 2 value text
Resources:
Role: 1 metadata ObjectMeta, 2 rules PolicyRule*
ClusterRole: 1 metadata ObjectMeta, 2 rules PolicyRule*
PolicyRule: 1 verbs text*, 2 apiGroups text*, 3 resources text*, 4 resourceNames text*, 5 nonResourceURLs text*
RoleBinding: 1 metadata ObjectMeta, 2 subjects Subject*, 3 roleRef RoleRef
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects Subject*, 3 roleRef RoleRef
Subject: 1 kind text, 2 apiGroup text, 3 name text, 4 namespace text
RoleRef: 1 apiGroup text, 2 kind text, 3 name text
TokenRequest: 1 metadata ObjectMeta, 2 spec TokenRequestSpec, 3 status TokenRequestStatus
TokenRequestSpec: 1 audiences text*, 3 boundObjectRef BoundObjectReference, 4 expirationSeconds number
TokenRequestStatus: 1 token text, 2 expirationTimestamp time
BoundObjectReference: 1 kind text, 2 apiVersion text, 3 name text, 4 uid text
TokenReview: 1 metadata ObjectMeta, 2 spec TokenReviewSpec, 3 status raw
TokenReviewSpec: 1 token text, 2 audiences text*
SelfSubjectReview: 1 metadata ObjectMeta, 2 status raw
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec AccessReviewSpec, 3 status raw
SubjectAccessReview: 1 metadata ObjectMeta, 2 spec AccessReviewSpec, 3 status raw
AccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes, 3 user text, 4 groups text*, 6 uid text
ResourceAttributes: 1 namespace text, 2 verb text, 3 group text, 4 version text, 5 resource text, 6 subresource text, 7 name text
NonResourceAttributes: 1 path text, 2 verb text
Eviction: 1 metadata ObjectMeta, 2 deleteOptions DeleteOptions
Scale: 1 metadata ObjectMeta, 2 spec ScaleSpec, 3 status ScaleStatus
ScaleSpec: 1 replicas number!
ScaleStatus: 1 replicas number, 2 selector text
PodDisruptionBudget: 1 metadata ObjectMeta, 2 spec PodDisruptionBudgetSpec, 3 status raw
PodDisruptionBudgetSpec: 1 minAvailable either, 2 selector LabelSelector, 3 maxUnavailable either
Lease: 1 metadata ObjectMeta, 2 spec LeaseSpec
LeaseSpec: 1 holderIdentity text, 2 leaseDurationSeconds number!, 3 acquireTime time, 4 renewTime time, 5 leaseTransitions number!
";
